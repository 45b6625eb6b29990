"""Multipart uploads: parts are bodies under names of their own, in the row of the object to be.

    create       an upload's record, under (object's name, upload id), in the space UPLOADS
    put_part     a part, under (object's name, upload id, number), in the space PARTS; a later one of
                 that number takes its place
    complete     one manifest over the parts' chunks, committed as any object; no payload moves
    abort        the record is marked, completion is prevented, record and parts go

An upload ends once. Whoever completes it commits under one operation id, which follows from the upload
and the version of its record: of several the row carries out one, and answers all with that. Who aborts
marks the record first, so that nobody begins to complete it any more, and then uses that id up. What was
begun before the mark is refused as too old before the row forgets that (Decision). A condition of a
completion that does not hold has used the id up, too: the record is then written again, for a new one.

State lies in the object's row (DESIGN 5): no other leader has a say, and nothing of it is listed among
objects. A completed version notes its upload, so that a retry of `complete` finds it done.
Names of the spaces end in a separator and texts of fixed length, so they are read from behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from replicast.buggify import buggify
from replicast.errors import ConditionFailed, NotFound, ReplicastError, Unavailable
from replicast.gateway.bodies import Bodies, Describe, Description, Made, known
from replicast.gateway.context import OPERATION_BASE_BYTES
from replicast.gateway.in_order import in_order
from replicast.gateway.initiation import Initiator, Source
from replicast.gateway.limits import DEFAULT_TENANT, check_metadata
from replicast.gateway.manifest import ManifestBuilder, metadata_of
from replicast.gateway.name_access import BucketRef, Decision, KeyOf, Names, bucket_name
from replicast.gateway.objects import ObjectInfo, object_info
from replicast.gateway.put_stream import PutReport
from replicast.gateway.sealed import Binder, Sealer
from replicast.gateway.version_text import version_text
from replicast.hashing import content_hash
from replicast.wire.documents import ManifestBody
from replicast.wire.name_messages import (
    IF_VERSION,
    NULL_VERSION,
    PARTS,
    UPLOADS,
    Condition,
    NameKey,
    NameResult,
    VersionId,
    VersionSummary,
)

SEPARATOR = "\x01"  # sorts before whatever else a longer name may have there
ID_CHARACTERS = 32
NUMBER_MAX = 10_000
NUMBER_CHARACTERS = 5
COMPLETED_BY = ":upload"  # metadata of the version that an upload became
NEVER_INLINE = 0  # bytes: parts are composed of chunks
ABORTED = "aborted"  # the ETag of a record that is about to go
CHANGED_MAX = 16  # times that a record is another one than it was a moment ago
AT_ONCE = 16  # parts whose manifests are read, or that are removed, at a time


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """An upload that is neither completed nor aborted. `metadata`: {} in a list; `note` as it was given
    when the upload began."""

    bucket: BucketRef
    name: str
    upload_id: str
    version: VersionId
    metadata: Mapping[str, str]
    note: str = ""

    @property
    def started_ns(self) -> int:
        """When its row's leader ordered it (hybrid logical time)."""
        return self.version.time_ns


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A part as it was put last."""

    number: int
    version: VersionId
    size_bytes: int
    etag: str
    short_chunks: int

    @property
    def stored_ns(self) -> int:
        """When its row's leader ordered it (hybrid logical time)."""
        return self.version.time_ns


@dataclass(frozen=True, slots=True)
class Completed:
    """What an upload became."""

    summary: VersionSummary
    copies: int
    metadata: Mapping[str, str]

    def info(self, bucket: BucketRef, name: str) -> ObjectInfo:
        """As other puts answer."""
        return object_info(
            bucket_name(bucket), name, self.summary, copies=self.copies, metadata=self.metadata
        )


class PartsBinder(Binder, Protocol):
    """Makes the root of an object whose parts are sealed."""

    def check_part(self, body: ManifestBody, number: int) -> None:
        """That it is this part of this upload; raises SealBroken."""


def upload_key(upload_id: str) -> KeyOf:
    """From an object's key to that of an upload's record."""
    return lambda key: _in_space(key, UPLOADS, upload_id)


def part_key(upload_id: str, number: int) -> KeyOf:
    """From an object's key to that of a part."""
    return lambda key: _in_space(key, PARTS, upload_id, f"{number:0{NUMBER_CHARACTERS}}")


def _in_space(key: NameKey, space: int, *more: str) -> NameKey:
    name = SEPARATOR.join((key.name, *more))
    return replace(key, bucket_incarnation=key.bucket_incarnation | space, name=name)


