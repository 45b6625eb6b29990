"""The body of a put, from the wire to the object layer: taken apart, hashed, compared.

Blocks go on as they come, and are stored while the last of them are hashed; nothing of them is committed
before all was compared: what raises in the source or in finish(), which the put's description waits for,
ends the put without a trace (contract of Bodies.store).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.hashed_source import HashedSource
from replicast.gateway.initiation import Block
from replicast.gateway.s3.algorithms import DEFAULT_ALGORITHM, Algorithm
from replicast.gateway.s3.body import Body
from replicast.gateway.s3.claims import Claims
from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.hashing_threads import AT_ONCE_BYTES_MAX, BodyHasher
from replicast.units import GIB

OBJECT_BYTES_MAX = PART_BYTES_MAX = 5 * GIB  # of one request


class UploadSource(HashedSource):
    """Of one request. `claims` has its trailers at its end, `sums` is there after finish(). `chunks`:
    content hashes to be made with the rest."""

    def __init__(
        self,
        stream: AsyncIterator[Block],
        body: Body,
        claims: Claims,
        threads: HashExecutor,
        algorithms: Iterable[Algorithm] = (),
        *,
        chunks: ChunkHashes | None = None,
    ) -> None:
        self._stream, self._body, self._threads = stream, body, threads
        self.claims = claims
        wanted = set(algorithms) or {claims.algorithm or DEFAULT_ALGORITHM}
        self._hasher = BodyHasher(threads, Digests(sorted(wanted), chunks=chunks))
        self._sums: Sums | None = None

    async def finish(self) -> Sums:
        """Behind the last block: what was computed. Raises S3Error when the body is not what its client
        said of it."""
        self._sums = await self._hasher.finish()
        self.claims.check(self._sums)
        return self._sums

    @property
    def sums(self) -> Sums:
        """As finish() found it."""
        assert self._sums is not None
        return self._sums

    async def chid(self, offset: int, size_bytes: int) -> bytes | None:
        return await self._hasher.chid(offset, size_bytes)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """The payload, in views of bytes; raises S3Error when it is not framed as its client said."""
        loop = asyncio.get_running_loop()
        async for data in self._stream:
            if self._body.hashes and len(data) > AT_ONCE_BYTES_MAX:
                blocks = await loop.run_in_executor(self._threads, self._body.feed, data)
            else:
                blocks = self._body.feed(data)
            await self._hasher.feed(*blocks)
            for block in blocks:
                yield block
        trailers = self._body.finish()
        self._hasher.end()
        if self.claims.trailer or trailers:
            self.claims = self.claims.with_trailers(trailers)
