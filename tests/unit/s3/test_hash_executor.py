"""MD5 of several bodies goes in batches, in order, and nothing of a body stays when it has gone."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import Executor, Future
from hashlib import md5
from typing import Any

import pytest

from replicast.gateway.s3.hash_executor import (
    FEW,
    HAND_OVER_BYTES,
    HELD_BYTES_MAX,
    KEPT_BYTES_MAX,
    BodyMd5,
    HashExecutor,
)
from replicast.gateway.s3.md5 import Md5

BLOCK_BYTES = HAND_OVER_BYTES + 5
MANY = FEW + 3


class HeldExecutor(Executor):
    """Threads that have not come to it yet: `work` lets them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []
        self.error: Exception | None = None

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, fn, args))
        return future

    @property
    def bodies(self) -> list[int]:
        """How many in each batch that waits."""
        return [len(args[0]) for _, _, args in self.waiting]

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future, fn, args in waiting:
            if self.error is not None:
                future.set_exception(self.error)
            else:
                future.set_result(fn(*args))


class Bench:
    def __init__(self) -> None:
        self.executor = HeldExecutor()
        self.threads = HashExecutor(self.executor)
        self._rng = random.Random(7)
        self.data: dict[BodyMd5, bytes] = {}

    def body(self) -> BodyMd5:
        body = BodyMd5(Md5(), self.threads)
        self.data[body] = b""
        return body

    async def feed(self, body: BodyMd5, size_bytes: int = BLOCK_BYTES) -> None:
        block = self._rng.randbytes(size_bytes)
        self.data[body] += block
        await body.feed((block,), size_bytes)

    async def settled(self, body: BodyMd5) -> None:
        """With threads that work."""
        settling = asyncio.ensure_future(body.settle())
        while not settling.done():
            await turns()
            self.executor.work()
        await settling
        assert body.md5.digest() == md5(self.data[body]).digest()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_alone__at_once() -> None:
    async def run() -> None:
        bench = Bench()
        body = bench.body()
        await bench.feed(body, HAND_OVER_BYTES - 1)
        assert bench.executor.bodies == []
        await bench.feed(body, 1)
        assert bench.executor.bodies == [1]
        await bench.feed(body, 10)
        bench.executor.work()
        await turns()
        body.end()
        assert bench.executor.bodies == [1]
        await bench.settled(body)

    asyncio.run(run())


def test_many__together_when_the_first_is_asked() -> None:
    async def run() -> None:
        bench = Bench()
        bodies = [bench.body() for _ in range(MANY)]
        for body in bodies:
            await bench.feed(body)
            body.end()
        assert bench.executor.bodies == [1], "the first was alone"
        bench.executor.work()
        await turns()
        assert bench.executor.bodies == []
        asked = asyncio.ensure_future(bodies[2].settle())
        await turns()
        assert bench.executor.bodies == [MANY - 1]
        bench.executor.work()
        await asked
        for body in bodies:
            await asyncio.wait_for(body.settle(), 60)
            assert body.md5.digest() == md5(bench.data[body]).digest()
        assert bench.threads.few, "all are closed"

    asyncio.run(run())


def test_many__what_one_keeps_is_bounded() -> None:
    async def run() -> None:
        bench = Bench()
        bodies = [bench.body() for _ in range(MANY)]
        for body in bodies:
            await bench.feed(body, 100)
        assert bench.executor.bodies == []
        await bench.feed(bodies[0], KEPT_BYTES_MAX - 100)
        assert bench.executor.bodies == []
        await bench.feed(bodies[0], 1)
        assert bench.executor.bodies == [MANY]
        await bench.feed(bodies[0], HELD_BYTES_MAX - KEPT_BYTES_MAX - 1)
        more = asyncio.ensure_future(bench.feed(bodies[0], 1))
        await turns()
        assert not more.done()
        bench.executor.work()
        await more
        for body in bodies:
            await bench.settled(body)

    asyncio.run(run())


def test_gone__neither_counts_nor_is_hashed() -> None:
    async def run() -> None:
        bench = Bench()
        bodies = [bench.body() for _ in range(MANY)]
        for body in bodies:
            await bench.feed(body, 100)
        waiting = asyncio.ensure_future(bodies[1].settle())
        await turns()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not any(future.cancelled() for future, _, _ in bench.executor.waiting)
        bench.executor.work()
        await turns()
        for body in bodies:
            await bench.feed(body, 100)
        kept = bodies[:2]
        bench.data = {body: bench.data[body] for body in kept}
        del bodies, body
        assert bench.threads.few
        asked = asyncio.ensure_future(kept[0].settle())
        await turns()
        assert bench.executor.bodies == [2]
        bench.executor.work()
        await asked
        await bench.settled(kept[1])

    asyncio.run(run())


def test_no_threads_any_more__is_an_error_and_no_endless_wait() -> None:
    class Ended(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise RuntimeError("cannot schedule new futures after shutdown")

    async def run() -> None:
        body = BodyMd5(Md5(), HashExecutor(Ended()))
        await body.feed((b"block",), 5)
        with pytest.raises(RuntimeError):
            await body.settle()

    asyncio.run(run())


def test_failed__every_body_of_the_batch_hears_of_it() -> None:
    async def run() -> None:
        bench = Bench()
        bodies = [bench.body() for _ in range(MANY)]
        for body in bodies:
            await bench.feed(body, 100)
        bench.executor.error = MemoryError("no room")
        asked = asyncio.ensure_future(bodies[0].settle())
        await turns()
        bench.executor.work()
        with pytest.raises(MemoryError):
            await asked
        for body in bodies[1:]:
            with pytest.raises(MemoryError):
                await body.settle()

    asyncio.run(run())
