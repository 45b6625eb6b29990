"""A VDEV on a disk in memory that fails when told to, for tests of the store."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from replicast.hashing import content_hash
from replicast.memory_disk import MemoryDisk
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome, RecordClass, VdevStatus
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import Chunk, Record
from replicast.target.store.segment import segment_name

CLUSTER = b"cluster-16-bytes"
FIRST = PATH / "log" / segment_name(1)


class Bench:
    """A VDEV, its disk, and what its submissions ended with."""

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self.rng = random.Random(1)
        self.disk = MemoryDisk(capacity_bytes)
        self.checkpoint = MemoryCheckpoint()
        self.outcomes: dict[object, Outcome] = {}
        MemoryVdev.format(self.disk, CLUSTER, self.rng)
        self.open()

    def open(self) -> None:
        self.vdev = MemoryVdev.open(self.disk, self.checkpoint, CLUSTER)

    def reopen(self) -> None:
        self.vdev.crash()
        self.open()

    def status(self) -> VdevStatus:
        return self.vdev.status

    def done(self, outcomes: Outcomes) -> None:
        self.outcomes.update(outcomes)

    def chunk(self, size: int = 5000, hold_until_ns: int = 0) -> Chunk:
        payload = self.rng.randbytes(size)
        return Chunk(content_hash(1, payload), 1, payload, hold_until_ns)

    def run(self, *records: Record, kind: RecordClass | None = None) -> Outcome:
        token = object()
        self.vdev.submit(records, token, self.done, kind)
        self.vdev.run_all()
        return self.outcomes[token]


def fail(operation: str, number: int, name: str = "") -> Callable[[str, Path], None]:
    def fault(what: str, path: Path) -> None:
        if what == operation and name in str(path):
            raise OSError(number, "injected")

    return fault
