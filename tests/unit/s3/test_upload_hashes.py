"""A body from the wire to chunks: hashed once, in blocks, and stored under what that came to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest

from replicast.gateway.bodies import Description, ObjectLimits, known
from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.objects import Objects
from replicast.gateway.put_stream import PutReport
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.claims import Claims
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.hashing_threads import (
    AT_ONCE_BYTES_MAX,
    HAND_OVER_BYTES,
    BodyHasher,
)
from replicast.gateway.s3.plain_body import PlainBody
from replicast.gateway.s3.upload_source import UploadSource
from replicast.hashing import HashAlgorithm, content_hash
from replicast.native import PURE

from ..object_memory import ALGORITHM, INLINE, MemoryInitiator, noise, read
from .sealing import SERVER, Sealed, in_loop, place
from .test_hashing_threads import CountingExecutor, HeldExecutor

CHUNK = 100_000  # bytes: blocks of it go to threads
SLOW = HashAlgorithm.SHA3_256


@pytest.fixture
def memory() -> MemoryInitiator:
    return MemoryInitiator()


@pytest.fixture
def objects(memory: MemoryInitiator) -> Objects:
    return Objects(memory, ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4))


async def stream(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        await asyncio.sleep(0)
        yield block


def pieces(data: bytes, seed: int) -> Iterable[bytes]:
    rng, at = random.Random(seed), 0
    while at < len(data):
        size = rng.choice([1, 777, AT_ONCE_BYTES_MAX, CHUNK, 3 * CHUNK + 1])
        yield data[at : at + size]
        at += size


def source_of(
    data: bytes, executor: Any, chunks: ChunkHashes | None, seed: int = 0
) -> UploadSource:
    body = PlainBody(len(data), None)
    return UploadSource(
        stream(pieces(data, seed)), body, Claims(), HashExecutor(executor), chunks=chunks
    )


@pytest.mark.parametrize("size", [INLINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK + 5])
@pytest.mark.parametrize("seed", range(4))
def test_put__no_chunk_is_hashed_again(
    objects: Objects, memory: MemoryInitiator, size: int, seed: int
) -> None:
    async def run() -> None:
        data, report = noise(size), PutReport()
        with ThreadPoolExecutor(2) as executor:
            hashes = objects.bodies.chunk_hashes(size, INLINE, sealed=False)
            source = source_of(data, executor, hashes, seed)
            await objects.put("b", "n", source, report=report)
        assert memory.given == report.chunks == -(-size // CHUNK)
        assert hashes is not None and not hashes._made, "ids were left"
        assert await read(objects, "n") == data

    asyncio.run(run())


def test_put__what_nobody_has_hashed_is_hashed(objects: Objects, memory: MemoryInitiator) -> None:
    """No hashes, or of other chunks than the object layer cuts."""

    async def run() -> None:
        data = noise(3 * CHUNK + 1)
        with ThreadPoolExecutor(2) as executor:
            for hashes in (None, ChunkHashes(ALGORITHM, CHUNK - 1)):
                await objects.put("b", "n", source_of(data, executor, hashes))
                assert await read(objects, "n") == data
        assert memory.given == 0

    asyncio.run(run())


@in_loop
async def test_put__sealed_bodies_are_hashed_as_they_are_stored() -> None:
    sealed, data = Sealed(), noise(1000)
    with ThreadPoolExecutor(2) as executor:
        hashes = sealed.objects.bodies.chunk_hashes(len(data), INLINE, sealed=False)
        await sealed.objects.put(
            "b",
            "n",
            source_of(data, executor, hashes),
            describe=known(Description({}, "etag")),
            sealer=sealed.encryption.sealer(SERVER, place("n")),
        )
    assert sealed.memory.given == 0 and sealed.memory.chunks
    assert await sealed.read("n") == data


def test_hashes__only_of_what_may_become_a_chunk_as_it_is(objects: Objects) -> None:
    made = objects.bodies.chunk_hashes
    assert made(INLINE, INLINE, sealed=False) is None
    assert made(10 * CHUNK, INLINE, sealed=True) is None
    assert made(INLINE + 1, INLINE, sealed=False) is not None
    assert made(0, INLINE, sealed=False) is not None, "a body of a length that is not known"


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_lanes__one_job_more_where_the_content_hash_is_slow(algorithm: HashAlgorithm) -> None:
    chunks = ChunkHashes(algorithm, CHUNK)
    slow = algorithm is not HashAlgorithm.BLAKE3_256
    assert len(Digests([Algorithm.CRC32], chunks=chunks).lanes) == slow + PURE
    assert len(Digests([Algorithm.SHA1], chunks=chunks).lanes) == 1 + (PURE and not slow)


def test_many_wait_for_one_block__and_the_next_one_is_not_lost() -> None:
    """Whoever comes first begins the next block; the others must not take that for what they waited for."""
    blocks = [noise(6 * CHUNK, seed) for seed in range(3)]

    async def run() -> None:
        executor = HeldExecutor()
        hasher = BodyHasher(HashExecutor(executor), Digests(chunks=ChunkHashes(SLOW, CHUNK)))
        await hasher.feed(blocks[0])
        feeding = asyncio.ensure_future(hasher.feed(blocks[1]))
        await asyncio.sleep(0)
        asking = [asyncio.ensure_future(hasher.chid(n * CHUNK, CHUNK)) for n in (0, 1)]
        gone = asyncio.ensure_future(hasher.chid(0, CHUNK))
        await asyncio.sleep(0)
        gone.cancel()
        executor.work()
        found = await asyncio.gather(*asking)
        assert found == [content_hash(SLOW, blocks[0][at : at + CHUNK]) for at in (0, CHUNK)]
        await feeding
        last = asyncio.ensure_future(hasher.feed(blocks[2]))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not last.done() and len(executor.waiting) == 2, "one block at a time, and its MD5"
        executor.work()
        await last
        executor.work()
        whole = Digests()
        whole.update(b"".join(blocks))
        assert (await hasher.finish()).md5 == whole.results().md5

    asyncio.run(run())


def test_without_hashes__there_is_none() -> None:
    async def run() -> None:
        hasher = BodyHasher(HashExecutor(HeldExecutor()), Digests())
        await hasher.feed(b"x")
        assert await hasher.chid(0, 1) is None

    asyncio.run(run())


@pytest.mark.parametrize("signed", [False, True])
def test_body__goes_to_threads_once_where_its_payload_is_not_signed(signed: bool) -> None:
    """For its MD5; once more for the hash that the client signed, and for a CRC that takes long."""
    data = noise(2 * HAND_OVER_BYTES)

    async def run() -> None:
        body = PlainBody(len(data), sha256(data).hexdigest() if signed else "")
        with CountingExecutor(1) as executor:
            source = UploadSource(stream([data]), body, Claims(), HashExecutor(executor))
            assert b"".join([bytes(block) async for block in source]) == data
            assert executor.count == 1 + signed + PURE

    asyncio.run(run())
