"""What both shells of a VDEV do alike: the one with threads (vdev.py), the one in virtual time.

open_engine() is the way from a path to an open VDEV; VdevShell queues submissions,
keeps the figures of flushes and groups outcomes by whom to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from replicast.disks import Lock, LockableDisk
from replicast.target.store.core import WRITABLE, ContentHash, FlushPlan, Outcomes
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import ReadError, RecordClass, VdevBusy, VdevError
from replicast.target.store.facts import VdevFacts, VdevStat, free_ppm
from replicast.target.store.format import count_open
from replicast.target.store.overlay import Checkpoint
from replicast.target.store.record import Record

VOUCH_NS = 3_000_000_000
CHECKPOINT_NS = 5_000_000_000
SLOW_NS = 1_000_000_000
SLOW_COUNT = 5  # in a row: a hiccup is shorter

Done = Callable[[Outcomes], None]
ReadResults = list[tuple[object, bytes | ReadError]]
ReadDone = Callable[[ReadResults], None]
OpenIndex = Callable[[bool], Checkpoint]  # given: may it be written?


def open_engine(
    disk: LockableDisk,
    path: Path,
    cluster_id: bytes,
    open_index: OpenIndex,
    content_hash: ContentHash,
    capacity_bytes: int,
) -> tuple[StoreEngine, Lock]:
    """Lock, count the open, open the index, recover. Raises VdevError and its kinds."""
    with ExitStack() as undo:
        lock = _claim(disk, path)
        undo.callback(lock.close)
        header, writable = count_open(disk, path, cluster_id)
        checkpoint = open_index(writable)
        undo.callback(checkpoint.close)
        engine = StoreEngine(
            disk,
            path,
            header,
            checkpoint,
            content_hash,
            capacity_bytes=capacity_bytes,
            writable=writable,
        )
        undo.pop_all()
    return engine, lock


def _claim(disk: LockableDisk, path: Path) -> Lock:
    try:
        return disk.lock(path)
    except BlockingIOError:
        raise VdevBusy(f"{path}: open already") from None
    except OSError as error:
        raise VdevError(f"{path}: {error.strerror}") from error


class VdevShell(VdevFacts):
    """See the module header. `_durable_ns` is when a flush or a probe completed last."""

    def __init__(self, engine: StoreEngine, lock: Lock, opened_ns: int) -> None:
        super().__init__(engine)
        self._lock = lock
        self._durable_ns = opened_ns
        self.flush_ns = 0  # moving average of write and sync
        self._flush_count = self._record_count = 0
        self._slow_count = 0  # flushes and probes since the last one below SLOW_NS

    @property
    def slow(self) -> bool:
        """Did each of the last SLOW_COUNT flushes and probes take longer than SLOW_NS?"""
        return self._slow_count >= SLOW_COUNT

    def submit(
        self,
        records: Sequence[Record],
        token: object,
        done: Done,
        kind: RecordClass | None = None,
    ) -> None:
        """Make `records` durable as one; done([(token, outcome), ...]) tells, once per flush."""
        self._core.append(records, (done, token), kind)

    # What every bid asks for, without the rest of stat().

    def appraise(self, chid: bytes, size_bytes: int) -> tuple[bool, bool, int, int, int]:
        """has(chid), fits() as payload, bytes that were taken and are not yet durable, flush_ns, free_ppm."""
        core, space = self._core, self._core.space
        queue_bytes = core.queue_bytes + core.flying_bytes
        ppm = free_ppm(space.total_bytes, space.used_bytes, queue_bytes)
        return (
            self.has(chid),
            self.fits(RecordClass.PAYLOAD, size_bytes),
            queue_bytes,
            self.flush_ns,
            ppm,
        )

    def free_ppm(self) -> int:
        """Free millionths of the capacity."""
        space, core = self._core.space, self._core
        queue_bytes = core.queue_bytes + core.flying_bytes
        return free_ppm(space.total_bytes, space.used_bytes, queue_bytes)

    def stat(self) -> VdevStat:
        """Figures as of now."""
        space, core = self._core.space, self._core
        return VdevStat(
            space.total_bytes,
            space.used_bytes,
            core.promised_bytes,
            core.queue_count,
            self.flush_ns,
            self._flush_count,
            self._record_count,
        )

    def _measure(self, plan: FlushPlan, started_ns: int, now_ns: int) -> bool:
        """Count a flush that ended now; False when nothing was written, or not durably."""
        if not plan.size_bytes:
            return False
        taken_ns = now_ns - started_ns
        self.flush_ns += (taken_ns - self.flush_ns) // 8 if self.flush_ns else taken_ns
        if self._core.status not in WRITABLE:
            return False
        self._durable(taken_ns, now_ns)
        self._flush_count += 1
        self._record_count += len(plan.placed)
        return True

    def _durable(self, taken_ns: int, now_ns: int) -> None:
        """A flush or a probe ended well."""
        self._durable_ns = now_ns
        self._slow_count = self._slow_count + 1 if taken_ns > SLOW_NS else 0

    def _batches(self, outcomes: Outcomes) -> dict[Done, Outcomes]:
        """The outcomes by whom to tell, in order."""
        batches: dict[Done, Outcomes] = {}
        for wrapped, outcome in outcomes:
            assert type(wrapped) is tuple  # submit() made it
            done, token = wrapped
            batches.setdefault(done, []).append((token, outcome))
        return batches
