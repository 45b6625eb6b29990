"""A VDEV in a daemon: the engine, one commit thread, one checkpoint thread, readers.

While a flush is being synced, submissions queue; the next flush takes them all. So
`done` is called from the commit thread once per flush with everything that ended,
and a daemon makes one call_soon_threadsafe of it.

The commit thread needs the interpreter's lock, and the loop that waits for it has it. So a
VDEV that is attached to a loop does without it for flushes of row records and proved chunks: the
loop begins one (a flight), a FlushWriter writes and syncs it and wakes the loop, which ends it.
One of the two has its turn, never both: whoever ends a flush looks for more work, and the
loop leaves to the thread what cannot take off. Invariants: the turn is changed from nobody's
under the core's lock, and back by who has it; without it nobody flushes, probes, or counts.

The commit thread writes a probe block when nothing became durable for a second; vouch() says
whether a flush or a probe completed within the last three.
Limits: the queue's (core.py); READS_MAX reads waiting.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from replicast import clocks
from replicast.disks import Lock, LockableDisk, RealDisk
from replicast.hashing import content_hash as cluster_hash
from replicast.metrics import Counters
from replicast.target.store.core import ContentHash, FlushPlan, Outcomes
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import (
    ReadError,
    ReadFailed,
    RecordClass,
    VdevError,
    VdevStatus,
)
from replicast.target.store.flush_writer import FlushWriter
from replicast.target.store.format import INDEX_NAME
from replicast.target.store.lmdb_checkpoint import LmdbCheckpoint
from replicast.target.store.overlay import Checkpoint, CheckpointBroken
from replicast.target.store.record import Record
from replicast.target.store.shell import (
    CHECKPOINT_NS,
    VOUCH_NS,
    Done,
    ReadDone,
    VdevShell,
    open_engine,
)

log = logging.getLogger(__name__)

PROBE_NS = 1_000_000_000
READS_MAX = 4096
READ_THREADS = 2
UNEXPECTED = "%s: flush failed in a way nobody expected"


class Turn(Enum):
    """Whose the core is: one flush is under way at a time."""

    NOBODYS = 0
    THREADS = 1  # the commit thread's
    LOOPS = 2  # a flight is out


class Vdev(VdevShell):
    """One open VDEV; close() ends its threads.

    Any thread may call it, but attach() and what needs it are the loop's.
    """

    def __init__(
        self,
        engine: StoreEngine,
        lock: Lock,
        *,
        clock_ns: Callable[[], int] = clocks.now_ns,
        write_delay_ns: int = 0,
        read_delay_ns: int = 0,
    ) -> None:
        super().__init__(engine, lock, clock_ns())
        self._clock_ns = clock_ns
        self._write_delay_ns, self._read_delay_ns = write_delay_ns, read_delay_ns
        self._name = self.vdev_id.hex()
        self._said = VdevStatus.OK  # the status last logged
        self.counters = Counters()  # changed by who has the turn
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # in C, as a Condition is not
        self._idle = self._stopping = False
        self._turn = Turn.NOBODYS
        self._writer: FlushWriter | None = None
        self.flight: tuple[FlushPlan, int] | None = None  # and when it began
        self._checkpoint_wake = threading.Event()
        self._reads: queue.Queue[tuple[Callable[[], bytes], object, ReadDone] | None]
        self._reads = queue.Queue(READS_MAX)
        self._threads = [threading.Thread(target=self._commit_loop, name="vdev-commit")]
        self._threads += [threading.Thread(target=self._checkpoint_loop, name="vdev-checkpoint")]
        for _ in range(READ_THREADS):
            self._threads.append(threading.Thread(target=self._read_loop, name="vdev-read"))
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    @staticmethod
    def open(
        disk: LockableDisk,
        path: Path,
        cluster_id: bytes,
        *,
        capacity_bytes: int | None = None,
        content_hash: ContentHash = cluster_hash,
        clock_ns: Callable[[], int] = clocks.now_ns,
        write_delay_ns: int = 0,
        read_delay_ns: int = 0,
    ) -> Vdev:
        """Lock, count the open, recover, start. Raises VdevError and its kinds.

        `capacity_bytes` overrides the header's. `write_delay_ns` delays each flush and
        probe, `read_delay_ns` each read: they are there for tests of slow VDEVs only.
        """

        def open_index(writable: bool) -> Checkpoint:
            return open_checkpoint(path / INDEX_NAME, read_only=not writable)

        engine, lock = open_engine(
            disk, path, cluster_id, open_index, content_hash, capacity_bytes or 0
        )
        return Vdev(
            engine,
            lock,
            clock_ns=clock_ns,
            write_delay_ns=write_delay_ns,
            read_delay_ns=read_delay_ns,
        )

    # -- facts ----------------------------------------------------------------------

    def vouch(self, now_ns: int) -> bool:
        """Did a flush or a probe become durable within the last three seconds?"""
        return self._core.writable and now_ns - self._durable_ns <= VOUCH_NS

    # -- writing --------------------------------------------------------------------

    def submit(
        self,
        records: Sequence[Record],
        token: object,
        done: Done,
        kind: RecordClass | None = None,
    ) -> None:
        """As VdevShell.submit(); `done` is called from the commit thread, if this is not attached."""
        super().submit(records, token, done, kind)
        if self._idle and self._turn is not Turn.LOOPS:
            self._wakes.put(None)

    def attach(self, notify_fd: int) -> None:
        """From here on the loop may take_off(); it must land() what took off when this eventfd is
        readable, and close the eventfd only after close()."""
        self._writer = FlushWriter(notify_fd)

    def queue(
        self,
        records: Sequence[Record],
        token: object,
        done: Done,
        kind: RecordClass | None = None,
    ) -> None:
        """submit() that leaves it to take_off(), which must follow, to see to what was queued."""
        self._core.append(records, (done, token), kind)

    def take_off(self) -> None:
        """Begin a flight with what is queued, or have the commit thread flush it."""
        with self._core.kv.lock:
            if self._turn is not Turn.NOBODYS or not self._core.has_work:
                return  # whoever has the turn looks for more work
            self._turn = Turn.LOOPS
        plan = None
        try:
            if self._writer is not None and not self._write_delay_ns:
                started_ns = self._clock_ns()
                plan = self._engine.take_off(self._writer)
        except Exception:
            log.exception(UNEXPECTED, self.path)
            self.tell(self._abandon())
        if plan is not None:
            self.flight = plan, started_ns
            return
        self._turn = Turn.NOBODYS
        if self._idle:
            self._wakes.put(None)

    @property
    def has_work(self) -> bool:
        """Is anything queued? Whoever has the turn looks for it when he gives it back: who queued
        something before left it to him, and who does so later sees that nobody has it."""
        return self._core.has_work

    def land(self) -> dict[Done, Outcomes] | None:
        """End the flight if it was written, and say whom to tell what (tell() does); take_off() must
        follow if it has_work. None when there is none, or it is still out."""
        if self.flight is None or self._writer is None:
            return None
        error = self._writer.take()
        if error is None:
            return None
        (plan, started_ns), self.flight = self.flight, None
        try:
            batches = self._batches(self._engine.land(plan, error))
            self._count(plan, started_ns)
        except Exception:
            log.exception(UNEXPECTED, self.path)
            batches = self._abandon()
        if self._core.status is not self._said:
            self._say_status()
        if self._engine.checkpoint_due():
            self._checkpoint_wake.set()
        self._turn = Turn.NOBODYS
        return batches

    def close(self) -> None:
        """Flush what is queued, make a checkpoint, stop. Never again usable: its loop calls nothing more."""
        self._stopping = True
        if self._writer is not None:
            self._writer.stop()
            self.tell(self.land() or {})
        self._wakes.put(None)
        self._checkpoint_wake.set()
        for _ in range(READ_THREADS):
            self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._engine.close()
        self._lock.close()

    # -- reading --------------------------------------------------------------------

    def read_cached(self, chid: bytes, size_max: int) -> Any | None:
        return None if self._read_delay_ns else super().read_cached(chid, size_max)

    def submit_read(
        self, chid: bytes, token: object, done: ReadDone, *, direct: bool = False
    ) -> bool:
        """read_chunk() in a reader thread, done([(token, bytes or ReadError)]) from there.

        False when too many reads wait already: done is not called.
        """
        return self._submit_read(lambda: self.read_chunk(chid, direct=direct), token, done)

    def submit_entry_read(self, row: int, entry_index: int, token: object, done: ReadDone) -> bool:
        """The same for an entry of a row's log, past the page cache."""
        return self._submit_read(
            lambda: self._engine.find_and_read_entry(row, entry_index), token, done
        )

    def _submit_read(self, read: Callable[[], bytes], token: object, done: ReadDone) -> bool:
        try:
            self._reads.put_nowait((read, token, done))
        except queue.Full:
            return False
        return True

    # -- threads --------------------------------------------------------------------

    def _commit_loop(self) -> None:
        while True:
            self._await_work()
            if not self._take_turn():
                continue
            if self._core.has_work:
                self._flush_or_fault()
            elif self._stopping:
                return
            if self._core.status is not self._said:
                self._say_status()
            self._probe_if_idle()
            if self._engine.checkpoint_due():
                self._checkpoint_wake.set()
            self._turn = Turn.NOBODYS

    def _take_turn(self) -> bool:
        with self._core.kv.lock:
            if self._turn is Turn.NOBODYS:
                self._turn = Turn.THREADS
            return self._turn is Turn.THREADS

    def _await_work(self) -> None:
        self._idle = True  # from here on whoever submits leaves a wake-up, or take_off() does
        if self._turn is Turn.LOOPS or not (self._core.has_work or self._stopping):
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=PROBE_NS / 1e9)
        self._idle = False
        while not self._wakes.empty():  # of those who came meanwhile
            self._wakes.get_nowait()

    def _flush_or_fault(self) -> None:
        try:
            self._flush()
        except Exception:
            log.exception(UNEXPECTED, self.path)
            self.tell(self._abandon())

    def _abandon(self) -> dict[Done, Outcomes]:
        return self._batches(self._core.abandon(OSError(errno.EIO, "internal error")))

    def _flush(self) -> None:
        started_ns = self._clock_ns()
        plan = self._engine.begin(sync=not self._write_delay_ns)
        if plan is None:
            return
        self._delay()
        outcomes = self._engine.finish(plan)
        self._count(plan, started_ns)
        self.tell(self._batches(outcomes))

    def _count(self, plan: FlushPlan, started_ns: int) -> None:
        now_ns = self._clock_ns()
        if self._measure(plan, started_ns, now_ns):
            counters, name = self.counters, self._name
            counters.observe_ns("flush_seconds", name, elapsed_ns=now_ns - started_ns)
            counters.count("flush_records", name, by=len(plan.placed))

    def _probe_if_idle(self) -> None:
        started_ns = self._clock_ns()
        if started_ns - self._durable_ns >= PROBE_NS:
            self._delay()
            if self._engine.probe():
                now_ns = self._clock_ns()
                self._durable(now_ns - started_ns, now_ns)

    def _delay(self) -> None:
        if self._write_delay_ns:
            time.sleep(self._write_delay_ns / 1e9)

    def tell(self, batches: dict[Done, Outcomes]) -> None:
        """What land() said."""
        for done, batch in batches.items():
            try:
                done(batch)
            except RuntimeError:
                log.warning("%s: nobody hears of a flush: the daemon is stopping", self.path)

    def _say_status(self) -> None:
        self._said = self.status
        why = self._core.failure or self.damage or "opened so"
        log.error("%s: the VDEV is %s: %s", self.path, self.status.name, why)

    def _checkpoint_loop(self) -> None:
        while not self._stopping:
            self._checkpoint_wake.wait(CHECKPOINT_NS / 1e9)
            self._checkpoint_wake.clear()
            try:
                if self._core.writable and not self._engine.checkpoint():
                    log.warning("%s: checkpoint failed, status %s", self.path, self.status.name)
            except Exception:
                log.exception("%s: checkpoint failed in a way nobody expected", self.path)
                self._core.fail(OSError(errno.EIO, "internal error"))

    def _read_loop(self) -> None:
        while (request := self._reads.get()) is not None:
            read, token, done = request
            if self._read_delay_ns:
                time.sleep(self._read_delay_ns / 1e9)
            result: bytes | ReadError
            try:
                result = read()
            except ReadError as error:
                result = error
            except Exception as error:  # or a reader less, until none is left
                log.exception("%s: read failed in a way nobody expected", self.path)
                result = ReadFailed(f"{self.path}: {error}")
            try:
                done([(token, result)])
            except RuntimeError:
                log.warning("%s: nobody hears of a read: the daemon is stopping", self.path)


def open_checkpoint(directory: Path, *, read_only: bool = False) -> Checkpoint:
    """The index; a broken one is removed, the log rebuilds it. Raises VdevError."""
    try:
        return LmdbCheckpoint(directory, read_only=read_only)
    except CheckpointBroken as error:
        if read_only:
            raise VdevError(f"{error}; it cannot be rebuilt on a read-only file system") from error
        log.warning("%s; rebuilding it from the log", error)
        return _new_checkpoint(directory)
    except OSError as error:
        raise VdevError(f"the index cannot be opened: {error.strerror}") from error


def _new_checkpoint(directory: Path) -> Checkpoint:
    try:
        for path in directory.iterdir():
            path.unlink()
        return LmdbCheckpoint(directory)
    except (CheckpointBroken, OSError) as error:
        raise VdevError(f"the index cannot be made anew: {error}") from error


def open_vdev(path: Path, cluster_id: bytes) -> Vdev:
    """Vdev.open() on the operating system's disk."""
    return Vdev.open(RealDisk(), path, cluster_id)
