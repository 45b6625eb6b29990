"""The bytes of objects: chunks in and out, and the manifest bodies that say which they are.

A put streams: blocks are cut into chunks of `chunk_size_bytes`, at most `put_pipeline` of them are in
flight, and references fold into manifests. Up to the inline limit there is nothing but the body
itself. A get fetches at most `get_read_ahead` chunks ahead of the reader. All puts and gets
together hold `pipeline_bytes` beyond one chunk each. Names come later: gateway/name_access.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from replicast.errors import InvalidRequest
from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.copy_stream import HoldPipeline
from replicast.gateway.fetch_ahead import FetchAhead, fetch_chunk, part_of
from replicast.gateway.hashed_source import HashedSource
from replicast.gateway.initiation import Block, Initiator, Source
from replicast.gateway.limits import check_metadata
from replicast.gateway.manifest import ManifestBuilder, overlapping, parse_chunk, with_metadata
from replicast.gateway.put_stream import PutPipeline, PutReport, cut, whole
from replicast.gateway.room import Room
from replicast.gateway.sealed import SEALED_INLINE, Binder, Opener, Sealer, bound, check_readable
from replicast.hashing import content_hash
from replicast.transport.result import Result
from replicast.units import MIB
from replicast.wire.documents import MANIFEST, ManifestBody, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLimits:
    """Sizes and windows of the object layer."""

    chunk_size_bytes: int = MIB
    put_pipeline: int = 8
    get_read_ahead: int = 8
    pipeline_bytes: int = 32 * MIB


@dataclass(frozen=True, slots=True)
class Description:
    """What goes with an object's bytes. `etag`: "" for the one that is made from the body's hash."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


Describe = Callable[[], Awaitable[Description]]  # asked once all chunks are stored; may raise


def known(description: Description) -> Describe:
    """One that is known already."""

    async def describe() -> Description:
        return description

    return describe


@dataclass(frozen=True, slots=True)
class Made:
    """A manifest body of which every chunk is durable; to be committed under a name."""

    body: bytes
    body_hash: bytes
    etag: str
    metadata: dict[str, str]
    logical_bytes: int
    short_of_copies: tuple[bytes, ...]
    chids: tuple[bytes, ...]  # of what the body itself references, in order
    begun_ns: int  # when the first of its chunks may have been stored
    sealed: bool  # to this incarnation of its bucket, and to its name


