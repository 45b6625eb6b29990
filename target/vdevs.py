"""The open VDEVs of a target, as its cores want to see them.

`ChunkView` answers the chunk cores' questions from memory. `Vdevs` knows which
index of the table belongs to which open VDEV, submits records, and brings outcomes
from the commit and reader threads back to the event loop, one wake-up per flush.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from replicast.flexhash.table import Table
from replicast.hashing import HashAlgorithm, content_hash
from replicast.target.names.store import AppendRecords
from replicast.target.names.vdev_store import to_records
from replicast.target.names.verify import EntryBad, VerifyEntry
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import (
    ChunkDamaged,
    ChunkMissing,
    Outcome,
    ReadError,
    RecordClass,
    VdevStatus,
)
from replicast.target.store.record import Chunk, ChunkDrop, Hold, Record
from replicast.target.store.vdev import ReadResults, Vdev
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
}

StoredDone = Callable[[object, Outcome], None]
ReadChunkDone = Callable[[object, BufferLike | Reason], None]
VerifyDone = Callable[[object, int, str], None]
EntryReadDone = Callable[[object, bytes | EntryBad | None], None]


class ChunkView:
    """One VDEV for target/put.py and target/get.py (admission.VdevView)."""

    def __init__(self, vdev: Vdev) -> None:
        self.vdev = vdev

    def has(self, chid: bytes) -> bool:
        return self.vdev.has(chid)

    def size_of(self, chid: bytes) -> int:
        info = self.vdev.chunk(chid)
        return 0 if info is None else info.size

    def refusal(self, size_bytes: int) -> Reason | None:
        if self.vdev.status not in (VdevStatus.OK, VdevStatus.DAMAGED):
            return Reason.FAULTED
        return None if self.vdev.fits(RecordClass.PAYLOAD, size_bytes) else Reason.NO_SPACE

    def proves_misses(self) -> bool:
        return self.vdev.status != VdevStatus.DAMAGED and not self.vdev.damage

    def queue_bytes(self) -> int:
        return self.vdev.stat().queue_bytes

    def flush_ns(self) -> int:
        return self.vdev.stat().flush_ns

    def free_ppm(self) -> int:
        return self.vdev.stat().free_ppm


class Vdevs:
    """All open VDEVs of one target; methods are called from the loop's thread."""

    def __init__(self, vdevs: Sequence[Vdev], loop: asyncio.AbstractEventLoop) -> None:
        self.by_id = {vdev.vdev_id: vdev for vdev in vdevs}
        self.by_index: dict[int, Vdev] = {}
        self.chunk_views: dict[int, ChunkView] = {}
        self._loop = loop

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

    def close(self) -> None:
        """Flush, checkpoint and close all."""
        for vdev in self.by_id.values():
            vdev.close()

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
    ) -> None:
        """Check the hash and make durable; done(token, outcome) in the loop."""
        record = Chunk(chid, algorithm, buffer, hold_until_ns=hold_until_ns)
        self._submit(index, [record], token, done, RecordClass.PAYLOAD)

    def store_hold(
        self, index: int, chid: bytes, hold_until_ns: int, token: object, done: StoredDone
    ) -> None:
        """Make a hold durable."""
        self._submit(index, [Hold(chid, hold_until_ns)], token, done, RecordClass.FREEING)

    def append_rows(self, event: AppendRecords, done: StoredDone) -> None:
        """Make row records durable; done(event.token, outcome) in the loop."""
        records = to_records(event.records)
        self._submit(event.vdev_index, records, event.token, done, RecordClass.FREEING)

    def _submit(
        self,
        index: int,
        records: Sequence[Record],
        token: object,
        done: StoredDone,
        kind: RecordClass,
    ) -> None:
        def flushed(outcomes: Outcomes) -> None:
            # From the commit thread: one wake-up of the loop for the whole flush.
            self._loop.call_soon_threadsafe(_tell, done, outcomes)

        self.by_index[index].submit(records, token, flushed, kind)

    # -- reading ----------------------------------------------------------------------

    def read_chunk(self, index: int, chid: bytes, token: object, done: ReadChunkDone) -> None:
        """done(token, bytes or a reason) in the loop."""
        vdev = self.by_index[index]

        def read(results: ReadResults) -> None:
            for each, result in results:
                self._loop.call_soon_threadsafe(done, each, self._judge(vdev, chid, result))

        if not vdev.submit_read(chid, token, read):
            done(token, Reason.BUSY)

    def verify_chunk(
        self, index: int, chid: bytes, algorithm: int, token: object, done: VerifyDone
    ) -> None:
        """Read past the caches and hash, in a reader thread; a bad copy is set aside first."""
        vdev = self.by_index[index]

        def read(results: ReadResults) -> None:
            for each, result in results:
                verdict, detail = self._verdict(vdev, chid, algorithm, result)
                self._loop.call_soon_threadsafe(done, each, verdict, detail)

        if not vdev.submit_read(chid, token, read, direct=True):
            done(token, VERIFY_ERROR, "too many reads wait")

    def verify_entry(self, event: VerifyEntry, done: EntryReadDone) -> None:
        """Read a row's entry past the caches, in a reader thread; done(token, found) in the loop."""

        def read(results: ReadResults) -> None:
            for each, result in results:
                self._loop.call_soon_threadsafe(done, each, _entry_found(result))

        vdev = self.by_index[event.vdev_index]
        if not vdev.submit_entry_read(event.row, event.index, event.token, read):
            done(event.token, None)

    def _judge(self, vdev: Vdev, chid: bytes, result: bytes | ReadError) -> BufferLike | Reason:
        if isinstance(result, ChunkMissing):
            return Reason.NOT_FOUND_HERE
        if isinstance(result, ChunkDamaged):
            self._set_aside(vdev, chid)
            return Reason.NOT_FOUND_HERE
        return Reason.FAULTED if isinstance(result, ReadError) else result

    def _verdict(
        self, vdev: Vdev, chid: bytes, algorithm: int, result: bytes | ReadError
    ) -> tuple[int, str]:
        if isinstance(result, ChunkMissing):
            return VERIFY_MISSING, str(result)
        if isinstance(result, ReadError) and not isinstance(result, ChunkDamaged):
            return VERIFY_ERROR, str(result)
        if isinstance(result, bytes) and content_hash(HashAlgorithm(algorithm), result) == chid:
            return VERIFIED, ""
        self._set_aside(vdev, chid)
        return VERIFY_CORRUPT, str(result) if isinstance(result, ReadError) else "wrong hash"

    def _set_aside(self, vdev: Vdev, chid: bytes) -> None:
        log.error("VDEV %s: bad copy of chunk %s set aside", vdev.vdev_id.hex(), chid.hex())

        def dropped(outcomes: Outcomes) -> None:
            for _, outcome in outcomes:
                if outcome is not Outcome.STORED:
                    log.warning("VDEV %s: cannot set aside: %s", vdev.vdev_id.hex(), outcome.name)

        vdev.submit([ChunkDrop(chid)], None, dropped, RecordClass.FREEING)


def _entry_found(result: bytes | ReadError) -> bytes | EntryBad | None:
    if isinstance(result, (ChunkDamaged, ChunkMissing)):
        return EntryBad(str(result))
    return None if isinstance(result, ReadError) else result


def _tell(done: StoredDone, outcomes: Outcomes) -> None:
    for token, outcome in outcomes:
        done(token, outcome)
