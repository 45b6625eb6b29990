"""Objects over chunks and names: what `replicast.connect()`, the API socket and later gateways call.

A put streams: blocks are cut into chunks of `chunk_size_bytes`, at most `put_pipeline`
of them are in flight, references fold into manifests, and one NAME_PUT commits at the
end, when every chunk is durable. Up to the bucket's inline limit there is nothing but
that NAME_PUT. A get fetches at most `get_read_ahead` chunks ahead of the reader. All puts and gets
together hold `pipeline_bytes` beyond one chunk each.

No sockets here: chunks, names and tables come through the `Initiator` protocol.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from replicast.buggify import buggified
from replicast.errors import InvalidRequest, NotFound, Unavailable
from replicast.flexhash.names import bucket_seed, nhid, row_of_name, rows_of_bucket
from replicast.gateway.conditions import condition
from replicast.gateway.copy_stream import HoldPipeline
from replicast.gateway.fetch_ahead import FetchAhead
from replicast.gateway.initiation import Block, BucketView, Initiator, Source
from replicast.gateway.limits import (
    DEFAULT_TENANT,
    check_after,
    check_metadata,
    check_name,
    check_prefix,
)
from replicast.gateway.manifest import (
    ManifestBuilder,
    metadata_of,
    overlapping,
    parse_body,
    parse_chunk,
    with_metadata,
)
from replicast.gateway.put_stream import PutPipeline, PutReport, cut
from replicast.gateway.room import Room
from replicast.hashing import HashAlgorithm, content_hash
from replicast.units import MIB
from replicast.wire.documents import MANIFEST, ManifestBody, Reference
from replicast.wire.name_messages import (
    DELETE_MARKER,
    NO_VERSION,
    Condition,
    ListEntry,
    NameDelete,
    NameGet,
    NameKey,
    NameList,
    NamePut,
    NameRestored,
    NameResult,
    NameVersionList,
    NameVersions,
    OperationTime,
    VersionId,
    VersionSummary,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

LIST_PAGE_ENTRIES = 1000
AFTER_ALL = "\U0010ffff"  # sorts behind every name that shares the prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLimits:
    """Sizes and windows of the object layer."""

    chunk_size_bytes: int = MIB
    put_pipeline: int = 8
    get_read_ahead: int = 8
    pipeline_bytes: int = 32 * MIB


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One version of one object, as a client sees it."""

    bucket: str
    name: str
    version: VersionId
    size_bytes: int
    etag: str
    delete_marker: bool
    copies: int = 0
    short_chunks: int = 0  # chunks that were committed with fewer copies and not repaired since
    metadata: Mapping[str, str] | None = None  # None: not asked for (it is in the body)

    @property
    def modified_ns(self) -> int:
        """When the row's leader ordered it (hybrid logical time)."""
        return self.version.time_ns


