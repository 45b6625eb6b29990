"""Content hashes that are made on the way: those of the chunks that the object layer cuts, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.put_stream import cut
from replicast.gateway.s3.digests import Digests
from replicast.hashing import HashAlgorithm, content_hash, content_hasher

ALGORITHMS = st.sampled_from(list(HashAlgorithm))
BLOCKS = st.lists(st.binary(max_size=300), max_size=8)
SIZES = st.integers(1, 400)


def cut_of(blocks: list[bytes], chunk_size_bytes: int) -> list[bytes]:
    async def source() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async def chunks() -> list[bytes]:
        return [bytes(chunk) async for chunk in cut(source(), chunk_size_bytes)]

    return asyncio.run(chunks())


@given(ALGORITHMS, BLOCKS)
def test_pieces__hash_as_the_whole(algorithm: HashAlgorithm, pieces: list[bytes]) -> None:
    hasher = content_hasher(algorithm)
    for piece in pieces:
        hasher.update(piece)
    assert hasher.digest() == content_hash(algorithm, b"".join(pieces))


@given(ALGORITHMS, BLOCKS, SIZES)
def test_every_chunk_that_is_cut__has_its_hash_once(
    algorithm: HashAlgorithm, blocks: list[bytes], chunk_size_bytes: int
) -> None:
    hashes = ChunkHashes(algorithm, chunk_size_bytes)
    digests = Digests(chunks=hashes)
    for block in blocks:
        digests.update(block)
    digests.results()
    offset = 0
    for chunk in cut_of(blocks, chunk_size_bytes):
        assert hashes.take(offset, len(chunk)) == content_hash(algorithm, chunk)
        assert hashes.take(offset, len(chunk)) is None
        offset += len(chunk)
    assert offset == sum(map(len, blocks))


@given(ALGORITHMS, BLOCKS, SIZES, st.integers(0, 2400), st.integers(0, 2400))
def test_whatever_is_asked_for__is_of_these_bytes_or_nothing(
    algorithm: HashAlgorithm, blocks: list[bytes], chunk_size_bytes: int, offset: int, size: int
) -> None:
    hashes, body = ChunkHashes(algorithm, chunk_size_bytes), b"".join(blocks)
    for block in blocks:
        hashes.update(block)
        hashes.finish()  # at odd places, too
    found = hashes.take(offset, size)
    assert found in (None, content_hash(algorithm, body[offset : offset + size]))
    assert found is None or size == len(body[offset : offset + size]) > 0
