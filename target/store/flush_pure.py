"""A flush as bytes: the layout that segment.py describes. Defines what native/_flush.pyx does too.

A flush without payloads is one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

from replicast.target.store.record import (
    HEADER_BYTES,
    Chunk,
    Record,
    header_of,
    inline_size,
    pack_header,
    padded,
)
from replicast.target.store.segment import (
    ALIGN_ABOVE_BYTES,
    BLOCK_BYTES,
    FLUSH_HEADER_BYTES,
    FlushHeader,
    Identity,
    PackedFlush,
    Placed,
    Position,
    meta_digest,
    pack_flush_header,
    to_block,
)


def flush_bytes(records: Sequence[Record]) -> int:
    """An upper bound of what `records` take in a flush."""
    size = FLUSH_HEADER_BYTES + BLOCK_BYTES
    for record in records:
        size += HEADER_BYTES + inline_size(record)
        if isinstance(record, Chunk):
            size += len(record.payload) + (
                BLOCK_BYTES if len(record.payload) >= ALIGN_ABOVE_BYTES else 8
            )
    return to_block(size)


def pack_flush(records: Sequence[Record], position: Position, identity: Identity) -> PackedFlush:
    """Lay `records` out as one flush at `position`; payloads are referred to, not copied."""
    meta_bytes = FLUSH_HEADER_BYTES + sum(HEADER_BYTES + inline_size(r) for r in records)
    cursor = position.offset + padded(meta_bytes)
    header_at = position.offset + FLUSH_HEADER_BYTES
    meta: list[bytes] = []
    payloads: list[bytes | memoryview] = []
    placed: list[Placed] = []
    for sequence, record in enumerate(records, position.sequence):
        start = cursor
        if isinstance(record, Chunk):
            start, cursor = _place_payload(record, cursor, payloads)
        header = header_of(record, sequence, start, identity.seed)
        packed = pack_header(header, identity.seed)
        placed.append(Placed(header, position.incarnation, header_at))
        header_at += len(packed)
        meta.append(packed)
    size = to_block(cursor - position.offset)
    body = b"".join(meta)
    flush_header = FlushHeader(
        incarnation=position.incarnation,
        flush_number=position.flush_number,
        complete_through=position.flush_number - 1,
        sequence=position.sequence,
        open_count=identity.open_count,
        size_bytes=size,
        record_count=len(records),
        meta_bytes=meta_bytes,
        meta_checksum=meta_digest(body, identity),
    )
    head = pack_flush_header(flush_header, identity) + body
    if not payloads:
        return PackedFlush([head.ljust(size, b"\0")], size, placed)
    return PackedFlush([head, *payloads, bytes(position.offset + size - cursor)], size, placed)


def _place_payload(
    record: Chunk, cursor: int, payloads: list[bytes | memoryview]
) -> tuple[int, int]:
    """Append padding and payload; its offset and the end of it."""
    size = len(record.payload)
    start = to_block(cursor) if size >= ALIGN_ABOVE_BYTES else padded(cursor)
    if start > cursor:
        payloads.append(bytes(start - cursor))
    payloads.append(memoryview(record.payload).cast("B") if size else b"")
    return start, start + size