class Objects:
    """The operations on objects of one cluster."""

    def __init__(self, initiator: Initiator, limits: ObjectLimits) -> None:
        self._initiator, self._limits = initiator, limits
        self._room = Room(limits.pipeline_bytes)

    # -- put ------------------------------------------------------------------------

    async def put(
        self,
        bucket: str,
        name: str,
        source: Source,
        *,
        tenant: str = DEFAULT_TENANT,
        metadata: Mapping[str, str] | None = None,
        when: Condition | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """Store one version; durable on return. Nothing becomes visible unless it returns."""
        _, record = await self._key(tenant, bucket, name)
        begun_ns = self._initiator.wall_ns()
        report = report or PutReport()
        metadata = check_metadata(metadata or {})
        body = await self._put_body(record.inline_max_bytes, source, metadata, report)
        return await self._commit(tenant, bucket, name, body, begun_ns, when, report, metadata)

    async def copy(
        self,
        bucket: str,
        name: str,
        to_bucket: str,
        to_name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        metadata: Mapping[str, str] | None = None,
        when: Condition | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """Store a version anew under another name, without moving its bytes: every chunk is held
        where it lies. `metadata`: in place of the source's. Otherwise as put()."""
        await self._key(tenant, to_bucket, to_name)
        begun_ns = self._initiator.wall_ns()
        _, source = await self.head(bucket, name, tenant=tenant, version=version)
        kept = metadata_of(source) if metadata is None else check_metadata(metadata)
        report = report or PutReport()
        report.logical_bytes, report.inline = source.logical_bytes, not source.references
        pipeline = HoldPipeline(self._initiator, self._limits.put_pipeline, report)
        try:
            async for reference in self.all_references(source.references):
                await pipeline.hold(reference)
            await pipeline.finish()
        finally:
            await pipeline.close()
        body = with_metadata(source, kept)
        return await self._commit(tenant, to_bucket, to_name, body, begun_ns, when, report, kept)

    async def _commit(
        self,
        tenant: str,
        bucket: str,
        name: str,
        body: bytes,
        begun_ns: int,
        when: Condition | None,
        report: PutReport,
        metadata: dict[str, str],
    ) -> ObjectInfo:
        """The last step of a put: all chunks of the body are durable."""
        body_hash = content_hash(self._initiator.algorithm, body)
        reply = await self._named(
            tenant,
            bucket,
            name,
            lambda key: NamePut(
                key=key,
                time=OperationTime(first_sent_ns=self._initiator.wall_ns(), begun_ns=begun_ns),
                condition=when or condition(),
                null=False,
                logical_size=report.logical_bytes,
                etag=body_hash[:16].hex(),
                body_hash=body_hash,
                body=body,
                short_of_copies=tuple(report.short_of_copies),
            ),
        )
        assert isinstance(reply, NameResult)
        return _info(bucket, name, reply.summary, copies=reply.copies, metadata=metadata)

    async def _put_body(
        self, inline_max_bytes: int, source: Source, metadata: dict[str, str], report: PutReport
    ) -> bytes:
        chunks = cut(source, self._limits.chunk_size_bytes)
        first = await anext(chunks, b"")
        second = await anext(chunks, None)
        builder = ManifestBuilder(
            algorithm=self._initiator.algorithm, copies=self._initiator.table.policy.copies
        )
        if second is None and len(first) <= inline_max_bytes:
            report.logical_bytes, report.inline = len(first), True
            return builder.finish(metadata, inline=bytes(first))
        width = self._limits.put_pipeline
        pipeline = PutPipeline(self._initiator, builder, width, self._room, report)
        try:
            await pipeline.put(first)
            if second is not None:
                await pipeline.put(second)
            del first, second  # or they would stay in memory until the end
            async for chunk in chunks:
                await pipeline.put(chunk)
            return await pipeline.finish(metadata)
        finally:
            await pipeline.close()

    # -- get ------------------------------------------------------------------------

    async def head(
        self,
        bucket: str,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
    ) -> tuple[ObjectInfo, ManifestBody]:
        """The version (newest when NO_VERSION) and its manifest; raises NotFound."""
        reply = await self._named(
            tenant, bucket, name, lambda key: NameGet(key=key, version=version, want_body=True)
        )
        assert isinstance(reply, NameResult)
        if reply.summary.kind == DELETE_MARKER:
            raise NotFound(f"{bucket}/{name} is deleted", reason="NO_SUCH_NAME")
        body = _checked(reply, self._initiator.algorithm)
        info = _info(bucket, name, reply.summary, copies=reply.copies, metadata=metadata_of(body))
        return info, body

    async def get(
        self,
        bucket: str,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        range: tuple[int, int] | None = None,
    ) -> AsyncIterator[Block]:
        """The verified bytes in order; `range` is (first, last), both included, as in HTTP."""
        _, body = await self.head(bucket, name, tenant=tenant, version=version)
        async with aclosing(self.read(body, range)) as blocks:
            async for block in blocks:
                yield block

    async def read(
        self, body: ManifestBody, range: tuple[int, int] | None = None
    ) -> AsyncGenerator[Block, None]:
        """The bytes that `body` describes, or those of `range`."""
        start, end = _span(range, body.logical_bytes)
        if body.inline:
            yield body.inline[start:end]
            return
        ahead = FetchAhead(self._initiator, self._limits.get_read_ahead, self._room)
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

    # -- the rest -------------------------------------------------------------------

    async def delete(
        self,
        bucket: str,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        when: Condition | None = None,
    ) -> ObjectInfo:
        """Put a delete marker, or remove one version for good."""
        reply = await self._named(
            tenant,
            bucket,
            name,
            lambda key: NameDelete(
                key=key,
                time=self._time(),
                condition=when or condition(),
                version=version,
                null=False,
                absent_too=False,
            ),
        )
        assert isinstance(reply, NameResult)
        return _info(bucket, name, reply.summary, copies=reply.copies)

    async def restored(
        self, bucket: str, name: str, version: VersionId, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """All chunks of a version have their copies again: it is no longer short of them."""
        await self._named(
            tenant,
            bucket,
            name,
            lambda key: NameRestored(key=key, time=self._time(), version=version),
        )

    async def versions(
        self, bucket: str, name: str, *, tenant: str = DEFAULT_TENANT
    ) -> list[ObjectInfo]:
        """All versions and delete markers, newest first; NotFound when there are none."""
        reply = await self._named(tenant, bucket, name, lambda key: NameVersions(key=key))
        assert isinstance(reply, NameVersionList)
        if not reply.versions:
            raise NotFound(f"there is no object {bucket}/{name}", reason="NO_SUCH_NAME")
        return [_info(bucket, name, summary) for summary in reply.versions]

    async def list(
        self,
        bucket: str,
        prefix: str = "",
        *,
        tenant: str = DEFAULT_TENANT,
        after: str = "",
        delimiter: str = "",
        deleted: bool = False,
    ) -> AsyncIterator[ObjectInfo | str]:
        """Objects in byte order; with a delimiter, a common prefix (str) in place of its names.

        `deleted`: names too whose newest version is a delete marker.
        """
        check_prefix(prefix)
        check_after(after)
        record = await self._initiator.bucket(tenant, bucket)
        more = True
        while more:
            try:
                page, more = await self._page(record, prefix, after, deleted)
            except NotFound:
                record = await self._initiator.bucket(tenant, bucket, record.incarnation)
                continue
            for entry in page:
                if entry.name <= after and after.endswith(AFTER_ALL):
                    continue  # under a common prefix that was given already
                common = _common_prefix(entry.name, prefix, delimiter)
                after = common + AFTER_ALL if common else entry.name
                if common:
                    yield common
                    more = True
                    break
                yield _info(record.bucket, entry.name, entry.summary)

    async def row(self, bucket: str, name: str, *, tenant: str = DEFAULT_TENANT) -> int:
        """The row that keeps the versions of a name."""
        return (await self.key(bucket, name, tenant=tenant)).row

    async def key(self, bucket: str, name: str, *, tenant: str = DEFAULT_TENANT) -> NameKey:
        """The name as row and full names."""
        key, _ = await self._key(tenant, bucket, name)
        return key

    async def _page(
        self, record: BucketView, prefix: str, after: str, deleted: bool
    ) -> tuple[tuple[ListEntry, ...], bool]:
        seed = bucket_seed(record.tenant, record.bucket, record.incarnation)
        rows = rows_of_bucket(seed, record.spread, self._initiator.table.policy.row_count)
        done = await self._initiator.list_page(
            NameList(
                rows=tuple(rows),
                tenant=record.tenant,
                bucket=record.bucket,
                bucket_incarnation=record.incarnation,
                prefix=prefix,
                after=after,
                limit=buggified("gateway/page-short", LIST_PAGE_ENTRIES, 2),
                deleted=deleted,
            )
        )
        return done.entries, done.more

    async def _named(
        self, tenant: str, bucket: str, name: str, request_of: Callable[[NameKey], Message]
    ) -> Message:
        """The row leader's answer. When it says that there is no such bucket the bucket is looked
        up anew: it may have been removed and made again through another gateway."""
        key, record = await self._key(tenant, bucket, name)
        try:
            return await self._initiator.named(request_of(key), key.row)
        except NotFound as error:
            if error.reason != Reason.NO_SUCH_BUCKET.name:
                raise
        key, _ = await self._key(tenant, bucket, name, record.incarnation)
        return await self._initiator.named(request_of(key), key.row)

    def _time(self) -> OperationTime:
        now_ns = self._initiator.wall_ns()
        return OperationTime(first_sent_ns=now_ns, begun_ns=now_ns)

    async def _key(
        self, tenant: str, bucket: str, name: str, gone: int = 0
    ) -> tuple[NameKey, BucketView]:
        check_name(name)
        record = await self._initiator.bucket(tenant, bucket, gone)
        row = row_of_name(
            bucket_seed(tenant, bucket, record.incarnation),
            nhid(tenant, bucket, name),
            record.spread,
            self._initiator.table.policy.row_count,
        )
        key = NameKey(
            row=row,
            tenant=tenant,
            bucket=bucket,
            bucket_incarnation=record.incarnation,
            name=name,
        )
        return key, record


def _span(range: tuple[int, int] | None, size_bytes: int) -> tuple[int, int]:
    if range is None:
        return 0, size_bytes
    first, last = range
    if first < 0 or last < first or first >= size_bytes:
        raise InvalidRequest(
            f"range {first}-{last} of an object of {size_bytes} bytes", reason="INVALID_RANGE"
        )
    return first, min(last + 1, size_bytes)


def _checked(reply: NameResult, algorithm: HashAlgorithm) -> ManifestBody:
    if content_hash(algorithm, reply.body) != reply.summary.body_hash:
        raise Unavailable("the manifest does not match its hash", reason="HASH_MISMATCH")
    return parse_body(reply.body)


def _info(
    bucket: str,
    name: str,
    summary: VersionSummary,
    *,
    copies: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> ObjectInfo:
    return ObjectInfo(
        bucket=bucket,
        name=name,
        version=summary.version,
        size_bytes=summary.logical_size,
        etag=summary.etag,
        delete_marker=summary.kind == DELETE_MARKER,
        copies=copies,
        short_chunks=summary.short_chunks,
        metadata=metadata,
    )


def _common_prefix(name: str, prefix: str, delimiter: str) -> str:
    if not delimiter:
        return ""
    at = name.find(delimiter, len(prefix))
    return name[: at + len(delimiter)] if at >= 0 else ""
