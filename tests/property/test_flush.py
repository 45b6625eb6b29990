"""A flush as bytes: what is packed is what recovery reads, and both twins are alike."""

from __future__ import annotations

import importlib
import struct
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.target.store import flush_pure
from replicast.target.store.record import (
    Chunk,
    ChunkDrop,
    Header,
    Hold,
    Kind,
    Record,
    RowCut,
    RowEntry,
    RowStaged,
    RowTruncate,
    RowUnstage,
    pack_header,
    unpack_header,
)
from replicast.target.store.segment import (
    ALIGN_ABOVE_BYTES,
    BLOCK_BYTES,
    FLUSH_HEADER_BYTES,
    Identity,
    Position,
    meta_digest,
    unpack_flush_header,
)

FAST: Any = flush_pure if PURE else importlib.import_module("replicast.native._flush")
IDENTITY = Identity(b"vdev-of-16-bytes", 0xFEDCBA9876543210, 3)
SEEDS = st.sampled_from([IDENTITY.seed, 0, (1 << 64) - 1])
U64 = (1 << 64) - 1

numbers = st.integers(0, U64)
sizes = st.sampled_from([0, 1, 7, 8, 9, 63, 4000, 4096, 4400])
bodies = sizes.map(lambda size: bytes(range(256)) * (size // 256) + bytes(size % 256))
chids = st.integers(1, 64).flatmap(lambda size: st.binary(min_size=size, max_size=size))
edges = [0, 1, 5, 4096, ALIGN_ABOVE_BYTES - 1, ALIGN_ABOVE_BYTES, ALIGN_ABOVE_BYTES + 3, 70_000]
payloads = st.sampled_from(edges).flatmap(
    lambda size: st.sampled_from([bytes(size), bytearray(b"x") * size, memoryview(b"y" * size)])
)


def odd_view() -> memoryview:
    return memoryview(bytes(8))[::2]


def view_of_words() -> memoryview:
    return memoryview(bytes(16)).cast("I")


usual: st.SearchStrategy[Record] = st.one_of(
    st.builds(RowEntry, numbers, numbers, numbers, bodies),
    st.builds(Hold, chids, numbers),
    st.builds(Chunk, chids, st.integers(0, 255), payloads, numbers, st.booleans()),
)
seldom: st.SearchStrategy[Record] = st.one_of(
    st.builds(ChunkDrop, chids, numbers),
    st.builds(RowStaged, numbers, numbers, numbers, bodies),
    st.builds(RowTruncate, numbers, numbers),
    st.builds(RowUnstage, numbers),
    st.builds(RowCut, numbers, numbers, st.just(((1, 4), (9, 9))), bodies, st.booleans()),
)
odd_numbers = st.sampled_from([-1, 1 << 64, U64, None, "1", True])
odd: st.SearchStrategy[Any] = st.one_of(
    st.builds(RowEntry, odd_numbers, odd_numbers, odd_numbers, bodies),
    st.builds(RowEntry, numbers, numbers, numbers, st.sampled_from([bytearray(9), "text", None])),
    st.builds(Hold, st.sampled_from([b"", bytes(65), bytes(256), bytearray(3), None]), odd_numbers),
    st.builds(Chunk, chids, st.sampled_from([256, -1, None]), payloads),
    st.builds(Chunk, chids, st.just(1), st.builds(odd_view) | st.none()),
    st.builds(Chunk, chids, st.just(1), st.builds(view_of_words)),
    st.none(),
)
positions = st.builds(
    Position,
    st.integers(1, U64),
    st.integers(1, 16000).map(lambda block: block * BLOCK_BYTES),
    st.integers(1, U64),
    st.integers(1, 1 << 50),
)
odd_positions = st.builds(
    Position,
    st.sampled_from([1, -1, 1 << 64]),
    st.sampled_from([BLOCK_BYTES, -BLOCK_BYTES, 1 << 63]),
    st.sampled_from([0, 1, U64]),
    st.sampled_from([1, -1, U64]),
)


def outcome(call: Any, *arguments: object) -> object:
    try:
        result = call(*arguments)
    except (
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        BufferError,
        struct.error,
    ) as error:
        return type(error), str(error)
    if isinstance(result, int):
        return result
    return [bytes(piece) for piece in result.pieces], result.size_bytes, result.placed


@given(st.lists(usual, min_size=1, max_size=6), positions, SEEDS)
def test_what_is_packed_is_what_is_read(
    records: list[Record], position: Position, seed: int
) -> None:
    identity = Identity(IDENTITY.vdev_id, seed, 3)
    packed = FAST.pack_flush(records, position, identity)
    data = b"".join(packed.pieces)
    assert len(data) == packed.size_bytes <= FAST.flush_bytes(records)
    assert packed.size_bytes % BLOCK_BYTES == 0
    header = unpack_flush_header(data, 0, identity)
    assert header is not None and header.record_count == len(records)
    meta = data[FLUSH_HEADER_BYTES : header.meta_bytes]
    assert meta_digest(meta, identity) == header.meta_checksum
    at = FLUSH_HEADER_BYTES
    for record, placed in zip(records, packed.placed, strict=True):
        assert placed.offset == position.offset + at
        found = unpack_header(data, at, seed)
        assert found is not None and found[0] == placed.header
        if isinstance(record, Chunk):
            assert placed.header.checksum == 0  # its chid proves the payload
            start = placed.header.b - position.offset
            assert data[start : start + len(record.payload)] == bytes(record.payload)
        at = found[1]


@given(
    st.lists(usual | seldom | odd, max_size=5),
    positions | odd_positions,
    st.sampled_from(
        [
            IDENTITY,
            Identity(b"short", 1, 1),
            Identity(bytes(16), 1 << 64, -1),
            Identity(bytes(16), -1, 1),
        ]
    ),
)
@example([], Position(1, BLOCK_BYTES), IDENTITY)
def test_twins_agree(records: list[Any], position: Position, identity: Identity) -> None:
    slow = outcome(flush_pure.pack_flush, records, position, identity)
    assert outcome(FAST.pack_flush, records, position, identity) == slow
    assert outcome(FAST.flush_bytes, records) == outcome(flush_pure.flush_bytes, records)


@given(st.lists(usual, max_size=5), positions)
def test_twins_agree__on_what_is_usual(records: list[Any], position: Position) -> None:
    slow = outcome(flush_pure.pack_flush, records, position, IDENTITY)
    assert outcome(FAST.pack_flush, records, position, IDENTITY) == slow
    assert outcome(FAST.flush_bytes, records) == outcome(flush_pure.flush_bytes, records)


@given(st.sampled_from(Kind), chids, st.integers(1, U64), SEEDS)
def test_checksum__is_only_of_what_has_a_body(
    kind: Kind, inline: bytes, checksum: int, seed: int
) -> None:
    has_body = kind > Kind.CHUNK_DROP
    for each in (0, checksum):
        header = Header(kind, 1, len(inline), 1, 2, 3, 4, each, inline)
        found = unpack_header(pack_header(header, seed), 0, seed)
        assert (found is not None and found[0] == header) == (has_body or each == 0)
