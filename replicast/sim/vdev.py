"""A VDEV in a simulated process: the daemon's engine on a disk in memory, driven by the loop.

Flushes, checkpoints and reads take virtual time; so a power loss finds written blocks that were not
yet synced, and loses or tears any subset of them. Faults are the disk's (replicast/memory_disk.py)
and the latency's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from replicast.disks import Lock
from replicast.hashing import content_hash
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import ReadError, RecordClass
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import Record
from replicast.target.store.shell import Done, ReadDone, open_engine
from replicast.units import MIB, MS, SECOND, US

READS_MAX = 4096


@dataclass(slots=True)
class Drive:
    """One simulated disk: what survives a process, and how it behaves."""

    rng: random.Random
    capacity_bytes: int
    disk: MemoryDisk = field(init=False)
    checkpoint: MemoryCheckpoint = field(default_factory=MemoryCheckpoint)
    sync_ns_max: int = 1 * MS
    bandwidth_bytes: int = 400 * MIB

    def __post_init__(self) -> None:
        self.disk = MemoryDisk(self.capacity_bytes)

    def format(self, cluster_id: bytes) -> None:
        """An empty VDEV."""
        self.disk = MemoryDisk(self.capacity_bytes)
        self.checkpoint = MemoryCheckpoint()
        MemoryVdev.format(self.disk, cluster_id, self.rng)

    def latency_ns(self, size_bytes: int) -> int:
        """Of a flush."""
        return 100 * US + self.rng.randrange(self.sync_ns_max) + self._move_ns(size_bytes)

    def read_ns(self, size_bytes: int) -> int:
        """Of a read."""
        return 50 * US + self.rng.randrange(self.sync_ns_max // 2) + self._move_ns(size_bytes)

    def _move_ns(self, size_bytes: int) -> int:
        return size_bytes * SECOND // self.bandwidth_bytes


class SimVdev(MemoryVdev):
    """Drives itself; `done` and answers come in the loop, as from threads of the daemon."""

    def __init__(
        self, engine: StoreEngine, drive: Drive, lock: Lock, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(engine, drive.disk, drive.checkpoint, lock, drive.latency_ns)
        self.counters = Counters()
        self._drive, self._loop = drive, loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._reads = 0
        self._durable_ns = round(loop.time() * 1e9)  # opening it wrote to it

    def submit(
        self,
        records: Sequence[Record],
        token: object,
        done: Done,
        kind: RecordClass | None = None,
    ) -> None:
        super().submit(records, token, done, kind)
        self._arm()

    def submit_read(
        self, chid: bytes, token: object, done: ReadDone, *, direct: bool = False
    ) -> bool:
        return self._read(lambda: self.read_chunk(chid, direct=direct), token, done)

    def submit_entry_read(self, row: int, entry_index: int, token: object, done: ReadDone) -> bool:
        """As Vdev.submit_entry_read()."""
        return self._read(lambda: self._engine.find_and_read_entry(row, entry_index), token, done)

    def _read(self, read: Callable[[], bytes], token: object, done: ReadDone) -> bool:
        if self._reads >= READS_MAX:
            return False
        self._reads += 1

        def ended() -> None:
            self._reads -= 1
            result: bytes | ReadError
            try:
                result = read()
            except ReadError as error:
                result = error
            done([(token, result)])

        self._loop.call_later(self._drive.read_ns(0) / 1e9, ended)
        return True

    def _arm(self) -> None:
        due_ns = self.deadline_ns()
        if due_ns is None:
            return
        now_ns = round(self._loop.time() * 1e9)
        due_ns = max(due_ns, now_ns)
        if self._timer is not None and not self._timer.cancelled() and self._timer_ns <= due_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._loop.call_at(due_ns / 1e9, self._step, due_ns)

    def _step(self, due_ns: int) -> None:
        self._timer = None
        self.step(max(due_ns, round(self._loop.time() * 1e9)))
        self._arm()


def open_sim_vdev(drive: Drive, cluster_id: bytes, loop: asyncio.AbstractEventLoop) -> SimVdev:
    """Lock, count the open, recover; raises VdevError."""
    engine, lock = open_engine(
        drive.disk, PATH, cluster_id, lambda _: drive.checkpoint, content_hash, drive.capacity_bytes
    )
    return SimVdev(engine, drive, lock, loop)