class Uploads:
    """The operations on uploads. `new_id` makes upload ids: ID_CHARACTERS characters, not to be
    guessed, those of earlier uploads sorting first."""

    def __init__(
        self, initiator: Initiator, bodies: Bodies, names: Names, new_id: Callable[[], str]
    ) -> None:
        self._initiator, self._bodies, self._names = initiator, bodies, names
        self._new_id = new_id

    # -- begin and end ----------------------------------------------------------------

    async def create(
        self,
        bucket: BucketRef,
        name: str,
        metadata: Mapping[str, str],
        note: str = "",
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> str:
        """Begin; returns the upload id. `metadata` is what completion needs to know, `note` (as long as
        an ETag at most) what lists of uploads and parts do: it travels in the place of an ETag."""
        upload_id = self._new_id()
        described = Description(check_metadata(metadata), note)
        made = await self._bodies.store(b"", 0, known(described), PutReport())
        key_of = upload_key(upload_id)
        await self._names.commit(tenant, bucket, name, made, null=True, key_of=key_of)
        return upload_id

    async def find(
        self, bucket: BucketRef, name: str, upload_id: str, *, tenant: str = DEFAULT_TENANT
    ) -> UploadInfo:
        """The upload; raises NotFound (NO_SUCH_UPLOAD)."""
        upload, aborted = await self._look(tenant, bucket, name, upload_id)
        if aborted:
            raise _no_such_upload()
        return upload

    async def _look(
        self, tenant: str, bucket: BucketRef, name: str, upload_id: str
    ) -> tuple[UploadInfo, bool]:
        """The record, and whether it is marked as aborted."""
        if len(upload_id) != ID_CHARACTERS or SEPARATOR in upload_id or "\0" in upload_id:
            raise _no_such_upload()
        try:
            reply, body = await self._names.fetch(
                tenant, bucket, name, key_of=upload_key(upload_id)
            )
        except NotFound as error:
            raise (_no_such_upload() if error.reason == "NO_SUCH_NAME" else error) from None
        assert body is not None, "nobody marks an upload deleted"
        summary, metadata = reply.summary, metadata_of(body)
        found = UploadInfo(bucket, name, upload_id, summary.version, metadata, summary.etag)
        return found, summary.etag == ABORTED

    async def abort(
        self, bucket: BucketRef, name: str, upload_id: str, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """Forget it; raises NotFound when there is none, and when it was completed meanwhile."""
        for _ in range(CHANGED_MAX):
            since_ns = self._initiator.wall_ns()
            upload, aborted = await self._look(tenant, bucket, name, upload_id)
            if aborted:  # by somebody who may not have come to an end
                await self._forget(tenant, bucket, name, upload_id)
                raise _no_such_upload()
            if await self._replaced(tenant, upload, ABORTED):
                break
        else:
            raise _changing()
        decision = self._decision(upload, since_ns)
        done = await self._names.prevent(tenant, bucket, name, decision)
        await self._forget(tenant, bucket, name, upload_id)
        if done is not None:
            raise _no_such_upload()

    async def _replaced(self, tenant: str, upload: UploadInfo, note: str) -> bool:
        """Write the record again, if it is still this one."""
        described = Description(upload.metadata, note)
        made = await self._bodies.store(b"", 0, known(described), PutReport())
        same = Condition(kind=IF_VERSION, version=upload.version, etag="")
        try:
            await self._names.commit(
                tenant,
                upload.bucket,
                upload.name,
                made,
                when=same,
                null=True,
                key_of=upload_key(upload.upload_id),
            )
        except ConditionFailed:
            return False
        return True

    def _decision(self, upload: UploadInfo, since_ns: int) -> Decision:
        text = f"{upload.upload_id}{SEPARATOR}{version_text(upload.version)}"
        operation = content_hash(self._initiator.algorithm, text.encode())
        return Decision(operation[:OPERATION_BASE_BYTES], since_ns)

    # -- parts ------------------------------------------------------------------------

    async def put_part(
        self,
        bucket: BucketRef,
        name: str,
        upload_id: str,
        number: int,
        source: Source,
        describe: Describe,
        *,
        tenant: str = DEFAULT_TENANT,
        report: PutReport | None = None,
        sealer: Sealer | None = None,
    ) -> PartInfo:
        """Store one, in the place of an earlier one of that number. The caller has found the upload."""
        assert 1 <= number <= NUMBER_MAX
        made = await self._bodies.store(
            source, NEVER_INLINE, describe, report or PutReport(), sealer
        )
        reply = await self._names.commit(
            tenant, bucket, name, made, null=True, key_of=part_key(upload_id, number)
        )
        part = _part(number, reply.summary)
        with contextlib.suppress(ReplicastError):  # it is stored, whatever becomes of this
            await self._drop_if_ended(tenant, bucket, name, upload_id, part)
        return part

    async def _drop_if_ended(
        self, tenant: str, bucket: BucketRef, name: str, upload_id: str, part: PartInfo
    ) -> None:
        """Whoever ended the upload while the part was on its way did not find it to remove it."""
        try:
            await self.find(bucket, name, upload_id, tenant=tenant)
        except NotFound:
            await self._remove_part(tenant, bucket, name, upload_id, part)

    async def parts(
        self,
        bucket: BucketRef,
        name: str,
        upload_id: str,
        *,
        after: int = 0,
        tenant: str = DEFAULT_TENANT,
    ) -> AsyncGenerator[PartInfo, None]:
        """Those with numbers above `after`, in order."""
        key, record = await self._names.locate(tenant, bucket, name)
        prefix = part_key(upload_id, 0)(key).name[:-NUMBER_CHARACTERS]
        at, more = f"{prefix}{after:0{NUMBER_CHARACTERS}}", True
        while more:
            page = await self._names.page(record, prefix, at, rows=(key.row,), within=PARTS)
            more = page.more
            for entry in page.entries:
                at = entry.name
                yield _part(int(at[-NUMBER_CHARACTERS:]), entry.summary)

    # -- complete -----------------------------------------------------------------------

    async def complete(
        self,
        upload: UploadInfo,
        parts: Sequence[PartInfo],
        described: Description,
        *,
        tenant: str = DEFAULT_TENANT,
        when: Condition | None = None,
        binder: PartsBinder | None = None,
    ) -> Completed:
        """Make the object of these parts, in their order; then the upload is gone.

        The caller has checked them against what the client named. Raises NotFound when one was replaced
        meanwhile, and when the upload was aborted or became something else. `binder`: of parts that are
        sealed.
        """
        bucket, name, upload_id = upload.bucket, upload.name, upload.upload_id
        try:
            made = await self._composed(upload, parts, described, tenant, binder)
            reply = await self._commit(tenant, upload, made, when)
        except NotFound as error:
            done = await self.completed(bucket, name, upload_id, tenant=tenant)
            same = done is not None and done.summary.etag == described.etag
            if error.reason != "NO_SUCH_UPLOAD" or done is None or not same:
                raise
            return done  # by somebody else, a moment ago
        await self._forget(tenant, bucket, name, upload_id)
        if reply.summary.etag != made.etag:
            raise _no_such_upload()
        return Completed(reply.summary, reply.copies, made.metadata)

    async def _composed(
        self,
        upload: UploadInfo,
        parts: Sequence[PartInfo],
        described: Description,
        tenant: str,
        binder: PartsBinder | None,
    ) -> Made:
        """The manifest of the object that it becomes."""
        bucket, name, upload_id = upload.bucket, upload.name, upload.upload_id
        begun_ns, report = self._initiator.wall_ns(), PutReport()
        builder = self._bodies.builder()

        async def one(part: PartInfo) -> tuple[ManifestBody, bool]:
            key_of = part_key(upload_id, part.number)
            with contextlib.suppress(NotFound):
                reply, body = await self._names.fetch(tenant, bucket, name, key_of=key_of)
                # Another version may be the same part: a repeat that came late.
                if body is not None and reply.summary.etag == part.etag:
                    if binder is not None:
                        binder.check_part(body, part.number)
                    return body, reply.summary.short_chunks > 0
            await self.find(bucket, name, upload_id, tenant=tenant)
            raise NotFound("a part was replaced", reason="NO_SUCH_PART")

        async with aclosing(in_order(_each(parts), one, AT_ONCE)) as bodies:
            async for body, short in bodies:
                await self._append(builder, body, short, report)
        items = {} if binder is None else binder.items
        metadata = {**described.metadata, **items, COMPLETED_BY: upload_id}
        encoded = builder.finish(check_metadata(metadata))
        await self._store_manifests(builder, report)
        report.logical_bytes = builder.logical_bytes
        described = replace(described, metadata=metadata)
        return self._bodies.made(encoded, builder.references, described, report, begun_ns, binder)

    async def _commit(
        self, tenant: str, upload: UploadInfo, made: Made, when: Condition | None
    ) -> NameResult:
        """Once, whoever else does the same. Raises NotFound, ConditionFailed."""
        bucket, name = upload.bucket, upload.name
        refused = 0
        for _ in range(CHANGED_MAX):
            since_ns = self._initiator.wall_ns()
            found = await self.find(bucket, name, upload.upload_id, tenant=tenant)
            decision = self._decision(found, since_ns)
            try:
                reply = await self._names.commit(
                    tenant, bucket, name, made, when=when, decision=decision
                )
                if buggify("gateway/commit-again"):
                    return await self._names.commit(
                        tenant, bucket, name, made, when=when, decision=decision
                    )
                return reply
            except ConditionFailed:
                # Of this one or of another try: it is ours if it fails with an id of our own, too.
                ours = await self._replaced(tenant, found, found.note)
                refused += ours
                if when is not None and refused > 1:
                    raise
        raise _changing()

    async def completed(
        self, bucket: BucketRef, name: str, upload_id: str, *, tenant: str = DEFAULT_TENANT
    ) -> Completed | None:
        """The newest version, when it is what the upload became: a retry of `complete` came late."""
        try:
            reply, body = await self._names.fetch(tenant, bucket, name)
        except NotFound:
            return None
        metadata = {} if body is None else metadata_of(body)
        same = metadata.get(COMPLETED_BY) == upload_id
        return Completed(reply.summary, reply.copies, metadata) if same else None

    async def _append(
        self, builder: ManifestBuilder, body: ManifestBody, short: bool, report: PutReport
    ) -> None:
        copies = self._initiator.table.policy.copies
        leaves = self._bodies.payload_references(body.references, 0, body.logical_bytes)
        async for reference in leaves:
            if short:  # which of its chunks, only they know
                report.add(await self._initiator.hold_chunk(reference), copies)
            builder.add(replace(reference, offset=builder.logical_bytes))
            await self._store_manifests(builder, report)

    async def _store_manifests(self, builder: ManifestBuilder, report: PutReport) -> None:
        for chunk in builder.take_chunks():
            placed = await self._initiator.put_chunk(chunk.data)
            report.add(placed, self._initiator.table.policy.copies)

    async def _forget(self, tenant: str, bucket: BucketRef, name: str, upload_id: str) -> None:
        """The record first: what is left of parts when this is interrupted belongs to nothing."""

        async def remove_part(part: PartInfo) -> None:
            await self._remove_part(tenant, bucket, name, upload_id, part)

        await self._remove(tenant, bucket, name, NULL_VERSION, upload_key(upload_id))
        if buggify("gateway/parts-left"):
            return
        parts = self.parts(bucket, name, upload_id, tenant=tenant)
        async with aclosing(in_order(parts, remove_part, AT_ONCE)) as removed:
            async for _ in removed:
                pass

    async def _remove_part(
        self, tenant: str, bucket: BucketRef, name: str, upload_id: str, part: PartInfo
    ) -> None:
        key_of = part_key(upload_id, part.number)
        await self._remove(tenant, bucket, name, part.version, key_of)

    async def _remove(
        self, tenant: str, bucket: BucketRef, name: str, version: VersionId, key_of: KeyOf
    ) -> None:
        with contextlib.suppress(NotFound):  # somebody else was faster
            await self._names.remove(tenant, bucket, name, version, key_of=key_of)

    # -- looking --------------------------------------------------------------------------

    async def list(
        self, bucket: BucketRef, prefix: str = "", *, after: str = "", tenant: str = DEFAULT_TENANT
    ) -> AsyncGenerator[UploadInfo, None]:
        """Uploads of names with that prefix, by name and then by age. `after`: behind all of this name,
        or with an upload id (`name`, SEPARATOR, id) behind that one."""
        record = await self._names.record(tenant, bucket)
        more = True
        while more:
            page = await self._names.page(record, prefix, after, within=UPLOADS)
            more = page.more
            for entry in page.entries:
                after = entry.name
                if entry.summary.etag == ABORTED:
                    continue
                name, _, upload_id = after.rpartition(SEPARATOR)
                summary = entry.summary
                yield UploadInfo(bucket, name, upload_id, summary.version, {}, summary.etag)


def _part(number: int, summary: VersionSummary) -> PartInfo:
    return PartInfo(
        number,
        summary.version,
        summary.logical_size,
        summary.etag,
        summary.short_chunks,
    )


async def _each(parts: Sequence[PartInfo]) -> AsyncGenerator[PartInfo, None]:
    for part in parts:
        yield part


def _changing() -> Unavailable:
    return Unavailable("the upload is changed by others all the time: try again", reason="CONFLICT")


def _no_such_upload() -> NotFound:
    return NotFound("there is no such upload", reason="NO_SUCH_UPLOAD")
