"""The store's core: a queue of submissions becomes flushes, synced flushes become the index.

    append() -> take() -> plan() -> [the engine writes and syncs] -> end_flush() -> outcomes

No I/O, clock or thread in here. append() may be called by any thread; take(), plan()
and end_flush() belong to whoever commits. One flush is under way at a time.

Invariants: a submission is in one flush as a whole; the index changes, and STORED is
said, only after the sync of its flush succeeded; after a failed write or sync the
core is FAULTED (or READ_ONLY) and nothing of that flush is acknowledged.
Limits: QUEUE_BYTES_MAX and QUEUE_COUNT_MAX queued, then BUSY; SUBMISSION_BYTES_MAX each.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from replicast.buggify import buggified, buggify
from replicast.frozen import frozen
from replicast.target.store import index
from replicast.target.store.errors import Outcome, RecordClass, VdevStatus
from replicast.target.store.flush import flush_bytes, pack_flush
from replicast.target.store.overlay import Overlay
from replicast.target.store.record import (
    CHID_BYTES_MAX,
    CHUNK_RECORDS,
    FIRST_RECORDS,
    Chunk,
    ChunkDrop,
    Hold,
    Record,
    RowEntry,
)
from replicast.target.store.segment import (
    BLOCK_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    Identity,
    PackedFlush,
    Placed,
    Position,
    SegmentHeader,
    to_block,
)

FLUSH_BYTES = 8 << 20  # take() stops adding submissions behind this
FLUSH_COUNT = 2048
QUEUE_BYTES_MAX = 256 << 20
QUEUE_COUNT_MAX = 65536
SUBMISSION_BYTES_MAX = 32 << 20
GATES_PERCENT = {RecordClass.PAYLOAD: 90, RecordClass.NAME: 95, RecordClass.FREEING: 98}
WRITABLE = (VdevStatus.OK, VdevStatus.DAMAGED)
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)

ContentHash = Callable[[int, bytes | bytearray | memoryview], bytes]
Outcomes = list[tuple[object, Outcome]]


@dataclass(slots=True)
class Submission:
    """Records that become durable together, and whom to tell."""

    records: Sequence[Record]
    token: object
    size_bytes: int
    plain: bool  # none of a chunk: nothing of it depends on what is stored


@dataclass(frozen=True, slots=True)
class Segment:
    """The segment that flushes go to."""

    incarnation: int = 0
    size_bytes: int = 0


@frozen
class FlushPlan:
    """What the engine has to do for one flush, in this order: close, create, write, sync."""

    position: Position
    pieces: list[bytes | memoryview]
    size_bytes: int
    placed: list[Placed]
    submissions: list[Submission]
    refused: Outcomes
    create: SegmentHeader | None = None
    close: Position | None = None  # the end of the segment that is left


@dataclass(slots=True)
class Space:
    """Bytes of the VDEV, kept by the engine; free_bytes is what the file system would give.

    Every bid asks for the sums, so each change makes them: only change() writes, under one lock.
    """

    capacity_bytes: int = 0  # 0: share the file system
    log_bytes: int = 0
    index_bytes: int = 0
    free_bytes: int = 1 << 62
    used_bytes: int = field(init=False)  # log and index
    total_bytes: int = field(init=False)  # the capacity, or what the shared file system allows

    def __post_init__(self) -> None:
        self.change()

    def change(
        self,
        *,
        log_grown: int = 0,
        index_bytes: int | None = None,
        free_bytes: int | None = None,
    ) -> None:
        """The log has grown, or the others are found to be this now."""
        self.log_bytes += log_grown
        self.index_bytes = self.index_bytes if index_bytes is None else index_bytes
        self.free_bytes = self.free_bytes if free_bytes is None else free_bytes
        self.used_bytes = self.log_bytes + self.index_bytes
        shared = self.used_bytes + self.free_bytes
        self.total_bytes = min(self.capacity_bytes or shared, shared)


def class_of(records: Sequence[Record]) -> RecordClass:
    """The gate of a submission whose owner names none."""
    if any(isinstance(record, Chunk) for record in records):
        return RecordClass.PAYLOAD
    if any(isinstance(record, RowEntry) for record in records):
        return RecordClass.NAME
    return RecordClass.FREEING


@dataclass(slots=True)
class StoreCore:
    """See the module header. Made by recovery.recover()."""

    identity: Identity
    kv: Overlay
    position: Position
    segment: Segment
    space: Space
    content_hash: ContentHash
    status: VdevStatus = VdevStatus.OK
    failure: str = ""  # why it stopped writing
    segment_bytes_min: int = SEGMENT_BYTES_MIN  # tests make it small
    queue_bytes: int = 0
    flying_bytes: int = 0  # taken into the flush under way
    _names: deque[Submission] = field(default_factory=deque)
    _chunks: deque[Submission] = field(default_factory=deque)
    _refused: Outcomes = field(default_factory=list)
    _owed: Submission | None = None  # leads the next flush, until one is durable
    # What take() gave last: whom to tell if the flush is abandoned.
    _flying: tuple[list[Submission], Outcomes] = field(default_factory=lambda: ([], []))

    @property
    def writable(self) -> bool:
        """Does the VDEV take submissions?"""
        return self.status in WRITABLE

    @property
    def has_work(self) -> bool:
        """Is anything queued?"""
        return bool(self._names or self._chunks or self._refused)

    @property
    def promised_bytes(self) -> int:
        """Taken, but not yet part of the log: an upper bound."""
        return self.queue_bytes + self.flying_bytes

    @property
    def queue_count(self) -> int:
        """Submissions queued."""
        return len(self._names) + len(self._chunks)

    def begin_rows(self, size_bytes: int) -> FlushPlan | None:
        """begin_flush() if all that is queued is plain, below `size_bytes`, and sure to fit the segment,
        and nothing else is to be done with it; otherwise None, and nothing is taken."""
        with self.kv.lock:
            room_bytes = self.segment.size_bytes - self.position.offset
            if not 0 < self.queue_bytes < size_bytes or self.queue_bytes > room_bytes:
                return None
            if self._chunks or self._refused or self._owed is not None:
                return None
            if self.status not in WRITABLE:
                return None
            for submission in self._names:
                if not submission.plain:
                    return None
            return self.plan(*self.take())

    def begin_chunks(self, size_bytes: int) -> FlushPlan | None:
        """begin_rows() where there may be chunks that are proved, too, none of them stored or twice here."""
        with self.kv.lock:
            room_bytes = self.segment.size_bytes - self.position.offset
            if not 0 < self.queue_bytes < size_bytes or self.queue_bytes > room_bytes:
                return None
            if not self._chunks or self._refused or self._owed is not None:
                return None
            if self.status not in WRITABLE:
                return None
            for submission in self._names:
                if not submission.plain:
                    return None
            chids: set[bytes] = set()
            for submission in self._chunks:
                for record in submission.records:
                    if type(record) is not Chunk or record.verify or record.chid in chids:
                        return None
                    if index.has_chunk(self.kv, record.chid):
                        return None
                    chids.add(record.chid)
            taken, refused = self.take()
            records = [record for submission in taken for record in submission.records]
            packed = pack_flush(records, self.position, self.identity)
            return FlushPlan(
                self.position, packed.pieces, packed.size_bytes, packed.placed, taken, refused
            )

    def fits(self, kind: RecordClass, size_bytes: int) -> bool:
        """Would a submission of this class and size pass the gates now?"""
        space = self.space
        limit_bytes = space.total_bytes * GATES_PERCENT[kind] // 100
        taken_bytes = space.used_bytes + self.queue_bytes + self.flying_bytes
        return self.status in WRITABLE and taken_bytes + size_bytes <= limit_bytes

    def append(
        self, records: Sequence[Record], token: object, kind: RecordClass | None = None
    ) -> None:
        """Queue `records` as one; the outcome comes with a flush, refusals too."""
        size = flush_bytes(records)
        types = set(map(type, records))
        plain = types.isdisjoint(CHUNK_RECORDS)
        submission = Submission(records, token, size, plain)
        queue = self._names if plain or types <= FIRST_RECORDS else self._chunks
        with self.kv.lock:
            refusal = self._refusal(submission, kind or class_of(records))
            if refusal is not None:
                self._refused.append((token, refusal))
                return
            queue.append(submission)
            self.queue_bytes += size

    def take(self) -> tuple[list[Submission], Outcomes]:
        """What the next flush holds (name records first), and what was refused meanwhile."""
        with self.kv.lock:
            refused, self._refused = self._refused, []
            if len(self._names) == 1 and not self._chunks:  # as most flushes are
                taken = [self._names.popleft()]
                size = taken[0].size_bytes
            else:
                taken, size = self._take()
            self.queue_bytes -= size
            self.flying_bytes = size
            if taken and self._owed is not None:
                taken.insert(0, self._owed)
            self._flying = taken, refused
        return taken, refused

    def _take(self) -> tuple[list[Submission], int]:
        taken: list[Submission] = []
        size = count = 0
        for queue, share in ((self._names, 2), (self._chunks, 1)):
            first = True  # of each queue something is taken: none starves the other
            while queue and (first or size + queue[0].size_bytes <= FLUSH_BYTES // share):
                full = count >= FLUSH_COUNT // share or buggify("store/flush-one")
                if full and not first:
                    break
                first = False
                submission = queue.popleft()
                taken.append(submission)
                size += submission.size_bytes
                count += len(submission.records)
        return taken, size

    def begin_flush(self) -> FlushPlan | None:
        """take() and plan() in one; None when nothing is queued."""
        if not self.has_work:
            return None
        return self.plan(*self.take())

    def plan(self, taken: list[Submission], refused: Outcomes) -> FlushPlan:
        """Check hashes, leave out what is stored already, and lay out the flush."""
        records: Sequence[Record]
        if len(taken) == 1 and taken[0].plain and self.status in WRITABLE:  # as most are
            kept, records, size = taken, taken[0].records, taken[0].size_bytes
        else:
            kept, records, refused_now = self._select(taken)
            refused = refused + refused_now
            size = sum(submission.size_bytes for submission in kept)
        create = close = None
        start = self.position
        room_bytes = self.segment.size_bytes - start.offset
        # What each submission takes at most is known; only where that is too much is it measured.
        if size > room_bytes and records and flush_bytes(records) > room_bytes:
            close = start if start.incarnation else None
            create = self._next_segment(flush_bytes(records))
            start = replace(start, incarnation=create.incarnation, offset=BLOCK_BYTES)
        packed = pack_flush(records, start, self.identity) if records else PackedFlush([], 0, [])
        return FlushPlan(
            start, packed.pieces, packed.size_bytes, packed.placed, kept, refused, create, close
        )

    def _select(self, taken: list[Submission]) -> tuple[list[Submission], list[Record], Outcomes]:
        """What of it is stored, the records for that, and what speaks against the others."""
        kept: list[Submission] = []
        records: list[Record] = []
        refused: Outcomes = []
        present: dict[bytes, bool] = {}
        writable = self.writable
        for submission in taken:
            if submission.plain and writable:
                kept.append(submission)
                records += submission.records
                continue
            refusal = self._refusal_now(submission, present)
            if refusal is None:
                kept.append(submission)
                records += self._needed(submission, present)
            else:
                refused.append((submission.token, refusal))
        return kept, records, refused

    def end_flush(self, plan: FlushPlan, error: OSError | None, *, wrote: bool = True) -> Outcomes:
        """The flush ended; publish it, or give up writing. Outcomes of all its tokens.

        `wrote` is False when it failed before the first byte of the flush was written:
        then a full disk is no reason to give up, the next flush may find space.
        """
        with self.kv.lock:
            if error is not None:
                outcome = self._failed(error, wrote)
            else:
                outcome = Outcome.STORED
                self._publish(plan)
            self.flying_bytes = 0
            self._flying = [], []  # only now: who cannot be published is told by abandon()
        return _to_tell(plan.refused, plan.submissions, outcome)

    def abandon(self, error: OSError) -> Outcomes:
        """The flush under way failed in a way nobody expected: nothing of it counts."""
        with self.kv.lock:
            self.fail(error)
            (taken, refused), self._flying = self._flying, ([], [])
        return _to_tell(refused, taken, Outcome.FAULTED)

    def fail(self, error: OSError) -> None:
        """Something failed: no more writes. Any thread may say so; it never gets better."""
        full = error.errno in FULL_ERRORS or error.errno == errno.EROFS
        with self.kv.lock:
            if self.writable or not full:
                self.status = VdevStatus.READ_ONLY if full else VdevStatus.FAULTED
                self.failure = str(error)

    def _refusal(self, submission: Submission, kind: RecordClass) -> Outcome | None:
        if self.status not in WRITABLE:
            return self._why_not()
        size = submission.size_bytes
        if size > SUBMISSION_BYTES_MAX or not (submission.plain or _has_right_chids(submission)):
            raise ValueError(f"submission of {size} bytes, or a chid of a wrong size")
        queue_count = len(self._names) + len(self._chunks)
        full = self.queue_bytes + size > QUEUE_BYTES_MAX or queue_count >= QUEUE_COUNT_MAX
        if full or buggify("store/queue-full"):
            return Outcome.BUSY
        return None if self.fits(kind, size) else Outcome.NO_SPACE

    def _refusal_now(self, submission: Submission, present: dict[bytes, bool]) -> Outcome | None:
        """What speaks against a submission in the flush that is being made."""
        if not self.writable:
            return self._why_not()
        if not self._hashes_match(submission):
            return Outcome.HASH_MISMATCH
        return None if self._holds_stand(submission, present) else Outcome.MISSING

    def _holds_stand(self, submission: Submission, present: dict[bytes, bool]) -> bool:
        """Is each chunk to be held here at this point of the log, or in the same submission?

        It was when the hold was asked for, but a drop may have overtaken the hold.
        """
        return all(
            self._is_present(record.chid, present)
            or any(isinstance(r, Chunk) and r.chid == record.chid for r in submission.records)
            for record in submission.records
            if isinstance(record, Hold)
        )

    def _why_not(self) -> Outcome:
        return Outcome.FAULTED if self.status == VdevStatus.FAULTED else Outcome.READ_ONLY

    def _hashes_match(self, submission: Submission) -> bool:
        try:
            return all(
                self.content_hash(record.algorithm, record.payload) == record.chid
                for record in submission.records
                if isinstance(record, Chunk) and record.verify
            )
        except ValueError:  # an algorithm that this release does not know
            return False

    def _needed(self, submission: Submission, present: dict[bytes, bool]) -> list[Record]:
        """The records less chunks that are durable already or in this flush already."""
        needed: list[Record] = []
        for record in submission.records:
            if isinstance(record, Chunk):
                if self._is_present(record.chid, present):
                    if record.hold_until_ns > index.hold_until(self.kv, record.chid):
                        needed.append(Hold(record.chid, record.hold_until_ns))
                    continue
                present[record.chid] = True
            elif isinstance(record, ChunkDrop):
                if record.sequence and not self._is_copy(record, present):
                    continue
                present[record.chid] = False
            needed.append(record)
        return needed

    def _is_copy(self, drop: ChunkDrop, present: dict[bytes, bool]) -> bool:
        """Is the copy that was found wrong still the one that is here?"""
        info = index.chunk_info(self.kv, drop.chid)
        return drop.chid not in present and info is not None and info.sequence == drop.sequence

    def _is_present(self, chid: bytes, present: dict[bytes, bool]) -> bool:
        known = present.get(chid)
        return index.chunk_info(self.kv, chid) is not None if known is None else known

    def _next_segment(self, flush_size: int) -> SegmentHeader:
        # Segments grow with the log, and stay small beside a small capacity.
        wanted = min(2 * self.segment.size_bytes, self.space.total_bytes // 16, SEGMENT_BYTES_MAX)
        # What is left of a nearly full disk is for flushes (deletes first of all), not to be
        # allocated ahead of them.
        wanted = min(max(wanted, self.segment_bytes_min), self.space.free_bytes // 2)
        wanted = buggified("store/segment-tiny", wanted, 0)
        size = max(to_block(wanted), BLOCK_BYTES + flush_size)
        at = self.position
        return SegmentHeader(at.incarnation + 1, size, at.flush_number, at.sequence)

    def _publish(self, plan: FlushPlan) -> None:
        if not plan.size_bytes:
            return
        self._owed = None
        if plan.create is not None:
            self.segment = Segment(plan.create.incarnation, plan.create.size_bytes)
            self.space.change(log_grown=BLOCK_BYTES)
        index.apply_all(self.kv, plan.placed)
        self.space.change(log_grown=plan.size_bytes)
        at = plan.position
        self.position = Position(
            at.incarnation,
            at.offset + plan.size_bytes,
            at.flush_number + 1,
            at.sequence + len(plan.placed),
        )

    def _failed(self, error: OSError, wrote: bool) -> Outcome:
        full = error.errno in FULL_ERRORS
        if wrote or not full:
            self.fail(error)
        return Outcome.NO_SPACE if full else self._why_not()

    def owe(self, records: Sequence[Record]) -> None:
        """The store's own records lead each flush until one is durable; nobody is told."""
        self._owed = Submission(records, None, flush_bytes(records), plain=False)


def _has_right_chids(submission: Submission) -> bool:
    for record in submission.records:
        if (
            isinstance(record, (Chunk, Hold, ChunkDrop))
            and not 0 < len(record.chid) <= CHID_BYTES_MAX
        ):
            return False
    return True


def _to_tell(refused: Outcomes, submissions: list[Submission], outcome: Outcome) -> Outcomes:
    """Of all but the store's own."""
    told = [(token, why) for token, why in refused if token is not None] if refused else []
    for submission in submissions:
        if submission.token is not None:
            told.append((submission.token, outcome))
    return told
