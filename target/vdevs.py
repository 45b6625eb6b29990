"""The open VDEVs of a target, as its cores want to see them.

`ChunkView` answers the chunk cores' questions from memory. `Vdevs` knows which
index of the table belongs to which open VDEV, submits records, and brings outcomes
from the commit and reader threads back to the event loop, one wake-up per flush. After
attach() usual flushes begin and end in the loop (store/vdev.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from replicast.buggify import buggify
from replicast.flexhash.table import Table
from replicast.hashing import content_hash
from replicast.target.names.store import AppendRecords
from replicast.target.names.verify import EntryBad, VerifyEntry
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import (
    ChunkDamaged,
    ChunkMissing,
    Outcome,
    ReadError,
    RecordClass,
    VdevError,
    VdevStatus,
)
from replicast.target.store.index import ChunkInfo
from replicast.target.store.record import Chunk, ChunkDrop, Hold, Record
from replicast.target.store.shell import ReadResults
from replicast.target.store.vdev import Vdev
from replicast.transfer import BufferLike
from replicast.wire.chunk_messages import (
    VERIFIED,
    VERIFY_CORRUPT,
    VERIFY_ERROR,
    VERIFY_MISSING,
)
from replicast.wire.reasons import Reason

log = logging.getLogger("replicast.target")

REASONS: dict[Outcome, Reason | None] = {
    Outcome.STORED: None,
    Outcome.HASH_MISMATCH: Reason.HASH_MISMATCH,
    Outcome.NO_SPACE: Reason.NO_SPACE,
    Outcome.BUSY: Reason.BUSY,
    Outcome.READ_ONLY: Reason.FAULTED,
    Outcome.FAULTED: Reason.FAULTED,
    Outcome.MISSING: Reason.NOT_FOUND_HERE,
}

# What the page cache has is copied at once: a reader thread, and the way there and back, take longer.
CACHED_BYTES_MAX = 1 << 20
VERIFY_READS = 2
DROP_RETRY_SECONDS = 0.05

StoredDone = Callable[[object, Outcome], None]
ReadChunkDone = Callable[[object, BufferLike | Reason], None]
VerifyDone = Callable[[object, int, str], None]
EntryReadDone = Callable[[object, bytes | EntryBad | None], None]


class ChunkView:
    """One VDEV for target/put.py and target/get.py (admission.VdevView)."""

    def __init__(self, vdev: Vdev) -> None:
        self.vdev = vdev
        # Asked for each message about a chunk.
        self.has, self.appraise, self.free_ppm = vdev.has, vdev.appraise, vdev.free_ppm

    def size_of(self, chid: bytes) -> int:
        info = self.vdev.chunk(chid)
        return 0 if info is None else info.size

    def refusal(self, size_bytes: int) -> Reason | None:
        if self.vdev.fits(RecordClass.PAYLOAD, size_bytes):
            return None
        return Reason.NO_SPACE if self.vdev.writable else Reason.FAULTED

    def proves_misses(self) -> bool:
        return self.vdev.status != VdevStatus.DAMAGED and not self.vdev.damage


class Vdevs:
    """All open VDEVs of one target; methods are called from the loop's thread."""

    def __init__(self, vdevs: Sequence[Vdev], loop: asyncio.AbstractEventLoop) -> None:
        self.by_id: dict[bytes, Vdev] = {}
        for vdev in vdevs:
            other = self.by_id.setdefault(vdev.vdev_id, vdev)
            if other is not vdev:  # a cloned disk
                raise VdevError(f"{vdev.path} and {other.path} are copies of one VDEV: remove one")
        self.by_index: dict[int, Vdev] = {}
        self.chunk_views: dict[int, ChunkView] = {}
        self._loop = loop
        self.after: Callable[[], None] = lambda: None  # called when a flush was told
        self._attached: list[Vdev] = []
        self.due: list[Vdev] = []  # flush() must be called for these
        self.flying: list[Vdev] = []  # these have taken off and not landed
        self._written_fd = -1  # an eventfd: something that took off was written

    def map_indexes(self, table: Table) -> list[int]:
        """Learn the indexes that `table` gives to our VDEVs; returns the new ones."""
        new = []
        for index, entry in table.vdevs.items():
            vdev = self.by_id.get(entry.vdev_id)
            if vdev is not None and index not in self.by_index:
                self.by_index[index] = vdev
                self.chunk_views[index] = ChunkView(vdev)
                new.append(index)
        return new

    def vouched(self, now_ns: int) -> tuple[bytes, ...]:
        """Ids of the VDEVs that flushed lately."""
        return tuple(v.vdev_id for v in self.by_id.values() if v.vouch(now_ns))

    def attach(self) -> None:
        """From here on flush() must follow append_rows() and store_chunk(), once for as many as there
        are, until detach().

        VDEVs that are driven in another way than by threads stay as they are.
        """
        attached = [vdev for vdev in self.by_id.values() if isinstance(vdev, Vdev)]
        if attached:
            self._written_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._loop.add_reader(self._written_fd, self._land)
            for vdev in attached:
                vdev.attach(self._written_fd)
        self._attached = attached

    def detach(self) -> None:
        """Before close(), which any thread may call: the loop begins and ends no flush any more."""
        if self._attached:
            self._loop.remove_reader(self._written_fd)
            self.flush()
            self._attached, self.flying = [], []

    def close(self) -> None:
        """Flush, checkpoint and close all; after detach()."""
        for vdev in self.by_id.values():
            vdev.close()
        if self._written_fd >= 0:
            os.close(self._written_fd)
            self._written_fd = -1

    # -- writing ----------------------------------------------------------------------

    def store_chunk(
        self,
        index: int,
        chid: bytes,
        algorithm: int,
        buffer: BufferLike,
        hold_until_ns: int,
        token: object,
        done: StoredDone,
        *,
        proved: bool = False,
    ) -> None:
        """Check the hash, unless it is proved, and make durable; done(token, outcome) in the loop."""
        record = Chunk(chid, algorithm, buffer, hold_until_ns, not proved)
        if not (proved and self._attached):
            self._submit(index, [record], token, done, RecordClass.PAYLOAD)
            return
        vdev = self.by_index[index]
        vdev.queue([record], (done, token), self._flushed, RecordClass.PAYLOAD)
        if vdev not in self.due:
            self.due.append(vdev)

    def store_hold(
        self, index: int, chid: bytes, hold_until_ns: int, token: object, done: StoredDone
    ) -> None:
        """Make a hold durable."""
        self._submit(index, [Hold(chid, hold_until_ns)], token, done, RecordClass.FREEING)

    def append_rows(self, event: AppendRecords, done: StoredDone) -> None:
        """Make row records durable; done(event.token, outcome) in the loop."""
        if not self._attached:
            self._submit(event.vdev_index, event.records, event.token, done, RecordClass.FREEING)
            return
        vdev = self.by_index[event.vdev_index]
        vdev.queue(event.records, (done, event.token), self._flushed, RecordClass.FREEING)
        if vdev not in self.due and vdev not in self.flying:  # its landing makes it due
            self.due.append(vdev)

    def flush(self) -> None:
        """What append_rows() and store_chunk() were given goes to the disks now, those of one VDEV together."""
        while self.due:
            vdev = self.due.pop()
            vdev.take_off()
            if vdev.flight is not None and vdev not in self.flying:
                self.flying.append(vdev)

    def land(self) -> bool:
        """Tell what took off and was written by now, and whether there was any; flush() must follow, when
        what follows from it was seen to. Whoever does that anyway may call this at any time while
        something is `flying`: it saves a wake-up of its own, and waits for nothing."""
        outcomes: Outcomes = []
        flying, self.flying = self.flying, []
        for vdev in flying:
            batches = vdev.land()
            if batches is None:
                self.flying.append(vdev)
                continue
            if vdev.has_work:
                self.due.append(vdev)
            outcomes += batches.pop(self._flushed, ())
            if batches:
                vdev.tell(batches)
        self._tell_each(outcomes)
        return bool(outcomes)

    def _land(self) -> None:
        try:
            os.eventfd_read(self._written_fd)
        except BlockingIOError:
            return  # nothing was written since
        try:
            if self.land():
                self.after()  # what follows from them goes with the next flush
        finally:
            if self.due:
                self.flush()

    def _submit(
        self,
        index: int,
        records: Sequence[Record],
        token: object,
        done: StoredDone,
        kind: RecordClass,
    ) -> None:
        # The same callback for all: the commit thread groups a flush's outcomes by it.
        self.by_index[index].submit(records, (done, token), self._flushed, kind)

    def _flushed(self, outcomes: Outcomes) -> None:
        """From the commit thread: one wake-up of the loop for the whole flush."""
        self._loop.call_soon_threadsafe(self._tell, outcomes)

    def _tell(self, outcomes: Outcomes) -> None:
        self._tell_each(outcomes)
        self.after()

    def _tell_each(self, outcomes: Outcomes) -> None:
        for wrapped, outcome in outcomes:
            assert type(wrapped) is tuple  # _submit() made it
            done, token = wrapped
            try:
                done(token, outcome)
            except Exception:  # the last resort of a shell: the others of the flush must hear
                log.exception("the outcome of a flush could not be taken")

    # -- reading ----------------------------------------------------------------------

    def read_chunk(
        self, index: int, chid: bytes, token: object, done: ReadChunkDone, to_kernel: bool
    ) -> BufferLike | None:
        """The bytes, when that needs no waiting, and they go only `to_kernel`; else done(token, bytes or a
        reason) in the loop, but not from within this call."""
        vdev = self.by_index[index]
        cached = vdev.read_cached(chid, CACHED_BYTES_MAX) if to_kernel else None
        if cached is not None:
            return cached

        def read(results: ReadResults) -> None:
            for each, result in results:
                if isinstance(result, ChunkDamaged):
                    drop = ChunkDrop(chid, result.sequence)
                    self._set_aside(vdev, drop, done, each, Reason.NOT_FOUND_HERE)
                else:
                    self._loop.call_soon_threadsafe(done, each, _read_result(result))

        if buggify("store/reads-full") or not vdev.submit_read(chid, token, read):
            # Who asks is carrying out what a core wanted, and would be told in between.
            self._loop.call_soon(done, token, Reason.BUSY)
        return None

    def verify_chunk(
        self, index: int, chid: bytes, algorithm: int, token: object, done: VerifyDone
    ) -> None:
        """Read past the caches and hash, in a reader thread; a bad copy is set aside first.

        The copy is proved by the algorithm that it was stored under: asking with
        another one is a mistake of who asks, and no reason to give up a good copy.
        """
        vdev = self.by_index[index]
        info = vdev.chunk(chid)
        if info is None:
            return done(token, VERIFY_MISSING, "it is not stored here")
        if info.algorithm != algorithm:
            return done(token, VERIFY_ERROR, f"it is stored under hash algorithm {info.algorithm}")

        self._verify(vdev, info, token, done, VERIFY_READS)
        return None

    def _verify(
        self, vdev: Vdev, info: ChunkInfo, token: object, done: VerifyDone, reads: int
    ) -> None:
        """A bit may flip on its way from the disk: a copy is bad when each of `reads` says so."""

        def read(results: ReadResults) -> None:
            for each, result in results:
                verdict, detail = _verdict(info, result)
                if verdict != VERIFY_CORRUPT:
                    self._loop.call_soon_threadsafe(done, each, verdict, detail)
                elif reads > 1:
                    self._verify(vdev, info, each, done, reads - 1)
                else:
                    drop = ChunkDrop(info.chid, info.sequence)
                    self._set_aside(vdev, drop, done, each, verdict, detail)

        if not vdev.submit_read(info.chid, token, read, direct=True):
            detail = "too many reads wait"
            self._loop.call_soon_threadsafe(done, token, VERIFY_ERROR, detail)

    def verify_entry(self, event: VerifyEntry, done: EntryReadDone) -> None:
        """Read a row's entry past the caches, in a reader thread; done(token, found) in the loop."""

        def read(results: ReadResults) -> None:
            for each, result in results:
                self._loop.call_soon_threadsafe(done, each, _entry_found(result))

        vdev = self.by_index[event.vdev_index]
        if not vdev.submit_entry_read(event.row, event.index, event.token, read):
            done(event.token, None)

    def _set_aside(
        self, vdev: Vdev, drop: ChunkDrop, done: Callable[..., None], *found: object
    ) -> None:
        """Drop a bad copy, and answer when that is durable: from then on has() says no.

        Answered earlier, a put that follows would find the chunk here and count the bad copy.
        """
        where = f"VDEV {vdev.vdev_id.hex()}: chunk {drop.chid.hex()}"
        log.error("%s: bad copy set aside", where)

        def dropped(outcomes: Outcomes) -> None:
            ((_, outcome),) = outcomes
            if outcome is Outcome.BUSY:
                self._loop.call_soon_threadsafe(self._loop.call_later, DROP_RETRY_SECONDS, submit)
                return
            if outcome is not Outcome.STORED:  # its VDEV answers for nothing any more
                log.warning("%s: cannot set aside: %s", where, outcome.name)
            self._loop.call_soon_threadsafe(done, *found)

        def submit() -> None:
            vdev.submit([drop], None, dropped, RecordClass.FREEING)

        submit()


def _read_result(result: bytes | ReadError) -> BufferLike | Reason:
    if isinstance(result, ChunkMissing):
        return Reason.NOT_FOUND_HERE
    return Reason.FAULTED if isinstance(result, ReadError) else result


def _verdict(info: ChunkInfo, result: bytes | ReadError) -> tuple[int, str]:
    if isinstance(result, ChunkMissing):
        return VERIFY_MISSING, str(result)
    if isinstance(result, ChunkDamaged):
        return VERIFY_CORRUPT, str(result)
    if isinstance(result, ReadError):
        return VERIFY_ERROR, str(result)
    good = content_hash(info.algorithm, result) == info.chid
    return (VERIFIED, "") if good else (VERIFY_CORRUPT, "wrong hash")


def _entry_found(result: bytes | ReadError) -> bytes | EntryBad | None:
    if isinstance(result, (ChunkDamaged, ChunkMissing)):
        return EntryBad(str(result))
    return None if isinstance(result, ReadError) else result
