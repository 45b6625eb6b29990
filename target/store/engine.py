"""The store's engine: the core joined to a disk and a checkpoint; no threads, no clock.

The Vdev shell calls it from its commit thread, the simulator in virtual time. A
flush is begin() (take, hash, write) and finish() (sync, publish); run() is both.
Between take_off() and land() somebody else writes and syncs.
Reading needs no lock and may be done by any thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

from replicast.buggify import buggified, buggify
from replicast.disk import File
from replicast.disks import DIRECT_ABOVE_BYTES, LockableDisk, RealFile, failed_write
from replicast.target.store import index
from replicast.target.store.core import ContentHash, FlushPlan, Outcomes, Segment, Space, StoreCore
from replicast.target.store.errors import (
    ChunkDamaged,
    ChunkMissing,
    ReadError,
    ReadFailed,
    VdevError,
    VdevStatus,
)
from replicast.target.store.flush_writer import FlushWriter
from replicast.target.store.format import LOG_NAME, PROBE_NAME, VdevHeader
from replicast.target.store.index import ChunkInfo, EntryLocation
from replicast.target.store.overlay import (
    CHANGES_BYTES_MAX,
    Checkpoint,
    CheckpointFull,
    Overlay,
)
from replicast.target.store.probe import pack_probe, proven_flushes
from replicast.target.store.record import HEADER_BYTES, ChunkDrop, Kind, padded, unpack_header
from replicast.target.store.recovery import Recovered, Recovery
from replicast.target.store.segment import (
    Identity,
    SegmentHeader,
    pack_segment_header,
    segment_name,
)

OPEN_FILES_MAX = 256
CHECKPOINT_BYTES = 16 << 20
# The free space is asked for again with a new segment and when so much was written, or such a share of
# what was free: far below what the gates keep.
MEASURE_BYTES, MEASURE_SHARE = 16 << 20, 64
# What of chunks the loop lays out itself. Payloads are not looked at, but each record takes 2 us, and as
# much to index: a millisecond each for 512 of the smallest.
FLIGHT_BYTES = 4 << 20


class StoreEngine:
    """One VDEV's log, index and probe block."""

    def __init__(
        self,
        disk: LockableDisk,
        path: Path,
        header: VdevHeader,
        checkpoint: Checkpoint,
        content_hash: ContentHash,
        *,
        capacity_bytes: int = 0,
        writable: bool = True,
    ) -> None:
        """Recover; raises VdevError when the log cannot be read at all."""
        self._disk = disk
        self.path = path
        self._log, self._probe_path = path / LOG_NAME, path / PROBE_NAME
        self.header = header
        self.kv = Overlay(checkpoint)
        self._identity = Identity(header.vdev_id, header.seed, header.open_count)
        self._files: OrderedDict[int, File] = OrderedDict()
        self._files_lock = threading.Lock()
        self._writer: tuple[int, File] | None = None
        self._error: OSError | None = None  # of the flush under way
        self._wrote = self._synced = False
        self._unmeasured_bytes = 0
        self.reads_refused = 0
        self._checkpoint_at = CHECKPOINT_BYTES
        self.counted = writable
        self.recovered = self._recover(writable, content_hash)
        self.core = self._make_core(content_hash, capacity_bytes or header.capacity_bytes)
        if not writable:
            self.core.status = VdevStatus.READ_ONLY
        self.measure()

    def begin(self, *, sync: bool = False) -> FlushPlan | None:
        """Write the next flush; None when nothing is queued.

        With `sync` it may be synced at once, if finish() follows at once: that is cheaper.
        A failure is kept in the plan's stead by finish(); nothing is raised.
        """
        plan = self.core.begin_flush()
        self._error = None
        self._wrote = self._synced = False
        if plan is not None and plan.size_bytes:
            try:
                self._write(plan, sync)
            except OSError as error:
                self._error = error.with_traceback(None)  # frames hold the plan and its payloads
        return plan

    def finish(self, plan: FlushPlan) -> Outcomes:
        """Sync the flush and publish it; outcomes of all its tokens."""
        if self._error is None and plan.size_bytes and not self._synced:
            try:
                assert self._writer is not None
                self._writer[1].sync()
            except OSError as error:
                self._error = error.with_traceback(None)
        if self._error is not None:
            self._error = self._named(self._error)
        outcomes = self.core.end_flush(plan, self._error, wrote=self._wrote)
        self._unmeasured_bytes += plan.size_bytes
        allowed_bytes = min(MEASURE_BYTES, self.core.space.free_bytes // MEASURE_SHARE)
        grown = plan.create is not None or self._unmeasured_bytes >= allowed_bytes
        if grown or self._error is not None:
            self.measure()
        return outcomes

    def take_off(self, writer: FlushWriter) -> FlushPlan | None:
        """Begin the next flush and leave writing and syncing to `writer`: nothing here waits for the disk.

        land() follows when writer.take() says how that ended. None, and nothing is taken, unless it
        holds nothing but row records and proved chunks, is no larger than the loop may lay out, and
        goes to the end of a file that is open already.
        """
        open_at, file = self._writer or (0, None)
        if type(file) is not RealFile or open_at != self.core.position.incarnation:
            return None
        plan = self.core.begin_rows(DIRECT_ABOVE_BYTES)
        if plan is None:
            return self._take_off_chunks(writer, file)
        assert plan.create is None and len(plan.pieces) == 1
        self._error, self._wrote, self._synced = None, True, False
        (piece,) = plan.pieces
        assert isinstance(piece, bytes)
        writer.submit(file.fileno(), plan.position.offset, piece)
        return plan

    def _take_off_chunks(self, writer: FlushWriter, file: RealFile) -> FlushPlan | None:
        plan = self.core.begin_chunks(FLIGHT_BYTES)
        if plan is None:
            return None
        self._error, self._wrote, self._synced = None, True, False
        offset = plan.position.offset
        try:
            direct_fd = file.direct_fileno(offset, plan.size_bytes)
        except OSError:
            direct_fd = -1  # whatever is wrong, the write will say
        writer.submit_pieces(file.fileno(), direct_fd, offset, plan.pieces)
        return plan

    def land(self, plan: FlushPlan, error: int) -> Outcomes:
        """finish() of a flush that took off and was written and synced, or failed with this errno."""
        self._synced = error == 0
        self._error = failed_write(error) if error else None
        return self.finish(plan)

    def run(self) -> Outcomes:
        """One flush of whatever is queued, all at once."""
        plan = self.begin(sync=True)
        return [] if plan is None else self.finish(plan)

    def probe(self) -> bool:
        """Prove that writes still become durable, outside of the log; False when not."""
        if not self.core.writable:
            return False
        try:
            file = self._disk.open(self._probe_path)
            file.write(0, [pack_probe(self._identity, self.core.position.flush_number)])
            file.sync()
            file.close()
        except OSError as error:
            self.core.fail(self._named(error))
            return False
        self.measure()
        return True

    def checkpoint_due(self) -> bool:
        """Have the changes grown so large that a checkpoint should be made now?

        After one that failed, when as many more have come.
        """
        return self.kv.change_bytes >= self._checkpoint_at or buggify("store/checkpoint-early")

    def checkpoint(self) -> bool:
        """Make all that was flushed part of the synced checkpoint; False when that failed."""
        with self.kv.lock:
            if not self.kv.change_count:
                return True
            self.kv.put(index.POSITION, self.core.position.pack())
            self.kv.freeze()
        try:
            self.kv.commit()
        except CheckpointFull:
            self._checkpoint_at = self.kv.change_bytes + CHECKPOINT_BYTES
            if self.kv.change_bytes > CHANGES_BYTES_MAX:
                self.core.fail(OSError(errno.ENOSPC, "index"))
            return False
        except OSError as error:
            self.core.fail(self._named(error))
            return False
        self._checkpoint_at = CHECKPOINT_BYTES
        self._note_space(index_bytes=self.kv.size_bytes())
        return True

    def measure(self) -> None:
        """Read the free space of the file system."""
        self._unmeasured_bytes = 0
        try:
            self._note_space(free_bytes=self._disk.free_bytes(self.path))
        except OSError as error:
            self.core.fail(self._named(error))

    def _note_space(self, *, index_bytes: int | None = None, free_bytes: int | None = None) -> None:
        with self.kv.lock:  # the commit thread lets the log grow meanwhile
            self.core.space.change(index_bytes=index_bytes, free_bytes=free_bytes)

    def _named(self, error: OSError) -> OSError:
        """EROFS for the EIO of a file system that is read-only by now.

        Whatever is under way while it becomes so may be told EIO: the journal of an ext4 is
        aborted first, which fails every fdatasync that waits for it. What is stored stays readable.
        """
        if error.errno != errno.EIO or not self._disk.takes_no_writes(self.path):
            return error
        return OSError(errno.EROFS, f"{os.strerror(errno.EROFS)}, after: {error}")

    def clear_damage(self) -> None:
        """The cluster knows of the damage (out of the in-sync sets, audit ordered)."""
        with self.kv.lock:
            self.kv.delete(index.DAMAGE)
            if self.core.status == VdevStatus.DAMAGED:
                self.core.status = VdevStatus.OK

    def close(self) -> None:
        """Checkpoint what was flushed, and let go of all files."""
        if self.core.writable:
            self.checkpoint()
        self.kv.close()
        with self._files_lock:
            self._files.clear()
        self._writer = None

    # -- reading --------------------------------------------------------------------

    def read_chunk(self, info: ChunkInfo, *, direct: bool = False) -> bytes:
        """The stored bytes, whatever they are; the caller checks the hash.

        `direct` reads the device, past the page cache.
        Raises ChunkDamaged when another record is there, ReadFailed.
        """
        try:
            return self._read_chunk(info, direct=direct)
        except ChunkDamaged:  # a bit may have flipped on its way: once more, from the device
            return self._read_chunk(info, direct=True)

    def _read_chunk(self, info: ChunkInfo, *, direct: bool) -> bytes:
        head = HEADER_BYTES + padded(len(info.chid))
        try:
            file = self._reader(info.incarnation)
            read = file.read_device if direct else file.read
            found = unpack_header(read(info.header_offset, head), 0, self._identity.seed)
            if found is None or not index.header_matches(info, found[0]):
                text = f"{self.path}: {info.chid.hex()}: its header is not there"
                raise ChunkDamaged(text, info.sequence)
            payload = read(info.payload_offset, info.size)
        except FileNotFoundError as error:
            raise self._gone(info.incarnation, info.sequence) from error
        except OSError as error:
            raise self._refused(error) from error
        if len(payload) != info.size:
            raise ChunkDamaged(f"{self.path}: {info.chid.hex()}: cut short", info.sequence)
        return payload

    def find_cached(self, chid: bytes, size_max: int) -> Any | None:
        """The stored bytes, unverified, if that is at most so many and needs no waiting for the device;
        for the kernel only (File.map_cached).

        None says nothing else: what is wrong with them, find_and_read() finds out.
        """
        info = index.chunk_info(self.kv, chid)
        file = None if info is None else self._files.get(info.incarnation)  # opening one may wait
        if info is None or file is None or info.size > size_max:
            return None
        try:
            head = file.read_cached(info.header_offset, HEADER_BYTES + padded(len(chid)))
            found = None if head is None else unpack_header(head, 0, self._identity.seed)
            if found is None or not index.header_matches(info, found[0]):
                return None
            return file.map_cached(info.payload_offset, info.size)
        except OSError:
            return None

    def find_and_read(self, chid: bytes, *, direct: bool = False) -> bytes:
        """read_chunk() by chid; raises ChunkMissing too."""
        info = index.chunk_info(self.kv, chid)
        if info is None:
            raise ChunkMissing(chid.hex())
        return self.read_chunk(info, direct=direct)

    def read_entry(self, location: EntryLocation, *, direct: bool = False) -> bytes:
        """The body of a row log entry, checked; `direct` as in read_chunk().

        Raises ChunkDamaged, ReadFailed.
        """
        size = HEADER_BYTES + padded(location.size)
        try:
            file = self._reader(location.incarnation)
            data = (file.read_device if direct else file.read)(location.offset, size)
        except FileNotFoundError as error:
            raise self._gone(location.incarnation) from error
        except OSError as error:
            raise self._refused(error) from error
        found = unpack_header(data, 0, self._identity.seed)
        where = f"{self.path}: row {location.row} entry {location.index}"
        if found is None:
            raise ChunkDamaged(f"{where}: its header is not there")
        header = found[0]
        wanted = (location.row, location.index, location.sequence)
        is_entry = header.kind in (Kind.ROW_ENTRY, Kind.ROW_STAGED)
        if not is_entry or (header.a, header.c, header.sequence) != wanted:
            raise ChunkDamaged(f"{where}: another record is there")
        if xxh3_64_intdigest(header.inline, self._identity.seed) != header.checksum:
            raise ChunkDamaged(f"{where}: wrong checksum")
        return header.inline

    def find_and_read_entry(self, row: int, entry_index: int) -> bytes:
        """read_entry() from the device, by row and index; raises ChunkMissing too."""
        location = index.row_entry(self.kv, row, entry_index)
        if location is None:
            raise ChunkMissing(f"row {row} entry {entry_index}")
        return self.read_entry(location, direct=True)

    def _gone(self, incarnation: int, sequence: int = 0) -> ReadError:
        """A segment that is lost is damage; that the whole folder was taken away is not.

        Taken for damage, it would set good copies aside, in a log that is still open for writing.
        """
        try:
            self._disk.list(self._log)
        except OSError as error:
            self.core.fail(self._named(error))
            return self._refused(error)
        return ChunkDamaged(f"{self.path}: segment {incarnation} is gone", sequence)

    def _refused(self, error: OSError) -> ReadError:
        self.reads_refused += 1  # by any reader thread: that it grows matters, not by how much
        return ReadFailed(f"{self.path}: {error.strerror}")

    def _reader(self, incarnation: int) -> File:
        with self._files_lock:
            file = self._files.get(incarnation)
            if file is None:
                file = self._disk.open(self._log / segment_name(incarnation))
                self._files[incarnation] = file
                if len(self._files) > buggified("store/one-open-file", OPEN_FILES_MAX, 1):
                    self._files.popitem(last=False)  # closed when its last reader lets go
            else:
                self._files.move_to_end(incarnation)
            return file

    # -- writing --------------------------------------------------------------------

    def _write(self, plan: FlushPlan, sync: bool) -> None:
        incarnation = plan.position.incarnation
        if plan.create is not None:
            self._create_segment(plan.create)
            self._writer = None
        if self._writer is None or self._writer[0] != incarnation:
            self._writer = (incarnation, self._disk.open(self._log / segment_name(incarnation)))
        self._wrote = True
        if sync and plan.close is None:
            self._writer[1].write_synced(plan.position.offset, plan.pieces)
            self._synced = True
            return
        self._writer[1].write(plan.position.offset, plan.pieces)
        if plan.close is not None:
            self._leave_segment(plan.close.incarnation, plan.close.offset)

    def _create_segment(self, header: SegmentHeader) -> None:
        """Its file and directory entry are durable before the first flush goes there."""
        path = self._log / segment_name(header.incarnation)
        file = self._disk.open(path, create=True)
        try:
            file.truncate(0)  # left over from an attempt that never got a flush
            file.allocate(header.size_bytes)
            file.write(0, [pack_segment_header(header, self._identity)])
            file.sync()
            self._disk.sync_directory(self._log)
        except OSError:
            file.truncate(0)
            raise
        finally:
            file.close()

    def _leave_segment(self, incarnation: int, end: int) -> None:
        """Give back what was allocated and not used; a lost segment has nothing to give."""
        with contextlib.suppress(FileNotFoundError):
            file = self._disk.open(self._log / segment_name(incarnation))
            if end < file.size():
                file.truncate(end)
                file.sync()
            file.close()

    # -- opening --------------------------------------------------------------------

    def _recover(self, writable: bool, content_hash: ContentHash) -> Recovered:
        try:
            if self.kv.get(index.VDEV) not in (None, self.header.vdev_id):
                raise VdevError(f"{self.path}: its index belongs to another VDEV; remove index/")
            recovered = Recovery(
                self._disk,
                self._log,
                self._identity,
                self.kv,
                content_hash,
                writable=writable,
                proven=proven_flushes(self._disk, self.path, self._identity),
            ).run()
        except OSError as error:
            raise VdevError(f"{self.path}: the log cannot be read: {error.strerror}") from error
        self.kv.put(index.VDEV, self.header.vdev_id)
        return recovered

    def _make_core(self, content_hash: ContentHash, capacity_bytes: int) -> StoreCore:
        found = self.recovered
        core = StoreCore(
            identity=self._identity,
            kv=self.kv,
            position=found.position,
            segment=Segment(found.position.incarnation, found.segment_bytes),
            space=Space(capacity_bytes, found.log_bytes, self.kv.size_bytes()),
            content_hash=content_hash,
        )
        if self.kv.get(index.DAMAGE) is not None:
            core.status = VdevStatus.DAMAGED
        if torn := index.torn_chids(self.kv):
            # Once a flush follows, no recovery reads that payload again.
            core.owe([ChunkDrop(chid) for chid in torn])
        return core
