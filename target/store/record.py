"""Records of the log: what callers submit, and the 64-byte header each has on disk.

A header is followed by the chid (CHUNK, HOLD, CHUNK_DROP) or by the body (ROW_ENTRY, ROW_CUT,
ROW_STAGED), padded to 8 bytes; a chunk's payload lies elsewhere in the same flush.
The checksums of header and body are xxh3 with the VDEV's secret seed, so nothing a user stores
can be taken for a record. A payload has none: the chid, which the header's covers, proves it.
docs/formats-store.md has the layout.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from replicast.frozen import frozen

CHID_BYTES_MAX = 64


class Kind(IntEnum):
    """Record kinds; numbers are on disk and never reused."""

    CHUNK = 1
    HOLD = 2
    CHUNK_DROP = 3
    ROW_ENTRY = 4
    ROW_TRUNCATE = 5
    ROW_CUT = 7
    ROW_STAGED = 8
    ROW_UNSTAGE = 9


@frozen
class Chunk:
    """Store a chunk; with `verify` its hash is computed before it is written."""

    chid: bytes
    algorithm: int
    payload: bytes | bytearray | memoryview
    hold_until_ns: int = 0  # cluster time; 0 = no hold
    verify: bool = True


@frozen
class Hold:
    """Keep a stored chunk until this cluster time; the latest hold wins."""

    chid: bytes
    until_ns: int


@dataclass(frozen=True, slots=True)
class ChunkDrop:
    """Set a chunk aside: its bytes were found wrong. It may be stored again.

    `sequence` names the copy that was found wrong; one stored since then stays. 0: any copy.
    """

    chid: bytes
    sequence: int = 0


@frozen
class RowEntry:
    """One entry of a row's log; the newest record for (row, index) wins."""

    row: int
    epoch: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RowTruncate:
    """Forget the row's entries from `from_index` on (an uncommitted suffix)."""

    row: int
    from_index: int


@dataclass(frozen=True, slots=True)
class RowCut:
    """Forget the row's entries in the `dropped` ranges (first, last); then, with `installs`, what was
    staged becomes part of the log. `base` says in a few bytes where it begins; the newest wins.
    All of it or nothing."""

    row: int
    base_index: int
    dropped: tuple[tuple[int, int], ...]
    base: bytes
    installs: bool = False


@dataclass(frozen=True, slots=True)
class RowStaged:
    """One entry of a log that is being made anew, beside the one that is there until a RowCut."""

    row: int
    epoch: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RowUnstage:
    """Forget all that is staged for the row."""

    row: int


RowRecord = RowEntry | RowTruncate | RowCut | RowStaged | RowUnstage
Record = Chunk | Hold | ChunkDrop | RowRecord
# What goes first in a flush: names, for their latency; drops, so that a chunk put
# in the same flush is written anew and not taken for the copy that goes.
CHUNK_RECORDS = frozenset((Chunk, Hold, ChunkDrop))
FIRST_RECORDS = frozenset((RowEntry, RowTruncate, RowCut, RowStaged, RowUnstage, ChunkDrop))

# kind, algorithm, chid size, zero, body size, sequence, a, b, c, body checksum, reserved
_FIELDS = struct.Struct("<BBBBIQQQQQQ")
_CHECKSUM = struct.Struct("<Q")
_CUT_HEAD = struct.Struct("<Q")
_RANGE = struct.Struct("<QQ")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
HEADER_SALT = 0x52435245434F5244  # keeps header and body checksums apart


class Header(NamedTuple):
    """A record as its header tells it.

    a, b, c: CHUNK hold_until_ns, offset of the payload in the segment, 0;
    HOLD until_ns; ROW_ENTRY and ROW_STAGED row, epoch, index; ROW_TRUNCATE row, 0, index;
    ROW_CUT row, installs, index; ROW_UNSTAGE row. `inline` is the chid or the body, `checksum`
    the body's, 0 without one.
    """

    kind: int
    algorithm: int
    size: int
    sequence: int
    a: int
    b: int
    c: int
    checksum: int
    inline: bytes


