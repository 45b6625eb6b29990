"""Where the log of a row begins on one VDEV once it was cut.

    1 ....... base ............... settled .......... last
    kept only | every entry from here on
      results forgotten | results remembered

Up to `position` the log has only the entries that versions refer to: those that were there when
`settled_index` was applied. A view can be made of that alone: the kept entries as versions, then
all that follow, in order; up to `settled_index` without forgetting results, but those up to
`forgotten_index`, which had been forgotten by then. So it becomes, key by key, the view of a replica
that applied every entry (state.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replicast.target.names.position import ZERO, Position
from replicast.wire.codec import decode, encode
from replicast.wire.row_messages import RowBase, RowCut


@dataclass(frozen=True, slots=True)
class Base:
    """See the module header."""

    position: Position
    time_ns: int
    settled_index: int
    forgotten_index: int
    index: int = field(init=False, compare=False)  # of the last entry that the log may be without

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", self.position.index)


START = Base(ZERO, 0, 0, 0)  # of a log that was never cut


def read_base(raw: bytes | None) -> Base:
    """From a ROW_CUT record; None: there was none."""
    if raw is None:
        return START
    cut = decode(RowCut.TYPE, raw)
    assert isinstance(cut, RowCut)
    return from_wire(cut.base)


def write_base(base: Base) -> bytes:
    """For a ROW_CUT record."""
    return encode(RowCut(base=to_wire(base)))


def from_wire(base: RowBase) -> Base:
    """From a message."""
    return Base(base.position, base.time_ns, base.settled_index, base.forgotten_index)


def to_wire(base: Base) -> RowBase:
    """For a message."""
    return RowBase(
        position=base.position,
        time_ns=base.time_ns,
        settled_index=base.settled_index,
        forgotten_index=base.forgotten_index,
    )
