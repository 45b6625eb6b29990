"""Shell: the threads that hash what S3 clients send, and MD5 of several bodies in step.

MD5 of many messages costs what one does (md5.py), but bodies are seldom hashed at the same time: what they
share is the time that their chunks take to be stored. Nobody needs an MD5 before that. So while more than
FEW are open, a body's blocks are kept, and hashed when the first of them all is asked for its MD5, or
holds more than KEPT_BYTES_MAX: the blocks of all in one batch. A body (nearly) alone is hashed as it comes.
One batch is at work at a time; the blocks of a body whose request has gone are gone with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from replicast.gateway.s3.md5 import Md5, update_together
from replicast.units import KIB, MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FEW = 2
HAND_OVER_BYTES = 256 * KIB  # less waits for more, or for somebody who asks
KEPT_BYTES_MAX = 1 * MIB
HELD_BYTES_MAX = 1536 * KIB  # what is at work included; whoever brings more waits


class HashExecutor(Executor):
    """The gateway's, of one loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._open: WeakSet[BodyMd5] = WeakSet()
        self._working: asyncio.Future[None] | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, *args, **kwargs)

    def open(self, body: BodyMd5) -> None:
        """It has blocks, and somebody will want its MD5."""
        self._open.add(body)

    def close(self, body: BodyMd5) -> None:
        """It wants nothing more."""
        self._open.discard(body)

    @property
    def few(self) -> bool:
        """Is it not worth waiting for others?"""
        return len(self._open) <= FEW

    def begin(self) -> None:
        """With what all have kept, unless a batch is at work."""
        bodies = [] if self._working is not None else [body for body in self._open if body.kept]
        if not bodies:
            return
        work = [(body.md5, body.take()) for body in bodies]
        try:
            working = asyncio.wrap_future(self._executor.submit(update_together, work))
        except RuntimeError as error:  # the process is ending
            for body in bodies:
                body.taken(error)
            return
        working.add_done_callback(partial(self._end, bodies))
        self._working = working

    async def next_batch(self) -> None:
        """Until the one that is at work has ended, or the next. Cancelled, it leaves the threads alone."""
        self.begin()
        if self._working is not None:
            await asyncio.wait([self._working])

    def _end(self, bodies: list[BodyMd5], working: asyncio.Future[None]) -> None:
        self._working = None
        for body in bodies:
            body.taken(None if working.cancelled() else working.exception())


class BodyMd5:
    """The MD5 of one body, in the batches of all."""

    def __init__(self, md5: Md5, threads: HashExecutor) -> None:
        self.md5, self._threads = md5, threads
        self._blocks: list[ReadableBuffer] = []
        self._kept_bytes = self._at_work_bytes = 0
        self._error: BaseException | None = None

    @property
    def _held_bytes(self) -> int:
        return self._kept_bytes + self._at_work_bytes

    @property
    def kept(self) -> bool:
        """Has it blocks for the next batch?"""
        return bool(self._blocks)

    async def feed(self, blocks: tuple[ReadableBuffer, ...], size_bytes: int) -> None:
        """The next blocks; they must not change until settle() has returned."""
        self._threads.open(self)
        while self._held_bytes and self._held_bytes + size_bytes > HELD_BYTES_MAX:
            await self._threads.next_batch()
        self._blocks += blocks
        self._kept_bytes += size_bytes
        few = self._threads.few
        if self._kept_bytes >= HAND_OVER_BYTES if few else self._kept_bytes > KEPT_BYTES_MAX:
            self._threads.begin()

    def end(self) -> None:
        """No more comes."""
        if self._threads.few:
            self._threads.begin()

    def hurry(self) -> None:
        """It is asked for now."""
        if self._blocks:
            self._threads.begin()

    async def settle(self) -> None:
        """Until all are hashed; raises what hashing them raised."""
        while self._held_bytes:
            await self._threads.next_batch()
        self._threads.close(self)
        if self._error is not None:
            raise self._error

    def take(self) -> list[ReadableBuffer]:
        """All blocks, for a batch that begins."""
        blocks, self._blocks = self._blocks, []
        self._at_work_bytes, self._kept_bytes = self._kept_bytes, 0
        return blocks

    def taken(self, error: BaseException | None) -> None:
        """The batch has ended."""
        self._at_work_bytes = 0
        self._error = self._error or error
