"""Memory that malloc keeps, and gives back after a burst.

By itself glibc's malloc returns the end of its heap as soon as a few MiB of it are free, and asks for it
again with the next object: a gateway took 200 page faults for each 1 MiB that was put. So it keeps
more for a while (KEPT_BYTES), also of what it would map anew each time.

When a row's peer comes back or its leader goes, messages of several MiB full of small entries are on
their way for a moment. What is freed lies between what is still used, where glibc's malloc returns
nothing by itself: a target with 34 MiB in use kept 57 MiB more until its end. malloc_trim(3) returns
such pages; how much that is malloc does not know (mallinfo2 counts returned pages as free ones), so
what the process has grown by since the last time says when to try. It costs up to a few milliseconds
in a thread of its own, without the GIL. That thread also asks for huge pages (huge_pages.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import threading
from collections.abc import Callable
from pathlib import Path

from replicast.huge_pages import HugePages
from replicast.units import KIB, MIB

KEPT_BYTES = 64 * MIB  # free at the end of the heap
MAPPED_ABOVE_BYTES = 8 * MIB  # what is larger gets pages of its own
GROWN_BYTES = 16 * MIB
FIRST_LOOK_SECONDS, LOOK_SECONDS = 2.0, 10.0
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_STATUS = Path("/proc/self/status")


class Trimmer:
    """Says when to trim."""

    def __init__(self) -> None:
        self._least_bytes: int | None = None  # since the last trim, that moment included

    def due(self, resident_bytes: int) -> bool:
        """Has the process grown enough since? Once it is trimmed, tell trimmed()."""
        least_bytes = resident_bytes if self._least_bytes is None else self._least_bytes
        self._least_bytes = min(least_bytes, resident_bytes)
        return resident_bytes >= self._least_bytes + GROWN_BYTES

    def trimmed(self, resident_bytes: int) -> None:
        """So much was left: it is in use."""
        self._least_bytes = resident_bytes


def resident_bytes() -> int:
    """Memory of this process that no file holds; 0 where Linux does not tell."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def malloc_trim() -> Callable[[int], int] | None:
    """glibc's; other C libraries have none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def keep_heap() -> None:
    """Do not return what is wanted again at once; where it grows, keep_trimmed() sees to it."""
    mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_ABOVE_BYTES)


def keep_trimmed() -> None:
    """Look after this process from now on."""
    trim = malloc_trim()
    if trim is not None:
        keep_heap()
        threading.Thread(target=_run, args=(trim,), name="trimming", daemon=True).start()


def _run(trim: Callable[[int], int]) -> None:
    trimmer, huge_pages, never = Trimmer(), HugePages(), threading.Event()
    pause_seconds = FIRST_LOOK_SECONDS
    while not never.wait(pause_seconds):
        pause_seconds = LOOK_SECONDS
        with contextlib.suppress(OSError):  # no descriptor is free to look: the next time
            if trimmer.due(resident_bytes()):
                trim(0)
                trimmer.trimmed(resident_bytes())
            huge_pages.look()
