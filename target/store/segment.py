"""Segments and flushes: where bytes lie in the log.

A segment file is named after its incarnation, a number never used twice by a VDEV.
Block 0 is the segment header; then come flushes, each on a fresh 4 KiB block:
flush header, all record headers (with the bodies of row records), then payloads:
small ones packed at 8 bytes, large ones on a block of their own. So a scan reads
headers and skips payloads, and a payload can be written straight from its buffer.

A flush begins only after the sync of the one before returned; its header says so
(`complete_through`), which is what makes a bad flush with a later one behind it
damage rather than a torn tail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from replicast.frozen import frozen
from replicast.target.store.errors import BadVersion
from replicast.target.store.record import Header

BLOCK_BYTES = 4096
ALIGN_ABOVE_BYTES = 32 << 10
SEGMENT_BYTES_MIN = 4 << 20
SEGMENT_BYTES_MAX = 64 << 20

_SEGMENT = struct.Struct("<8sHHI16sQQQQ")  # magic, version, 0, 0, vdev id, inc., size, flush, seq
_FLUSH = struct.Struct("<4sHHQQQQQQQIIQ")
_CHECKSUM = struct.Struct("<Q")
SEGMENT_MAGIC = b"RCSEGMNT"
FLUSH_MAGIC = b"RCFL"
FORMAT_VERSION = 1
FLUSH_HEADER_BYTES = 96
SEGMENT_SALT = 0x5345474D454E5400
FLUSH_SALT = 0x464C555348000000
META_SALT = 0x4D45544100000000


@dataclass(frozen=True, slots=True)
class Identity:
    """What every header is bound to; the seed is this VDEV's secret."""

    vdev_id: bytes
    seed: int
    open_count: int

    @property
    def tag(self) -> int:
        """The first half of the VDEV id, in each flush."""
        return int.from_bytes(self.vdev_id[:8], "little")


@frozen
class Position:
    """A point between two flushes."""

    incarnation: int = 0  # 0: no segment yet
    offset: int = 0
    flush_number: int = 1  # of the next flush
    sequence: int = 1  # of the next record

    def pack(self) -> bytes:
        """As kept in the checkpoint."""
        fields = (self.incarnation, self.offset, self.flush_number, self.sequence)
        return struct.pack("<QQQQ", *fields)

    @staticmethod
    def unpack(data: bytes) -> Position:
        """The position in a checkpoint."""
        return Position(*struct.unpack("<QQQQ", data))


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Block 0 of a segment: what its first flush will be."""

    incarnation: int
    size_bytes: int
    flush_number: int
    sequence: int


@dataclass(frozen=True, slots=True)
class FlushHeader:
    """The first record of a flush."""

    incarnation: int
    flush_number: int
    complete_through: int
    sequence: int  # of its first record
    open_count: int
    size_bytes: int  # whole blocks
    record_count: int
    meta_bytes: int
    meta_checksum: int


class Placed(NamedTuple):
    """A record and where its header lies."""

    header: Header
    incarnation: int
    offset: int


class PackedFlush(NamedTuple):
    """A flush ready to write at its place."""

    pieces: list[bytes | memoryview]
    size_bytes: int
    placed: list[Placed]


def segment_name(incarnation: int) -> str:
    """File name of a segment."""
    return f"{incarnation:016x}.seg"


def segment_incarnation(name: str) -> int | None:
    """The incarnation in a file name; None when it is not a segment's."""
    stem, dot, kind = name.partition(".")
    if dot and kind == "seg" and len(stem) == 16:
        try:
            return int(stem, 16)
        except ValueError:
            return None
    return None


def to_block(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def pack_segment_header(header: SegmentHeader, identity: Identity) -> bytes:
    """Block 0."""
    parts = (header.incarnation, header.size_bytes, header.flush_number, header.sequence)
    fields = _SEGMENT.pack(SEGMENT_MAGIC, FORMAT_VERSION, 0, 0, identity.vdev_id, *parts)
    digest = xxh3_64_intdigest(fields, identity.seed ^ SEGMENT_SALT)
    return (fields + _CHECKSUM.pack(digest)).ljust(BLOCK_BYTES, b"\0")


def unpack_segment_header(data: bytes, identity: Identity) -> SegmentHeader | None:
    """Block 0, or None when it is not a segment of this VDEV; raises BadVersion."""
    if len(data) < _SEGMENT.size + _CHECKSUM.size:
        return None
    magic, version, _, _, vdev_id, *rest = _SEGMENT.unpack_from(data)
    (digest,) = _CHECKSUM.unpack_from(data, _SEGMENT.size)
    wanted = xxh3_64_intdigest(data[: _SEGMENT.size], identity.seed ^ SEGMENT_SALT)
    if (magic, vdev_id, digest) != (SEGMENT_MAGIC, identity.vdev_id, wanted):
        return None
    _check_version("segment", version)
    return SegmentHeader(*rest)


def _check_version(what: str, version: int) -> None:
    """Of a header whose checksum is right: what a newer release wrote is no torn tail."""
    if version != FORMAT_VERSION:
        raise BadVersion(f"{what} format {version}; this release reads {FORMAT_VERSION}")


def pack_flush_header(header: FlushHeader, identity: Identity) -> bytes:
    """The first FLUSH_HEADER_BYTES of a flush."""
    fields = _FLUSH.pack(
        FLUSH_MAGIC,
        FORMAT_VERSION,
        0,
        identity.tag,
        header.incarnation,
        header.flush_number,
        header.complete_through,
        header.sequence,
        header.open_count,
        header.size_bytes,
        header.record_count,
        header.meta_bytes,
        header.meta_checksum,
    )
    digest = xxh3_64_intdigest(fields, identity.seed ^ FLUSH_SALT)
    return (fields + _CHECKSUM.pack(digest)).ljust(FLUSH_HEADER_BYTES, b"\0")


def unpack_flush_header(
    data: bytes | memoryview, at: int, identity: Identity
) -> FlushHeader | None:
    """The flush header at `at`, or None when no flush of this VDEV begins there.

    Raises BadVersion for one of a newer release.
    """
    if bytes(data[at : at + 4]) != FLUSH_MAGIC or at + FLUSH_HEADER_BYTES > len(data):
        return None
    fields = bytes(data[at : at + _FLUSH.size])
    (digest,) = _CHECKSUM.unpack_from(data, at + _FLUSH.size)
    if digest != xxh3_64_intdigest(fields, identity.seed ^ FLUSH_SALT):
        return None
    _, version, _, tag, *rest = _FLUSH.unpack(fields)
    if tag != identity.tag:
        return None
    _check_version("flush", version)
    header = FlushHeader(*rest)
    return header if FLUSH_HEADER_BYTES <= header.meta_bytes <= header.size_bytes else None


def meta_digest(meta: bytes | memoryview, identity: Identity) -> int:
    """Checksum of all record headers and bodies of a flush."""
    return xxh3_64_intdigest(meta, identity.seed ^ META_SALT)
