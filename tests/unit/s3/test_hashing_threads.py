"""Digests in threads: in order, one block at a time, and nothing lost when the reader goes."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.hashing_threads import (
    AT_ONCE_BYTES_MAX,
    HAND_OVER_BYTES,
    WAITING_BYTES_MAX,
    BodyHasher,
)
from replicast.hashing import HashAlgorithm, content_hash
from replicast.native import PURE

ALGORITHMS = [Algorithm.CRC32, Algorithm.SHA1]
JOBS = 2 + PURE  # of theirs: MD5; SHA1 and SHA-256; CRC32 where it takes long


def at_once(body: bytes) -> Sums:
    digests = Digests(ALGORITHMS, payload_sha256=True)
    digests.update(body)
    return digests.results()


class HeldExecutor(Executor):
    """Threads that have not come to it yet: `work` lets them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, fn, args))
        return future

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future, fn, args in waiting:
            future.set_result(fn(*args))


class CountingExecutor(ThreadPoolExecutor):
    """Threads, and how often they were given something."""

    count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return super().submit(fn, *args, **kwargs)


def test_blocks_of_all_sizes__one_result() -> None:
    rng = random.Random(1)
    body = rng.randbytes(1 << 20)

    async def scenario() -> None:
        with ThreadPoolExecutor(2) as executor:
            for _ in range(5):
                hasher, start = (
                    BodyHasher(HashExecutor(executor), Digests(ALGORITHMS, payload_sha256=True)),
                    0,
                )
                while start < len(body):
                    end = start + rng.choice([1, 1000, AT_ONCE_BYTES_MAX, 300_000])
                    await hasher.feed(memoryview(body)[start:end])
                    start = end
                assert await hasher.finish() == at_once(body)
            empty = BodyHasher(HashExecutor(executor), Digests(ALGORITHMS, payload_sha256=True))
            assert await empty.finish() == at_once(b"")

    asyncio.run(scenario())


def test_small_bodies__without_threads() -> None:
    body = random.Random(2).randbytes(AT_ONCE_BYTES_MAX)

    async def scenario() -> None:
        executor = HeldExecutor()
        hasher = BodyHasher(HashExecutor(executor), Digests(ALGORITHMS, payload_sha256=True))
        await hasher.feed(body[:100])
        await hasher.feed(body[100:])
        assert not executor.waiting
        await hasher.feed(b"x")  # beyond what the loop does itself, however small
        ended = asyncio.ensure_future(hasher.finish())
        await asyncio.sleep(0)
        assert executor.waiting
        executor.work()
        assert await ended == at_once(body + b"x")

    asyncio.run(scenario())


def test_small_blocks_of_a_large_body__are_handed_over_together() -> None:
    """The chunks of a client that signs each of them, or what a slow network brings."""
    body = random.Random(4).randbytes(1 << 20)
    views = [memoryview(body)[at : at + 8192] for at in range(0, len(body), 8192)]

    async def scenario() -> None:
        whole = Digests([Algorithm.SHA1])
        whole.update(body)
        with CountingExecutor(1) as executor:
            hasher = BodyHasher(HashExecutor(executor), Digests([Algorithm.SHA1]))
            for at in range(0, len(views), 4):
                await hasher.feed(*views[at : at + 4])
            assert await hasher.finish() == whole.results()
            assert executor.count <= 2 * len(body) // HAND_OVER_BYTES  # SHA1, and MD5

    asyncio.run(scenario())


def test_feed__waits_for_the_block_before() -> None:
    blocks = [random.Random(n).randbytes(WAITING_BYTES_MAX + 1) for n in range(3)]

    async def scenario() -> None:
        executor = HeldExecutor()
        hasher = BodyHasher(HashExecutor(executor), Digests(ALGORITHMS, payload_sha256=True))
        await hasher.feed(blocks[0])
        assert len(executor.waiting) == JOBS
        second = asyncio.ensure_future(hasher.feed(blocks[1]))
        await asyncio.sleep(0)
        assert not second.done() and len(executor.waiting) == JOBS
        executor.work()
        await second
        assert len(executor.waiting) == JOBS
        executor.work()
        await hasher.feed(blocks[2])
        executor.work()
        assert await hasher.finish() == at_once(b"".join(blocks))

    asyncio.run(scenario())


def test_feed__what_comes_meanwhile_is_handed_over_together() -> None:
    blocks = [random.Random(n).randbytes(HAND_OVER_BYTES) for n in range(3)]

    async def scenario() -> None:
        executor = HeldExecutor()
        hasher = BodyHasher(HashExecutor(executor), Digests([Algorithm.SHA1]))
        for block in blocks:
            await hasher.feed(block)
        assert len(executor.waiting) == 2  # MD5, SHA1
        executor.work()
        for _ in range(5):
            await asyncio.sleep(0)
        ended = asyncio.ensure_future(hasher.finish())
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(executor.waiting) == 2
        executor.work()
        whole = Digests([Algorithm.SHA1])
        whole.update(b"".join(blocks))
        assert await ended == whole.results()

    asyncio.run(scenario())


def test_feed__what_is_quick_is_done_at_once() -> None:
    """In the loop, and in order with what small blocks before it brought."""
    blocks = [random.Random(n).randbytes(size) for n, size in enumerate((1000, HAND_OVER_BYTES))]

    async def scenario() -> None:
        executor = HeldExecutor()
        digests = Digests([Algorithm.CRC32], chunks=ChunkHashes(HashAlgorithm.BLAKE3_256, 100_000))
        hasher = BodyHasher(HashExecutor(executor), digests)
        for block in blocks:
            await hasher.feed(block)
        body = b"".join(blocks)
        assert len(executor.waiting) == 1 + PURE, "only MD5 takes long"
        if not PURE:
            found = await hasher.chid(100_000, 100_000)
            assert found == content_hash(HashAlgorithm.BLAKE3_256, body[100_000:200_000])
        executor.work()
        whole = Digests([Algorithm.CRC32])
        whole.update(body)
        assert await hasher.finish() == whole.results()

    asyncio.run(scenario())


def test_feed__cancelled_leaves_the_threads_alone() -> None:
    block = random.Random(3).randbytes(HAND_OVER_BYTES)

    async def scenario() -> None:
        executor = HeldExecutor()
        hasher = BodyHasher(HashExecutor(executor), Digests(ALGORITHMS, payload_sha256=True))
        await hasher.feed(block)
        second = asyncio.ensure_future(hasher.feed(bytes(WAITING_BYTES_MAX + 1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled()
        assert not any(future.cancelled() for future, _, _ in executor.waiting)
        executor.work()
        assert await hasher.finish() == at_once(block)

    asyncio.run(scenario())


def test_lanes__run_side_by_side() -> None:
    """Both are in a thread at the same time: each waits there for the other."""
    both = threading.Barrier(2, timeout=60)

    class Met:
        def update(self, block: object) -> None:
            both.wait()

    async def scenario() -> None:
        digests = Digests(payload_sha256=True)
        digests.lanes = [Met(), Met()]  # type: ignore[list-item]
        with ThreadPoolExecutor(2) as executor:
            hasher = BodyHasher(HashExecutor(executor), digests)
            await hasher.feed(bytes(AT_ONCE_BYTES_MAX + 1))
            await hasher.finish()

    asyncio.run(scenario())
