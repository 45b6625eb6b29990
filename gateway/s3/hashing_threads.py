"""Shell: a body's digests computed in threads while more of it is on the way.

What is quick is done in the loop: CRC64NVME and BLAKE3 of 512 KiB take 85 us, about what a hand-over costs.
For the rest blocks are hashed in their order, as many at a time as have come meanwhile: a hand-over costs the
same for a few bytes as for many. While threads are at work `feed` takes up to WAITING_BYTES_MAX, so that a body
holds what is hashed, that much, and what its reader has in hand. What waits for its MD5 (hash_executor.py) are
mostly blocks that are on their way to targets anyway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.hash_executor import HAND_OVER_BYTES, BodyMd5, HashExecutor

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Threads cost about 70 us of CPU a time, much of it the loop's: MD5 and CRC32 of 64 KiB took 97 us
# in the loop, 163 us with threads. What comes beyond goes to the threads in whatever pieces (but for
# what is quick), so that no body keeps the loop for longer.
AT_ONCE_BYTES_MAX = 64 << 10
WAITING_BYTES_MAX = 512 << 10


class BodyHasher:
    """One body's. The threads are the gateway's: they bound how much is hashed at a time."""

    def __init__(self, threads: HashExecutor, digests: Digests) -> None:
        self._threads, self._digests = threads, digests
        self._md5 = BodyMd5(digests.md5, threads)
        self._waiting: list[ReadableBuffer] = []
        self._waiting_bytes = 0
        self._working: asyncio.Future[list[None]] | None = None
        self._ended = False

    async def feed(self, *blocks: ReadableBuffer) -> None:
        """The next blocks; they must not change until finish() has returned."""
        size_bytes = sum(memoryview(block).nbytes for block in blocks)
        if self._digests.size_bytes + size_bytes <= AT_ONCE_BYTES_MAX:
            for block in blocks:
                self._digests.update(block)
            return
        if self._digests.lanes:
            await self._feed_lanes(blocks, size_bytes)
        await self._md5.feed(blocks, size_bytes)
        self._digests.quick.update(*blocks)
        self._digests.count(size_bytes)

    async def _feed_lanes(self, blocks: tuple[ReadableBuffer, ...], size_bytes: int) -> None:
        while self._working is not None and (
            self._working.done() or self._waiting_bytes + size_bytes > WAITING_BYTES_MAX
        ):
            await self._settle()
        self._waiting += blocks
        self._waiting_bytes += size_bytes
        if self._working is None and self._waiting_bytes >= HAND_OVER_BYTES:
            self._begin()

    def end(self) -> None:
        """Nothing more is fed: the last chunk is whole, however short."""
        self._ended = True
        self._md5.end()

    async def finish(self) -> Sums:
        """Of all that was fed."""
        self._md5.hurry()
        while self._unhashed:
            await self._hash_more()
        await self._md5.settle()
        return self._digests.results()

    async def chid(self, offset: int, size_bytes: int) -> bytes | None:
        """The content hash of one chunk of what was fed, once; None where none is made. Several may ask
        at a time."""
        chunks = self._digests.chunks
        if chunks is None:
            return None
        found = chunks.take(offset, size_bytes)
        while found is None and self._unhashed:  # its last block may be at work, or wait
            await self._hash_more()
            found = chunks.take(offset, size_bytes)
        if found is None and self._ended:
            chunks.finish()
            found = chunks.take(offset, size_bytes)
        return found

    @property
    def _unhashed(self) -> bool:
        return self._working is not None or bool(self._waiting)

    async def _hash_more(self) -> None:
        if self._working is None:
            self._begin()
        await self._settle()

    def _begin(self) -> None:
        """Hand over what waits; nothing is at work."""
        blocks, self._waiting, self._waiting_bytes = self._waiting, [], 0
        loop = asyncio.get_running_loop()
        self._working = asyncio.gather(
            *(
                loop.run_in_executor(self._threads, lane.update, *blocks)
                for lane in self._digests.lanes
            )
        )

    async def _settle(self) -> None:
        working = self._working
        if working is None:
            return
        # Shielded: a thread cannot be stopped, and what it reads stays in use until it is done.
        await asyncio.shield(working)
        if self._working is working:  # or who waited, too, has begun with more
            self._working = None
