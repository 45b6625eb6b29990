"""Objects over chunks and names: what `replicast.connect()`, the API socket and later gateways call.

A put stores the bytes (bodies.py) and commits with one named operation at the end (name_access.py),
when every chunk is durable; a get reads the manifest of a version, then its chunks.

No sockets here: chunks, names and tables come through the `Initiator` protocol.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from replicast.errors import NotFound
from replicast.flexhash.versioning import Versioning
from replicast.gateway.bodies import Bodies, Describe, Description, ObjectLimits, known
from replicast.gateway.initiation import Block, Initiator, Source
from replicast.gateway.limits import DEFAULT_TENANT, check_after, check_metadata, check_prefix
from replicast.gateway.manifest import metadata_of
from replicast.gateway.name_access import BucketRef, Names, bucket_name
from replicast.gateway.put_stream import PutReport
from replicast.gateway.sealed import Binder, Sealer
from replicast.wire.documents import ManifestBody
from replicast.wire.name_messages import (
    DELETE_MARKER,
    NO_VERSION,
    NULL_VERSION,
    Condition,
    NameKey,
    NameRestored,
    NameResult,
    NameVersionList,
    NameVersions,
    VersionId,
    VersionSummary,
)

# Sorts behind what shares the prefix, but for names that hold this very character behind it.
AFTER_ALL = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One version of one object, as a client sees it."""

    bucket: str
    name: str
    version: VersionId
    size_bytes: int
    etag: str
    delete_marker: bool
    null: bool = False  # the version without an id of its own for clients of S3
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
        self._initiator = initiator
        self.bodies, self.names = Bodies(initiator, limits), Names(initiator)

    # -- put ------------------------------------------------------------------------

    async def put(
        self,
        bucket: BucketRef,
        name: str,
        source: Source,
        *,
        tenant: str = DEFAULT_TENANT,
        metadata: Mapping[str, str] | None = None,
        describe: Describe | None = None,
        when: Condition | None = None,
        report: PutReport | None = None,
        sealer: Sealer | None = None,
    ) -> ObjectInfo:
        """Store one version; durable on return. Nothing becomes visible unless it returns.

        `describe` in place of `metadata` when that is known at the end only. `sealer`: encrypted.
        """
        record = await self.names.place(tenant, bucket, name)
        described = Description(check_metadata(metadata or {}))
        made = await self.bodies.store(
            source,
            record.inline_max_bytes,
            describe or known(described),
            report or PutReport(),
            sealer,
        )
        reply = await self.names.commit(tenant, bucket, name, made, when=when)
        return object_info(
            bucket_name(bucket), name, reply.summary, copies=reply.copies, metadata=made.metadata
        )

    async def copy(
        self,
        bucket: BucketRef,
        name: str,
        to_bucket: BucketRef,
        to_name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        metadata: Mapping[str, str] | None = None,
        etag: str = "",
        when: Condition | None = None,
        report: PutReport | None = None,
        binder: Binder | None = None,
    ) -> ObjectInfo:
        """Store a version anew under another name, without moving its bytes: every chunk is held
        where it lies. `metadata`: in place of the source's; `binder`: of what is sealed. Otherwise as
        put()."""
        await self.names.place(tenant, to_bucket, to_name)
        _, source = await self.head(bucket, name, tenant=tenant, version=version)
        kept = metadata_of(source) if metadata is None else check_metadata(metadata)
        described = Description(kept, etag)
        made = await self.bodies.hold(source, described, report or PutReport(), binder)
        reply = await self.names.commit(tenant, to_bucket, to_name, made, when=when)
        return object_info(
            bucket_name(to_bucket), to_name, reply.summary, copies=reply.copies, metadata=kept
        )

    # -- get ------------------------------------------------------------------------

    async def head(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
    ) -> tuple[ObjectInfo, ManifestBody]:
        """The version (newest when NO_VERSION) and its manifest; raises NotFound."""
        reply, body = await self._fetch(tenant, bucket, name, version)
        info = object_info(
            bucket_name(bucket),
            name,
            reply.summary,
            copies=reply.copies,
            metadata=metadata_of(body),
        )
        return info, body

    async def _fetch(
        self, tenant: str, bucket: BucketRef, name: str, version: VersionId
    ) -> tuple[NameResult, ManifestBody]:
        reply, body = await self.names.fetch(tenant, bucket, name, version)
        if body is None:
            raise _deleted(bucket, name)
        return reply, body

    async def summary(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
    ) -> ObjectInfo:
        """As head(), but without manifest and metadata: a small answer, whatever is inline."""
        reply, _ = await self.names.fetch(tenant, bucket, name, version, want_body=False)
        if reply.summary.kind == DELETE_MARKER:
            raise _deleted(bucket, name)
        return object_info(bucket_name(bucket), name, reply.summary, copies=reply.copies)

    async def look(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
    ) -> tuple[ObjectInfo, ManifestBody | None]:
        """As head(), but a delete marker is found too; it has no manifest."""
        try:
            return await self.head(bucket, name, tenant=tenant, version=version)
        except NotFound as error:
            if error.reason != "NO_SUCH_NAME":
                raise
            _, record = await self.names.locate(tenant, bucket, name)
            if record.versioning == Versioning.OFF:
                raise  # no marker was ever made
            for each in await self.versions(bucket, name, tenant=tenant):
                if version in (NO_VERSION, NULL_VERSION if each.null else each.version):
                    if not each.delete_marker:
                        raise  # somebody has put it meanwhile
                    return each, None
            raise

    async def get(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        range: tuple[int, int] | None = None,
    ) -> AsyncIterator[Block]:
        """The verified bytes in order; `range` is (first, last), both included, as in HTTP."""
        _, body = await self._fetch(tenant, bucket, name, version)
        async with aclosing(self.bodies.read(body, range)) as blocks:
            async for block in blocks:
                yield block

    async def read(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
    ) -> bytes:
        """What get() gives of the whole object, at once: small ones need no generator."""
        _, body = await self.names.fetch(tenant, bucket, name, version)
        if body is None:
            raise _deleted(bucket, name)
        return await self.bodies.whole(body)

    # -- the rest -------------------------------------------------------------------

    async def delete(
        self,
        bucket: BucketRef,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        version: VersionId = NO_VERSION,
        when: Condition | None = None,
        absent_too: bool = False,
    ) -> ObjectInfo:
        """Put a delete marker, or remove one version for good; without versioning there is but one.
        `absent_too`: a marker also where there is nothing to mark."""
        if version == NO_VERSION:
            reply = await self.names.delete(tenant, bucket, name, when=when, absent_too=absent_too)
        else:
            reply = await self.names.remove(tenant, bucket, name, version, when=when)
        return object_info(bucket_name(bucket), name, reply.summary, copies=reply.copies)

    async def restored(
        self, bucket: BucketRef, name: str, version: VersionId, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """All chunks of a version have their copies again: it is no longer short of them."""
        await self.names.ask(
            tenant,
            bucket,
            name,
            lambda key, _: NameRestored(key=key, time=self.names.time(), version=version),
        )

    async def versions(
        self, bucket: BucketRef, name: str, *, tenant: str = DEFAULT_TENANT
    ) -> list[ObjectInfo]:
        """All versions and delete markers, newest first; NotFound when there are none."""
        reply = await self.names.ask(tenant, bucket, name, lambda key, _: NameVersions(key=key))
        assert isinstance(reply, NameVersionList)
        if not reply.versions:
            raise NotFound(
                f"there is no object {bucket_name(bucket)}/{name}", reason="NO_SUCH_NAME"
            )
        return [object_info(bucket_name(bucket), name, summary) for summary in reply.versions]

    async def list(
        self,
        bucket: BucketRef,
        prefix: str = "",
        *,
        tenant: str = DEFAULT_TENANT,
        after: str = "",
        delimiter: str = "",
        deleted: bool = False,
    ) -> AsyncGenerator[ObjectInfo | str, None]:
        """Objects in byte order; with a delimiter, a common prefix (str) in place of its names.

        `deleted`: names too whose newest version is a delete marker.
        """
        check_prefix(prefix)
        check_after(after)
        record = await self.names.record(tenant, bucket)
        given = _given_prefix(after, delimiter)
        more = True
        while more:
            try:
                page = await self.names.page(record, prefix, after, deleted=deleted)
            except NotFound:
                record = await self.names.record(tenant, bucket, record.incarnation)
                continue
            more = page.more
            for entry in page.entries:
                common = _common_prefix(entry.name, prefix, delimiter)
                after = max(entry.name, common + AFTER_ALL) if common else entry.name
                if not common:
                    yield object_info(record.bucket, entry.name, entry.summary)
                elif common != given:
                    given = common
                    yield common

    async def row(self, bucket: BucketRef, name: str, *, tenant: str = DEFAULT_TENANT) -> int:
        """The row that keeps the versions of a name."""
        return (await self.key(bucket, name, tenant=tenant)).row

    async def key(self, bucket: BucketRef, name: str, *, tenant: str = DEFAULT_TENANT) -> NameKey:
        """The name as row and full names."""
        key, _ = await self.names.locate(tenant, bucket, name)
        return key


def _deleted(bucket: BucketRef, name: str) -> NotFound:
    return NotFound(f"{bucket_name(bucket)}/{name} is deleted", reason="NO_SUCH_NAME")


def object_info(
    bucket: str,
    name: str,
    summary: VersionSummary,
    *,
    copies: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> ObjectInfo:
    """From what the row's leader says of a version."""
    return ObjectInfo(
        bucket=bucket,
        name=name,
        version=summary.version,
        size_bytes=summary.logical_size,
        etag=summary.etag,
        delete_marker=summary.kind == DELETE_MARKER,
        null=summary.null,
        copies=copies,
        short_chunks=summary.short_chunks,
        metadata=metadata,
    )


def _common_prefix(name: str, prefix: str, delimiter: str) -> str:
    if not delimiter:
        return ""
    at = name.find(delimiter, len(prefix))
    return name[: at + len(delimiter)] if at >= 0 else ""


def _given_prefix(after: str, delimiter: str) -> str:
    """The common prefix behind which a listing goes on, "" for none. What it stands for may go on
    behind AFTER_ALL, which a name may hold too."""
    common = after.removesuffix(AFTER_ALL)
    return common if delimiter and common != after and common.endswith(delimiter) else ""
