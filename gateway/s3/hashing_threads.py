"""Shell: a body's digests computed in threads while its next block is on the way.

Blocks are hashed in their order. While one is at work `feed` takes no other, so that a body holds
two blocks at most: the one that is hashed and the one that its reader has in hand.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from replicast.gateway.s3.digests import Digests, Sums

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Threads cost about 70 us of CPU a time, much of it the loop's: MD5 and CRC32 of 64 KiB took 97 us
# in the loop, 163 us with threads. What comes beyond goes to the threads in whatever pieces, so
# that no body keeps the loop for longer.
AT_ONCE_BYTES_MAX = 64 << 10


class BodyHasher:
    """One body's. The executor is the gateway's: it bounds how many blocks are hashed at a time."""

    def __init__(self, executor: Executor, digests: Digests) -> None:
        self._executor, self._digests = executor, digests
        self._working: asyncio.Future[list[None]] | None = None

    async def feed(self, block: ReadableBuffer) -> None:
        """The next block; it must not change until the next call of this object has returned."""
        await self._settle()
        if self._digests.size_bytes + memoryview(block).nbytes <= AT_ONCE_BYTES_MAX:
            self._digests.update(block)
            return
        self._digests.count(block)
        loop = asyncio.get_running_loop()
        self._working = asyncio.gather(
            *(
                loop.run_in_executor(self._executor, lane.update, block)
                for lane in self._digests.lanes
            )
        )

    async def finish(self) -> Sums:
        """Of all that was fed."""
        await self._settle()
        return self._digests.results()

    async def chid(self, offset: int, size_bytes: int) -> bytes | None:
        """The content hash of one chunk of what was fed, once; None where none is made. Several may ask
        at a time."""
        chunks = self._digests.chunks
        if chunks is None:
            return None
        found = chunks.take(offset, size_bytes)
        if found is None:  # its last block may be at work
            await self._settle()
            found = chunks.take(offset, size_bytes)
        return found

    async def _settle(self) -> None:
        working = self._working
        if working is None:
            return
        # Shielded: a thread cannot be stopped, and what it reads stays in use until it is done.
        await asyncio.shield(working)
        if self._working is working:  # or who waited, too, has begun the next block
            self._working = None
