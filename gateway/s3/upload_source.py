"""The body of a put, from the wire to the object layer: taken apart, hashed, compared.

Blocks go on as they come; nothing of them is committed before all was compared, for a source that
raises ends its put without a trace (contract of Bodies.store).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Executor

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.hashed_source import HashedSource
from replicast.gateway.s3.algorithms import DEFAULT_ALGORITHM, Algorithm
from replicast.gateway.s3.body import Body
from replicast.gateway.s3.claims import Claims
from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.hashing_threads import AT_ONCE_BYTES_MAX, BodyHasher
from replicast.units import GIB

OBJECT_BYTES_MAX = PART_BYTES_MAX = 5 * GIB  # of one request


class UploadSource(HashedSource):
    """Of one request. `sums` and `claims`, trailers included, are there at its end. `chunks`: content
    hashes to be made with the rest."""

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        body: Body,
        claims: Claims,
        executor: Executor,
        algorithms: Iterable[Algorithm] = (),
        *,
        chunks: ChunkHashes | None = None,
    ) -> None:
        self._stream, self._body, self._executor = stream, body, executor
        self.claims = claims
        wanted = set(algorithms) or {claims.algorithm or DEFAULT_ALGORITHM}
        self._hasher = BodyHasher(executor, Digests(sorted(wanted), chunks=chunks))
        self._sums: Sums | None = None

    @property
    def sums(self) -> Sums:
        """What was computed; at the end only."""
        assert self._sums is not None
        return self._sums

    async def chid(self, offset: int, size_bytes: int) -> bytes | None:
        return await self._hasher.chid(offset, size_bytes)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """The payload, in views of bytes; raises S3Error when it is not what its client said of it."""
        loop = asyncio.get_running_loop()
        async for data in self._stream:
            if self._body.hashes and len(data) > AT_ONCE_BYTES_MAX:
                blocks = await loop.run_in_executor(self._executor, self._body.feed, data)
            else:
                blocks = self._body.feed(data)
            await self._hasher.feed(*blocks)
            for block in blocks:
                yield block
        trailers = self._body.finish()
        self._sums = await self._hasher.finish()
        if self.claims.trailer or trailers:
            self.claims = self.claims.with_trailers(trailers)
        self.claims.check(self._sums)
