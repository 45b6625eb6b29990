"""What is wrong with a simulated disk at the moment: errors of its operations, spoiled reads, no room.

    illness = ailing(disk).fail(WRITES, errno.EIO, share=0.5)
    illness.cure()

It sits in the disk's two hooks (replicast/memory_disk.py). Several illnesses may overlap; each has
its end, and cure_all() ends them at the end of trouble.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replicast.memory_disk import MemoryDisk

READS = ("read",)
WRITES = ("write", "allocate", "truncate")
SYNCS = ("sync", "sync_directory")
CHANGES = (*WRITES, *SYNCS, "rename", "remove")


@dataclass(frozen=True, slots=True)
class Illness:
    """One thing that is wrong; cure() ends it, twice does no harm."""

    cure: Callable[[], None]


class Ailing:
    """All that is wrong with one disk."""

    def __init__(self, disk: MemoryDisk, rng: random.Random) -> None:
        self._disk, self._rng = disk, rng
        self._capacity_bytes = disk.capacity_bytes
        self._failing: dict[int, tuple[tuple[str, ...], int, float]] = {}
        self._flips: dict[int, float] = {}
        self._filled: dict[int, None] = {}
        self._begun = 0
        self.count = 0  # operations that failed, reads that were spoiled, times it was full
        disk.fault, disk.spoil = self, self._spoil

    def __call__(self, operation: str, path: Path) -> None:
        for operations, number, share in self._failing.values():
            if operation in operations and self._rng.random() < share:
                self.count += 1
                raise OSError(number, os.strerror(number), str(path))

    @property
    def ill(self) -> bool:
        """Is anything wrong now?"""
        return bool(self._failing or self._flips or self._filled)

    def fail(self, operations: tuple[str, ...], number: int, share: float) -> Illness:
        """This share of these operations fails with errno `number`."""
        at = self._next()
        self._failing[at] = (operations, number, share)
        return Illness(lambda: self._cure(at))

    def flip(self, share: float) -> Illness:
        """In this share of reads one bit is wrong; the next read may find it right."""
        at = self._next()
        self._flips[at] = share
        return Illness(lambda: self._cure(at))

    def fill(self) -> Illness:
        """Somebody else takes all that is free."""
        at = self._next()
        self._filled[at] = None
        self.count += 1
        self._disk.capacity_bytes = self._disk.used_bytes()
        return Illness(lambda: self._cure(at))

    def cure_all(self) -> None:
        """A sound disk."""
        for at in range(1, self._begun + 1):
            self._cure(at)

    def _next(self) -> int:
        self._begun += 1
        return self._begun

    def _cure(self, at: int) -> None:
        self._failing.pop(at, None)
        self._flips.pop(at, None)
        self._filled.pop(at, None)
        if not self._filled:
            self._disk.capacity_bytes = self._capacity_bytes

    def _spoil(self, data: bytes) -> bytes:
        if not data or not any(self._rng.random() < share for share in self._flips.values()):
            return data
        self.count += 1
        spoiled = bytearray(data)
        spoiled[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        return bytes(spoiled)


def ailing(disk: MemoryDisk, rng: random.Random | None = None) -> Ailing:
    """The illnesses of a disk; `rng` is drawn from only when it has none yet."""
    if isinstance(disk.fault, Ailing):
        return disk.fault
    return Ailing(disk, random.Random(0 if rng is None else rng.getrandbits(64)))