def padded(size: int) -> int:
    """`size` rounded up to 8."""
    return -(-size // 8) * 8


def inline_size(record: Record) -> int:
    """Bytes behind the record's header, padding included."""
    if isinstance(record, (Chunk, Hold, ChunkDrop)):
        return padded(len(record.chid))
    if isinstance(record, RowCut):
        return padded(_CUT_HEAD.size + len(record.dropped) * _RANGE.size + len(record.base))
    return padded(len(record.data)) if isinstance(record, (RowEntry, RowStaged)) else 0


def header_of(record: Record, sequence: int, payload_offset: int, seed: int) -> Header:
    """The header for `record`; computes the checksum of its body."""
    match record:
        case Chunk(chid, algorithm, payload, hold_until_ns):
            size, place = len(payload), payload_offset
            return Header(1, algorithm, size, sequence, hold_until_ns, place, 0, 0, chid)
        case Hold(chid, until_ns):
            return Header(2, 0, 0, sequence, until_ns, 0, 0, 0, chid)
        case ChunkDrop(chid, _):
            return Header(3, 0, 0, sequence, 0, 0, 0, 0, chid)
        case RowEntry(row, epoch, index, body) | RowStaged(row, epoch, index, body):
            checksum = xxh3_64_intdigest(body, seed)
            kind = Kind.ROW_ENTRY if isinstance(record, RowEntry) else Kind.ROW_STAGED
            return Header(kind, 0, len(body), sequence, row, epoch, index, checksum, body)
        case RowTruncate(row, from_index):
            return Header(5, 0, 0, sequence, row, 0, from_index, 0, b"")
        case RowCut(row, base_index, dropped, base, installs):
            body = pack_cut(dropped, base)
            checksum = xxh3_64_intdigest(body, seed)
            return Header(7, 0, len(body), sequence, row, installs, base_index, checksum, body)
        case RowUnstage(row):
            return Header(9, 0, 0, sequence, row, 0, 0, 0, b"")


def pack_cut(dropped: tuple[tuple[int, int], ...], base: bytes) -> bytes:
    """The body of a ROW_CUT."""
    ranges = b"".join(_RANGE.pack(first, last) for first, last in dropped)
    return _CUT_HEAD.pack(len(dropped)) + ranges + base


def unpack_cut(body: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """(dropped ranges, base) of a ROW_CUT."""
    (count,) = _CUT_HEAD.unpack_from(body)
    end = _CUT_HEAD.size + count * _RANGE.size
    return list(_RANGE.iter_unpack(body[_CUT_HEAD.size : end])), body[end:]


def pack_header(header: Header, seed: int) -> bytes:
    """Header, inline bytes and padding. The header's checksum covers a chid, not a body."""
    kind, algorithm, size, sequence, a, b, c, checksum, inline = header
    chid = inline if kind <= Kind.CHUNK_DROP else b""
    fields = _FIELDS.pack(kind, algorithm, len(chid), 0, size, sequence, a, b, c, checksum, 0)
    digest = xxh3_64_intdigest(fields + chid, seed ^ HEADER_SALT)
    return fields + _CHECKSUM.pack(digest) + inline + bytes(-len(inline) % 8)


def unpack_header(data: bytes | memoryview, at: int, seed: int) -> tuple[Header, int] | None:
    """The record at `at` and where the next begins; None when it is not one of this VDEV."""
    start = at + HEADER_BYTES
    if start > len(data):
        return None
    fields = bytes(data[at : at + _FIELDS.size])
    kind, algorithm, chid_size, _, size, sequence, a, b, c, checksum, _ = _FIELDS.unpack(fields)
    inline = chid_size if kind <= Kind.CHUNK_DROP else size
    end = start + padded(inline)
    if chid_size > CHID_BYTES_MAX or end > len(data):
        return None
    behind = bytes(data[start : start + inline])
    chid = behind if kind <= Kind.CHUNK_DROP else b""
    (digest,) = _CHECKSUM.unpack_from(data, at + _FIELDS.size)
    if digest != xxh3_64_intdigest(fields + chid, seed ^ HEADER_SALT):
        return None
    if checksum and kind <= Kind.CHUNK_DROP:  # these have no body
        return None
    return Header(kind, algorithm, size, sequence, a, b, c, checksum, behind), end
