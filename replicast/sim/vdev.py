"""A VDEV in a simulated process: the daemon's engine on a disk in memory, driven by the loop.

Flushes, checkpoints and reads take virtual time; so a power loss finds written blocks that were not
yet synced, and loses or tears any subset of them. Faults are the disk's (replicast/memory_disk.py)
and the latency's.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicast.disks import Lock
from replicast.hashing import content_hash
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.sim.loop import Blocked
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import ReadError, RecordClass
from replicast.target.store.format import INDEX_NAME, format_vdev
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import Changes, CheckpointFull, MemoryCheckpoint
from replicast.target.store.record import Record
from replicast.target.store.shell import VOUCH_NS, Done, ReadDone, open_engine
from replicast.units import MIB, MS, SECOND, US

READS_MAX = 4096
SYNC_NS_MAX = 1 * MS


class DriveCheckpoint(MemoryCheckpoint):
    """The index: its commits go to the drive, and fail with it, as LmdbCheckpoint's do."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__()
        self._disk = disk

    def commit(self, changes: Changes) -> None:
        try:
            self._disk.fault("sync", PATH / INDEX_NAME)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise CheckpointFull(str(error)) from error
            raise
        super().commit(changes)


@dataclass(slots=True)
class Drive:
    """One simulated disk: what survives a process, and how it behaves."""

    rng: random.Random
    capacity_bytes: int
    disk: MemoryDisk = field(init=False)
    checkpoint: DriveCheckpoint = field(init=False)
    sync_ns_max: int = SYNC_NS_MAX
    bandwidth_bytes: int = 400 * MIB

    vdev_id: bytes = b""
    found_damage: str = ""  # by an open: the first
    stuck: bool = False  # nothing that was begun ends; see stick()
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = MemoryDisk(self.capacity_bytes)
        self.checkpoint = DriveCheckpoint(self.disk)

    def format(self, cluster_id: bytes) -> None:
        """An empty VDEV, on another disk than before."""
        self.unstick()
        self.disk = MemoryDisk(self.capacity_bytes)
        self.checkpoint = DriveCheckpoint(self.disk)
        self.vdev_id = format_vdev(self.disk, PATH, cluster_id, None, self.rng).vdev_id

    def lose_index(self) -> None:
        """The index is gone; the log rebuilds it at the next open."""
        self.checkpoint = DriveCheckpoint(self.disk)

    def stick(self) -> None:
        """Flushes, reads and opens hang until unstick()."""
        self.stuck = True

    def unstick(self) -> None:
        """What hung goes on."""
        self.stuck = False
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def when_moving(self, go_on: Callable[[], None]) -> None:
        """Call back at unstick()."""
        self._waiting.append(go_on)

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

        self._loop.call_later(self._drive.read_ns(0) / 1e9, self._end_read, read, token, done)
        return True

    def _end_read(self, read: Callable[[], bytes], token: object, done: ReadDone) -> None:
        if self._drive.stuck:
            return self._drive.when_moving(lambda: self._later(self._end_read, read, token, done))
        self._reads -= 1
        result: bytes | ReadError
        try:
            result = read()
        except ReadError as error:
            result = error
        return done([(token, result)])

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

    def vouch(self, now_ns: int) -> bool:
        if not self._drive.stuck:
            return super().vouch(now_ns)
        return self._core.writable and now_ns - self._durable_ns <= VOUCH_NS

    def close(self) -> None:
        if self._drive.stuck:
            raise Blocked
        super().close()

    def _later(self, go_on: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(go_on, *arguments)

    def _step(self, due_ns: int) -> None:
        self._timer = None
        if self._drive.stuck:
            return self._drive.when_moving(lambda: self._later(self._arm))
        self.step(max(due_ns, round(self._loop.time() * 1e9)))
        return self._arm()


def open_sim_vdev(drive: Drive, cluster_id: bytes, loop: asyncio.AbstractEventLoop) -> SimVdev:
    """Lock, count the open, recover; raises VdevError. Blocked while the drive is stuck."""
    if drive.stuck:
        raise Blocked
    engine, lock = open_engine(
        drive.disk, PATH, cluster_id, lambda _: drive.checkpoint, content_hash, drive.capacity_bytes
    )
    vdev = SimVdev(engine, drive, lock, loop)
    drive.found_damage = drive.found_damage or vdev.damage or ""
    return vdev
