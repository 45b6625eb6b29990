"""A VDEV for the simulator and for tests: the same engine, in virtual time, without threads.

`step(now_ns)` does what is due: it ends the flush under way, begins the next, makes a
checkpoint. `deadline_ns()` says when to call it next. crash() and open() again is a
power loss: the disk forgets, the checkpoint keeps what was committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from replicast.disks import Lock
from replicast.hashing import content_hash as cluster_hash
from replicast.memory_disk import MemoryDisk
from replicast.target.store.core import ContentHash, FlushPlan, Outcomes
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import ReadError, RecordClass, VdevBusy, VdevError
from replicast.target.store.facts import VdevFacts, VdevStat
from replicast.target.store.format import count_open, format_vdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import Record

CHECKPOINT_NS = 5_000_000_000
VOUCH_NS = 3_000_000_000
PATH = Path("/vdev")

Done = Callable[[Outcomes], None]
ReadDone = Callable[[list[tuple[object, bytes | ReadError]]], None]
Latency = Callable[[int], int]  # bytes of a flush -> ns


def fixed_latency(size_bytes: int) -> int:
    """1 ms and 1 ns per byte."""
    return 1_000_000 + size_bytes


class MemoryVdev(VdevFacts):
    """One open VDEV on a MemoryDisk."""

    def __init__(
        self,
        engine: StoreEngine,
        disk: MemoryDisk,
        checkpoint: MemoryCheckpoint,
        lock: Lock,
        latency_ns: Latency,
    ) -> None:
        super().__init__(engine)
        self.disk = disk
        self.checkpoint = checkpoint
        self._lock = lock
        self._latency_ns = latency_ns
        self._plan: FlushPlan | None = None
        self._begun_ns = self._ends_ns = self._flush_ns = self._durable_ns = 0
        self._checkpoint_ns: int | None = None
        self._flush_count = self._record_count = 0

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
        try:
            lock = disk.lock(PATH)
        except BlockingIOError:
            raise VdevBusy(f"{PATH}: open already") from None
        except OSError as error:
            raise VdevError(f"{PATH}: {error.strerror}") from error
        try:
            header, writable = count_open(disk, PATH, cluster_id)
            engine = StoreEngine(
                disk,
                PATH,
                header,
                checkpoint,
                content_hash,
                capacity_bytes=capacity_bytes,
                writable=writable,
            )
        except VdevError:
            lock.close()
            raise
        return MemoryVdev(engine, disk, checkpoint, lock, latency_ns)

    def submit(
        self,
        records: Sequence[Record],
        token: object,
        done: Done,
        kind: RecordClass | None = None,
    ) -> None:
        """As Vdev.submit(); `done` is called from step()."""
        self._core.append(records, (done, token), kind)

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

    def stat(self) -> VdevStat:
        """Figures as of now."""
        space, core = self._core.space, self._core
        return VdevStat(
            space.total_bytes,
            space.used_bytes,
            core.promised_bytes,
            core.queue_count,
            self._flush_ns,
            self._flush_count,
            self._record_count,
        )

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
        taken_ns = now_ns - self._begun_ns
        self._flush_ns += (taken_ns - self._flush_ns) // 8 if self._flush_ns else taken_ns
        if self._core.writable:
            self._durable_ns = now_ns
            self._flush_count += 1
            self._record_count += len(plan.placed)
        if self._checkpoint_ns is None:
            self._checkpoint_ns = now_ns + CHECKPOINT_NS
        batches: dict[Done, Outcomes] = {}
        for wrapped, outcome in outcomes:
            assert isinstance(wrapped, tuple)  # submit() made it
            done, token = wrapped
            batches.setdefault(done, []).append((token, outcome))
        for done, batch in batches.items():
            done(batch)
