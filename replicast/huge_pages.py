"""Pages of 2 MiB for memory that is in use anyway.

What Python touches for a message lies all over some 30 MiB, of which few 4 KiB pages at a time are known
to the processor: looking up where they are took a target 5 % of its CPU for small puts. Linux gives
larger pages for the asking (transparent huge pages, "madvise" or "always"). They are asked for where
nearly all is resident already: a thread's stack or a buffer with little in it would only grow.

A shell; where the system has none of it, nothing happens.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from replicast.units import KIB, MIB

HUGE_BYTES = 2 * MIB
RESIDENT_PERCENT = 75
_MADV_HUGEPAGE, _MADV_COLLAPSE = (
    14,
    25,
)  # sys/mman.h; the latter from Linux 6.1 on, before it takes longer
_SMAPS = Path("/proc/self/smaps")
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)")
_NAMES = ("", "[heap]")  # of memory that no file is behind


class Mapping(NamedTuple):
    """Of this process: private, writable and without a file."""

    start: int
    end: int
    resident_bytes: int
    huge_bytes: int  # of these


class HugePages:
    """Asks for each range once; again when it has grown."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}  # the end, by start
        self._madvise = ctypes.CDLL(None, use_errno=True).madvise
        self._madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def look(self) -> None:
        """Ask for what has come since the last time. Raises OSError when it cannot see."""
        for mapping in mappings(_SMAPS.read_text()):
            found = wanted(mapping)
            if found is not None and self._asked.get(found[0]) != found[1]:
                self._ask(*found)

    def _ask(self, start: int, end: int) -> None:
        self._asked[start] = end
        for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
            self._madvise(start, end - start, advice)  # refused: it stays as it is


def mappings(smaps: str) -> Iterator[Mapping]:
    """Those in question of /proc/PID/smaps."""
    for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE):
        head = _HEAD.match(part)
        if head is not None and head[3] == "rw-p" and head[4] == "0" and head[5] in _NAMES:
            sizes = [_bytes_of(part, name) for name in ("Rss", "AnonHugePages")]
            yield Mapping(int(head[1], 16), int(head[2], 16), *sizes)


def _bytes_of(part: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", part, re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def wanted(mapping: Mapping) -> tuple[int, int] | None:
    """The whole huge pages of a mapping that should be such; None: there are none, or they are."""
    start = -(-mapping.start // HUGE_BYTES) * HUGE_BYTES
    end = mapping.end // HUGE_BYTES * HUGE_BYTES
    size = mapping.end - mapping.start
    if end <= start or mapping.resident_bytes * 100 < size * RESIDENT_PERCENT:
        return None
    return (start, end) if mapping.huge_bytes < end - start else None