class Bodies:
    """Makes bodies and reads what they describe."""

    def __init__(self, initiator: Initiator, limits: ObjectLimits) -> None:
        self._initiator, self._limits = initiator, limits
        self._room = Room(limits.pipeline_bytes)

    # -- in -------------------------------------------------------------------------

    def chunk_hashes(
        self, size_bytes: int, inline_max_bytes: int, *, sealed: bool
    ) -> ChunkHashes | None:
        """For a body that is hashed on its way here (hashed_source.py); None where none of its bytes will
        be a chunk as they are. `size_bytes`: 0 where it is not known."""
        if sealed or 0 < size_bytes <= inline_max_bytes:
            return None
        return ChunkHashes(self._initiator.algorithm, self._limits.chunk_size_bytes)

    async def store(
        self,
        source: Source,
        inline_max_bytes: int,
        describe: Describe,
        report: PutReport,
        sealer: Sealer | None = None,
    ) -> Made:
        """Store the bytes; durable on return, and of no name yet. `sealer`: encrypted."""
        begun_ns = self._initiator.wall_ns()
        chunk_size_bytes = self._limits.chunk_size_bytes
        first: Block | None = whole(source, chunk_size_bytes)
        second: Block | None = None
        if first is None:
            chunks = cut(source, chunk_size_bytes)
            first, second = await anext(chunks, b""), await anext(chunks, None)
        builder = self.builder()
        if second is None and len(first) <= inline_max_bytes:
            report.logical_bytes, report.inline = len(first), True
            described, inline, items = await describe(), bytes(first), dict[str, str]()
            if sealer is not None:
                inline, tag = sealer.seal_inline(inline)
                items = {**sealer.items, SEALED_INLINE: tag}
            metadata = check_metadata({**described.metadata, **items})
            body = builder.finish(metadata, inline=inline)
            return self.made(body, (), described, report, begun_ns, sealer)
        width = self._limits.put_pipeline
        hashed = source if isinstance(source, HashedSource) and sealer is None else None
        pipeline = PutPipeline(self._initiator, builder, width, self._room, report, sealer, hashed)
        try:
            if second is None:
                await pipeline.put_only(first)
                del first  # or it would stay in memory until the end
            else:
                await pipeline.put(first)
                await pipeline.put(second)
                del first, second
                async for chunk in chunks:
                    await pipeline.put(chunk)
                await pipeline.settle()
            described = await describe()
            items = {} if sealer is None else dict(sealer.items)
            body = await pipeline.finish(check_metadata({**described.metadata, **items}))
        finally:
            await pipeline.close()
        return self.made(body, builder.references, described, report, begun_ns, sealer)

    async def hold(
        self,
        source: ManifestBody,
        described: Description,
        report: PutReport,
        binder: Binder | None = None,
    ) -> Made:
        """The same bytes again without moving them: every chunk is held where it lies. `binder`: for the
        copy of what is sealed."""
        check_readable(source, binder)
        begun_ns = self._initiator.wall_ns()
        report.logical_bytes, report.inline = source.logical_bytes, not source.references
        pipeline = HoldPipeline(self._initiator, self._limits.put_pipeline, report)
        try:
            async for reference in self.all_references(source.references):
                await pipeline.hold(reference)
            await pipeline.finish()
        finally:
            await pipeline.close()
        items = {} if binder is None else binder.items
        body = with_metadata(source, check_metadata({**described.metadata, **items}))
        return self.made(body, source.references, described, report, begun_ns, binder)

    def builder(self) -> ManifestBuilder:
        """An empty manifest."""
        initiator = self._initiator
        copies = initiator.table.policy.copies
        return ManifestBuilder(algorithm=initiator.algorithm, copies=copies)

    def made(
        self,
        body: bytes,
        references: tuple[Reference, ...],
        described: Description,
        report: PutReport,
        begun_ns: int,
        binder: Binder | None = None,
    ) -> Made:
        """A body with its references and its hash. `binder`: of what is sealed."""
        if binder is not None:
            body = bound(body, binder)
        body_hash = content_hash(self._initiator.algorithm, body)
        return Made(
            body,
            body_hash,
            described.etag or body_hash[:16].hex(),
            dict(described.metadata),
            report.logical_bytes,
            tuple(report.short_of_copies),
            tuple([reference.chid for reference in references]),
            begun_ns,
            binder is not None,
        )

    # -- out ------------------------------------------------------------------------

    def inline(
        self,
        body: ManifestBody,
        range: tuple[int, int] | None = None,
        opener: Opener | None = None,
    ) -> Block | None:
        """As read(), of a body without chunks; None for others."""
        if body.references:
            return None
        start, end = _span(range, body.logical_bytes)
        check_readable(body, opener)
        whole = body.inline if opener is None else opener.open_inline(body)
        return whole[start:end]

    async def only_chunk(
        self,
        body: ManifestBody,
        range: tuple[int, int] | None = None,
        opener: Opener | None = None,
    ) -> Block | None:
        """As read(), of a body of one chunk, which needs no task of its own; None for others."""
        if len(body.references) != 1 or body.references[0].kind == MANIFEST:
            return None
        start, end = _span(range, body.logical_bytes)
        check_readable(body, opener)
        (reference,) = body.references
        return part_of(reference, await fetch_chunk(self._initiator, reference, opener), start, end)

    async def read(
        self,
        body: ManifestBody,
        range: tuple[int, int] | None = None,
        opener: Opener | None = None,
    ) -> AsyncGenerator[Block, None]:
        """The bytes that `body` describes, or those of `range` (first, last), both included. `opener`: of
        what is sealed."""
        inline = self.inline(body, range, opener)
        if inline is not None:
            if inline:
                yield inline
            return
        only = await self.only_chunk(body, range, opener)
        if only is not None:
            yield only
            return
        start, end = _span(range, body.logical_bytes)
        check_readable(body, opener)
        ahead = FetchAhead(self._initiator, self._limits.get_read_ahead, self._room, opener)
        async with aclosing(self._fetched(ahead, body, start, end)) as blocks:
            async for block in blocks:
                yield block

    async def whole(self, body: ManifestBody) -> bytes:
        """What read() gives of all of a body that is not sealed, at once: several chunks are received
        where they belong."""
        check_readable(body, None)
        if not body.references:
            return body.inline
        only = await self.only_chunk(body)
        if only is not None:
            # Its buffer was used just now, and so was what this copy is made into: both are in the cache,
            # where results of several reads that wait for their bytes would not be.
            return bytes(only)
        result, limits = Result(body.logical_bytes), self._limits
        ahead = FetchAhead(self._initiator, limits.get_read_ahead, self._room, result=result)
        async with aclosing(self._fetched(ahead, body, 0, body.logical_bytes)) as blocks:
            async for _ in blocks:
                pass  # it is there
        return result.take()

    async def _fetched(
        self, ahead: FetchAhead, body: ManifestBody, start: int, end: int
    ) -> AsyncGenerator[Block, None]:
        try:
            async for reference in self.payload_references(body.references, start, end):
                while not ahead.fetch(reference):
                    yield await ahead.oldest(start, end)
                if ahead.full:
                    yield await ahead.oldest(start, end)
            while not ahead.empty:
                yield await ahead.oldest(start, end)
        finally:
            await ahead.close()

    async def payload_references(
        self, references: tuple[Reference, ...], start: int, end: int
    ) -> AsyncIterator[Reference]:
        """Leaves of the Merkle tree that overlap [start, end), in order."""
        for reference in overlapping(references, start, end):
            if reference.kind != MANIFEST:
                yield reference
                continue
            data = await self._initiator.get_chunk(reference)
            below = parse_chunk(bytes(data), reference)
            async for leaf in self.payload_references(below, start, end):
                yield leaf

    async def all_references(self, references: tuple[Reference, ...]) -> AsyncIterator[Reference]:
        """Every chunk of the tree, manifest chunks before what they reference."""
        for reference in references:
            yield reference
            if reference.kind == MANIFEST:
                data = await self._initiator.get_chunk(reference)
                async for below in self.all_references(parse_chunk(bytes(data), reference)):
                    yield below


def _span(range: tuple[int, int] | None, size_bytes: int) -> tuple[int, int]:
    if range is None:
        return 0, size_bytes
    first, last = range
    if first < 0 or last < first or first >= size_bytes:
        raise InvalidRequest(
            f"range {first}-{last} of an object of {size_bytes} bytes", reason="INVALID_RANGE"
        )
    return first, min(last + 1, size_bytes)
