"""Opening a log: replay what the checkpoint does not know, and judge what is bad.

From the checkpoint's position flushes must follow one another without a gap. Where
one does not, a valid flush with a *later* number behind it (in this segment or a
following one) means damage: acknowledged records are lost, the scan goes on with
what is provable. Nothing behind it is a torn tail: never acknowledged, dropped;
unless the probe block knows of more flushes than there are: damage too (probe.py).
A valid flush with the *expected* number further on is where an earlier recovery
carried on behind its torn tail. Payloads are read, and hashed, of the last flush
only: each earlier one was complete before the next began.

The last flush is synced before anybody relies on it: its pages may never have reached
the disk; the flush that follows proves it of all others. And it is read from the
device: after a failed sync the page cache shows what was never written. Recovery
writes nothing to the log. A long replay (a lost index) commits the checkpoint as it
goes, up to a flush that another one follows, so that memory stays bounded.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path

from replicast.disk import Disk, File
from replicast.target.store import index
from replicast.target.store.core import ContentHash
from replicast.target.store.errors import BadVersion
from replicast.target.store.overlay import CHANGES_BYTES_MAX, CheckpointFull, Overlay
from replicast.target.store.record import Header, Kind, unpack_header
from replicast.target.store.segment import (
    BLOCK_BYTES,
    FLUSH_HEADER_BYTES,
    FlushHeader,
    Identity,
    Placed,
    Position,
    meta_digest,
    segment_incarnation,
    segment_name,
    unpack_flush_header,
    unpack_segment_header,
)

READ_BYTES = 1 << 20
COMMIT_EVERY = 50_000  # changed keys
ZEROS = bytes(READ_BYTES)


@dataclass(slots=True)
class Recovered:
    """Where the log goes on, and what it holds. Damage is noted in the index."""

    position: Position = field(default_factory=Position)
    segment_bytes: int = 0
    log_bytes: int = 0
    replayed_records: int = 0


class Recovery:
    """One pass over the tail of a log.

    `writable`: this open is counted, and checkpoints can be committed. `proven`: flushes
    before this number were durable, as the probe block says.
    """

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        identity: Identity,
        kv: Overlay,
        content_hash: ContentHash,
        *,
        writable: bool,
        proven: int = 0,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._identity = identity
        self._kv = kv
        self._content_hash = content_hash
        self._writable = writable
        self._proven = proven
        self._commit_at = COMMIT_EVERY
        self._found = Recovered()
        self._open_count = 0  # of the last good flush
        self._last: list[Placed] = []
        self._meta = b""
        self._content_end: dict[int, int] = {}

    def run(self) -> Recovered:
        """Replay; raises OSError when the disk does not read or sync, BadVersion."""
        with self._kv.lock:
            sizes = self._sizes()
            at = self._start(sizes)
            for incarnation in sorted(sizes):
                if incarnation >= at.incarnation:
                    file = self._open(incarnation)
                    at = self._scan_segment(file, incarnation, at, sizes[incarnation])
                    file.close()
            self._prove_last()
            self._finish(at, sizes)
        return self._found

    def _sizes(self) -> dict[int, int]:
        """Sizes of all segment files by incarnation."""
        sizes = {}
        for name in self._disk.list(self._directory):
            incarnation = segment_incarnation(name)
            if incarnation is not None:
                file = self._open(incarnation)
                sizes[incarnation] = file.size()
                file.close()
        return sizes

    def _start(self, sizes: dict[int, int]) -> Position:
        stored = self._kv.get(index.POSITION)
        at = Position() if stored is None else Position.unpack(stored)
        if at.incarnation and sizes.get(at.incarnation, 0) < at.offset:
            self._damaged(f"segment {at.incarnation} ends before the checkpoint's {at.offset}")
        return at

    def _scan_segment(self, file: File, incarnation: int, at: Position, size: int) -> Position:
        """Replay one segment from `at` on; the position behind the last good flush so far."""
        unpack_segment_header(file.read_device(0, BLOCK_BYTES), self._identity)  # its version
        here = at
        if incarnation != at.incarnation:
            here = replace(at, incarnation=incarnation, offset=BLOCK_BYTES)
        while True:
            flush = self._read_flush(file, here, size)
            if flush is not None:
                at = here = self._replay(flush, here)
                continue
            later = self._find_later(file, here, size)
            if later is None:
                return at
            if later.flush_number > here.flush_number:
                self._damaged(
                    f"segment {incarnation}: flushes {here.flush_number} to "
                    f"{later.flush_number - 1} are unreadable at {here.offset}"
                )
            here = later

    def _read_flush(self, file: File, at: Position, size: int) -> FlushHeader | None:
        """The flush expected at `at`, its records' headers read into self._meta; or None."""
        block = file.read_device(at.offset, BLOCK_BYTES)
        header = unpack_flush_header(block, 0, self._identity)
        if (
            header is None
            or header.incarnation != at.incarnation
            or header.flush_number != at.flush_number
            or header.sequence != at.sequence
            or header.open_count < self._open_count
            or at.offset + header.size_bytes > size
        ):
            return None
        if header.meta_bytes > len(block):
            block = file.read_device(at.offset, header.meta_bytes)
        self._meta = block[FLUSH_HEADER_BYTES : header.meta_bytes]
        good = meta_digest(self._meta, self._identity) == header.meta_checksum
        return header if good else None

    def _find_later(self, file: File, at: Position, size: int) -> Position | None:
        """The next good flush with the expected or a later number; notes where bytes end."""
        for start in range(at.offset, size, READ_BYTES):
            piece = file.read_device(start, READ_BYTES)
            if piece == ZEROS[: len(piece)]:
                continue
            for within in range(0, len(piece), BLOCK_BYTES):
                block = piece[within : within + BLOCK_BYTES]
                if block == ZEROS[: len(block)]:
                    continue
                self._content_end[at.incarnation] = start + within + BLOCK_BYTES
                found = self._is_later(block, at, start + within)
                if found is not None and self._read_flush(file, found, size) is not None:
                    return found
        return None

    def _is_later(self, block: bytes, at: Position, offset: int) -> Position | None:
        header = unpack_flush_header(block, 0, self._identity)
        if header is None or header.incarnation != at.incarnation:
            return None
        resumed = (header.flush_number, header.sequence) == (at.flush_number, at.sequence)
        if resumed and header.open_count <= self._open_count:
            return None  # a torn flush's own copy cannot be behind itself
        if not resumed and (
            header.flush_number <= at.flush_number or header.sequence < at.sequence
        ):
            return None
        return Position(at.incarnation, offset, header.flush_number, header.sequence)

    def _replay(self, flush: FlushHeader, at: Position) -> Position:
        if self._kv.change_count > self._commit_at:
            self._commit(at)
        self._last = []
        place = 0
        for _ in range(flush.record_count):
            record = unpack_header(self._meta, place, self._identity.seed)
            if record is None:
                self._damaged(f"segment {at.incarnation}: flush {at.flush_number} has a bad record")
                break
            header, end = record
            placed = Placed(header, at.incarnation, at.offset + FLUSH_HEADER_BYTES + place)
            index.apply_all(self._kv, [placed])
            self._last.append(placed)
            place = end
        self._found.replayed_records += flush.record_count
        self._open_count = flush.open_count
        return Position(
            at.incarnation,
            at.offset + flush.size_bytes,
            at.flush_number + 1,
            at.sequence + flush.record_count,
        )

    def _commit(self, at: Position) -> None:
        """Checkpoint what lies before the flush at `at`, which proves it complete.

        Never the last flush: were this recovery cut short, the next one would begin
        behind it and take its torn chunks for stored. Where the index has no room (or
        the file system is read-only) changes stay in memory while they are few.
        """
        if self._kv.change_bytes > CHANGES_BYTES_MAX and not self._writable:
            raise OSError(errno.EROFS, "too long a log to read it without a writable index")
        if not self._writable:
            return
        self._kv.put(index.POSITION, at.pack())
        self._kv.freeze()
        try:
            self._kv.commit()
        except CheckpointFull as error:
            if self._kv.change_bytes > CHANGES_BYTES_MAX:
                raise OSError(errno.ENOSPC, f"no room for the index: {error}") from error
            self._commit_at = 2 * self._kv.change_count

    def _prove_last(self) -> None:
        """The last flush may be torn: chunks whose payload is not there are not stored."""
        if not self._last:
            return
        file = self._open(self._last[0].incarnation)
        file.sync()
        chunks = [p.header for p in self._last if p.header.kind == Kind.CHUNK]
        start = min((header.b for header in chunks), default=0)
        end = max((header.b + header.size for header in chunks), default=0)
        payloads = memoryview(file.read_device(start, end - start))  # no seek for each of many
        file.close()
        for header in chunks:
            payload = payloads[header.b - start :][: header.size]
            if len(payload) != header.size or not self._is_payload(payload, header):
                index.set_torn(self._kv, header.inline)

    def _is_payload(self, payload: memoryview, header: Header) -> bool:
        try:
            return self._content_hash(header.algorithm, payload) == header.inline
        except ValueError as error:  # stored or torn: only the release that wrote it can tell
            raise BadVersion(
                f"{self._directory}: chunk {header.inline.hex()}: {error}: of a newer release?"
            ) from error

    def _finish(self, at: Position, sizes: dict[int, int]) -> None:
        # This open is counted and has written nothing: the log cannot be of it already.
        if self._open_count >= self._identity.open_count + (not self._writable):
            self._damaged(
                f"the log is of open {self._open_count}, the header counts "
                f"{self._identity.open_count}: restored from an old copy?"
            )
        if at.flush_number < self._proven:
            self._damaged(
                f"flushes {at.flush_number} to {self._proven - 1} are unreadable at the log's end"
            )
        # Bytes of a torn flush stay where they are: the next one begins behind them.
        end = max(at.offset, self._content_end.get(at.incarnation, 0))
        found = self._found
        found.position = replace(at, offset=end)
        found.segment_bytes = sizes.get(at.incarnation, 0)
        found.log_bytes = end + sum(s for i, s in sizes.items() if i != at.incarnation)

    def _open(self, incarnation: int) -> File:
        return self._disk.open(self._directory / segment_name(incarnation))

    def _damaged(self, what: str) -> None:
        # At once: a checkpoint on the way moves past the place, and recovery may be cut short.
        index.note_damage(self._kv, what)
