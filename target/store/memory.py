"""A VDEV for the simulator and for tests: the same engine, in virtual time, without threads.

`step(now_ns)` does what is due: it ends the flush under way, begins the next, makes a
checkpoint. `deadline_ns()` says when to call it next. crash() and open() again is a
power loss: the disk forgets, the checkpoint keeps what was committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from replicast.disks import Lock
from replicast.hashing import content_hash as cluster_hash
from replicast.memory_disk import MemoryDisk
from replicast.target.store.core import ContentHash, FlushPlan
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import ReadError
from replicast.target.store.format import format_vdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.shell import (
    CHECKPOINT_NS,
    VOUCH_NS,
    ReadDone,
    VdevShell,
    open_engine,
)

PATH = Path("/vdev")

Latency = Callable[[int], int]  # bytes of a flush -> ns


def fixed_latency(size_bytes: int) -> int:
    """1 ms and 1 ns per byte."""
    return 1_000_000 + size_bytes


class MemoryVdev(VdevShell):
    """One open VDEV on a MemoryDisk."""

    def __init__(
        self,
        engine: StoreEngine,
        disk: MemoryDisk,
        checkpoint: MemoryCheckpoint,
        lock: Lock,
        latency_ns: Latency,
    ) -> None:
        super().__init__(engine, lock, 0)
        self.disk = disk
        self.checkpoint = checkpoint
        self._latency_ns = latency_ns
        self._plan: FlushPlan | None = None
        self._begun_ns = self._ends_ns = 0
        self._checkpoint_ns: int | None = None

    @staticmethod
    def format(disk: MemoryDisk, cluster_id: bytes, rng: random.Random) -> None:
        """An empty VDEV on `disk`."""
        format_vdev(disk, PATH, cluster_id, None, rng)

    @staticmethod
    def open(
        disk: MemoryDisk,
        checkpoint: MemoryCheckpoint,
        cluster_id: bytes,
        *,
        capacity_bytes: int = 0,
        content_hash: ContentHash = cluster_hash,
        latency_ns: Latency = fixed_latency,
    ) -> MemoryVdev:
        """Lock, count the open, recover. Raises VdevError and its kinds."""
        engine, lock = open_engine(
            disk, PATH, cluster_id, lambda _: checkpoint, content_hash, capacity_bytes
        )
        return MemoryVdev(engine, disk, checkpoint, lock, latency_ns)

    def submit_read(
        self, chid: bytes, token: object, done: ReadDone, *, direct: bool = False
    ) -> bool:
        """As Vdev.submit_read(), but `done` is called at once."""
        result: bytes | ReadError
        try:
            result = self.read_chunk(chid, direct=direct)
        except ReadError as error:
            result = error
        done([(token, result)])
        return True

    def deadline_ns(self) -> int | None:
        """When step() has something to do; 0 = at once."""
        if self._plan is not None:
            return self._ends_ns
        return 0 if self._core.has_work else self._checkpoint_ns

    def step(self, now_ns: int) -> None:
        """End the flush that is due, begin the next, make a checkpoint when it is time."""
        if self._plan is not None and now_ns >= self._ends_ns:
            self._finish(self._plan, now_ns)
        if self._plan is None and self._core.has_work:
            self._plan = self._engine.begin()
            if self._plan is not None:
                self._begun_ns = now_ns
                self._ends_ns = now_ns + self._latency_ns(self._plan.size_bytes)
        if self._checkpoint_ns is not None and now_ns >= self._checkpoint_ns:
            self._engine.checkpoint()
            self._checkpoint_ns = None

    def run_all(self, now_ns: int = 0) -> int:
        """step() until nothing is queued or under way; the time it ended at."""
        while self._plan is not None or self._core.has_work:
            now_ns = max(now_ns, self.deadline_ns() or 0)
            self.step(now_ns)
        return now_ns

    def vouch(self, now_ns: int) -> bool:
        """As Vdev.vouch(); an idle VDEV probes when asked."""
        if self._plan is None and self._engine.probe():
            self._durable_ns = now_ns
        return self._core.writable and now_ns - self._durable_ns <= VOUCH_NS

    def crash(self, rng: random.Random | None = None) -> None:
        """Power loss; the object is dead, open() again with the same disk and checkpoint."""
        self.disk.power_loss(rng)

    def close(self) -> None:
        """Flush, checkpoint, let go."""
        self.run_all()
        self._engine.close()
        self._lock.close()

    def _finish(self, plan: FlushPlan, now_ns: int) -> None:
        self._plan = None
        outcomes = self._engine.finish(plan)
        self._measure(plan, self._begun_ns, now_ns)
        if self._engine.checkpoint_due():
            self._checkpoint_ns = now_ns
        elif self._checkpoint_ns is None:
            self._checkpoint_ns = now_ns + CHECKPOINT_NS
        for done, batch in self._batches(outcomes).items():
            done(batch)
