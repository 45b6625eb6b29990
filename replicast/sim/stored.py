"""Each VDEV that said CHUNK_STORED has that chunk for good (C1, C2), for nothing reclaims chunks yet.

Repair would hide one that is not there: who put the chunk counted others, too. So this is asked
before it, of the VDEVs themselves, less those of the host whose disks were damaged (damage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Holds = Callable[[int, bytes], bool | None]


@dataclass(slots=True)
class Stored:
    """One per run, by index of the VDEV and id of the chunk."""

    _said: dict[tuple[int, bytes], None] = field(default_factory=dict)

    def said(self, vdev_index: int, chid: bytes) -> None:
        """A target says that the chunk is durable on this VDEV."""
        self._said[vdev_index, chid] = None

    def missing(self, holds: Holds) -> Iterator[str]:
        """What is not there; `holds` says None of a VDEV that may have lost it."""
        for vdev_index, chid in self._said:
            if holds(vdev_index, chid) is False:
                yield f"VDEV {vdev_index} said that it stored {chid.hex()[:12]}, and has not got it"
