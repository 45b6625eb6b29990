"""PutObject, CopyObject, GetObject, HeadObject, DeleteObject, DeleteObjects, GetObjectAttributes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from replicast.errors import NotFound, ReplicastError
from replicast.gateway.bodies import Description, known
from replicast.gateway.conditions import condition
from replicast.gateway.in_order import in_order
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.s3 import answers
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.admission import SMALL_BODY_BYTES
from replicast.gateway.s3.algorithms import ChecksumType
from replicast.gateway.s3.attributed_parts import attributed_parts, part_checksum_headers
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.claims import read_claims, wants_checksums
from replicast.gateway.s3.conditions import (
    Current,
    copy_source_conditions,
    delete_condition,
    range_holds,
    read_conditions,
)
from replicast.gateway.s3.copy_source import (
    CopySource,
    Directive,
    check_changes_something,
    copy_source,
    metadata_directive,
)
from replicast.gateway.s3.dates import http_date
from replicast.gateway.s3.digests import Sums
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.guarded_write import guarded_write
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.headers import (
    answered_content_headers,
    content_headers,
    user_metadata,
    user_metadata_headers,
    wanted_attributes,
)
from replicast.gateway.s3.listings import STANDARD
from replicast.gateway.s3.lookup import DELETE_MARKER_HEADER, find_version
from replicast.gateway.s3.paging import part_number
from replicast.gateway.s3.part_sums import ObjectChecksum
from replicast.gateway.s3.ranges import ByteRange, parse_range
from replicast.gateway.s3.refusals import s3_error
from replicast.gateway.s3.request_bodies import DeletedObject, read_deletes
from replicast.gateway.s3.small_body import small_body
from replicast.gateway.s3.sse import Encryption, answer_headers
from replicast.gateway.s3.sse_bodies import BodyOpener
from replicast.gateway.s3.sse_envelope import Place
from replicast.gateway.s3.sse_headers import CustomerKey, Wanted
from replicast.gateway.s3.stored import Stored, read_stored
from replicast.gateway.s3.unsupported import check_write_headers
from replicast.gateway.s3.upload_source import OBJECT_BYTES_MAX, UploadSource
from replicast.gateway.s3.versions import (
    HEADER,
    new_version_headers,
    read_version,
    version_headers,
    version_of,
)
from replicast.wire.control_messages import BucketInfo
from replicast.wire.documents import ManifestBody
from replicast.wire.name_messages import NO_VERSION, Condition, VersionId

DELETES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Copied:
    """The source of a copy. `opener`: None for what is not encrypted; `customer`: whose key it needs."""

    bucket: BucketInfo
    info: ObjectInfo
    body: ManifestBody
    customer: CustomerKey | None
    opener: BodyOpener | None


class ObjectCalls:
    """The operations on objects."""

    def __init__(
        self, objects: Objects, access: Access, threads: HashExecutor, encryption: Encryption
    ) -> None:
        self._objects, self._access, self._threads = objects, access, threads
        self._encryption = encryption

    # -- put ------------------------------------------------------------------------

    async def put(self, call: Call) -> Answer:
        """PutObject."""
        record = await self._access.bucket(call.user, call.bucket)
        check_write_headers(call.head)
        if call.body.length_bytes > OBJECT_BYTES_MAX:
            raise S3Error("EntityTooLarge", MaxSizeAllowed=str(OBJECT_BYTES_MAX))
        content, user = content_headers(call.head), user_metadata(call.head)
        wanted = self._encryption.wanted(call, record)
        chunks = self._objects.bodies.chunk_hashes(
            call.body.length_bytes, record.inline_max_bytes, sealed=wanted.sealed
        )
        source = UploadSource(
            call.stream, call.body, read_claims(call.head), self._threads, chunks=chunks
        )

        async def describe() -> Description:
            sums = await source.finish()
            metadata = Stored(content, user, _checksum_of(sums)).metadata()
            return Description(metadata, sums.etag)

        async with guarded_write(self._objects, record, call) as when:
            info = await self._objects.put(
                record,
                call.key,
                source,
                describe=describe,
                when=when,
                sealer=self._encryption.sealer(wanted, Place(record.incarnation, call.key)),
            )
        headers = {
            "etag": _quoted(info.etag),
            **new_version_headers(info, record.versioning),
            **wanted.headers,
            **_checksum_of(source.sums).headers(),
        }
        return Answer(200, headers)

    async def copy(self, call: Call) -> Answer:
        """CopyObject: no bytes move, unless they are under another key there."""
        record = await self._access.bucket(call.user, call.bucket)
        source = copy_source(call.head)
        check_write_headers(call.head)
        directive = metadata_directive(call.head)
        check_changes_something(source, call.bucket, call.key, call.head.headers, directive)
        wanted = self._encryption.wanted(call, record)
        copied = await self.source(call, source)
        found = copied.info
        kept = read_stored(found.metadata or {})
        if directive is Directive.REPLACE:
            content, user = content_headers(call.head), user_metadata(call.head)
            kept = Stored(content, user, kept.checksum)
        kept = Stored(kept.content, kept.user, kept.checksum)
        if found.size_bytes > OBJECT_BYTES_MAX:
            raise S3Error(
                "InvalidRequest",
                "The specified copy source is larger than the maximum allowable size for a copy "
                f"source: {OBJECT_BYTES_MAX}",
            )
        async with guarded_write(self._objects, record, call) as when:
            info = await self._copy(record, call.key, source, copied, wanted, kept, when)
        checksums = _written(kept.checksum)
        headers = new_version_headers(info, record.versioning) | wanted.headers
        if source.version:
            headers["x-amz-copy-source-version-id"] = version_of(found)
        return xml(answers.copied_object(info.etag, info.modified_ns, checksums), headers)

    async def _copy(
        self,
        record: BucketInfo,
        key: str,
        source: CopySource,
        copied: Copied,
        wanted: Wanted,
        kept: Stored,
        when: Condition | None,
    ) -> ObjectInfo:
        place, etag = Place(record.incarnation, key), copied.info.etag
        binder = None
        if copied.opener is not None:
            binder = self._encryption.rebinder(
                copied.body, copied.opener, copied.customer, wanted, place
            )
        if binder is None and (copied.opener is not None or wanted.sealed):
            return await self._objects.put(
                record,
                key,
                self._objects.bodies.read(copied.body, opener=copied.opener),
                describe=known(Description(kept.metadata(), etag)),
                when=when,
                sealer=self._encryption.sealer(wanted, place),
            )
        return await self._objects.copy(
            copied.bucket,
            source.key,
            record,
            key,
            version=copied.info.version,
            metadata=kept.metadata(),
            etag=etag,
            when=when,
            binder=binder,
        )

    async def source(self, call: Call, source: CopySource) -> Copied:
        """What is to be copied, by its own bucket's rules and conditions."""
        bucket = await self._access.bucket(call.user, source.bucket)
        customer = self._encryption.copy_source_customer(call)
        version = read_version(source.version or None)
        try:
            found, body = await find_version(self._objects, bucket, source.key, version)
        except S3Error as error:
            if error.code.name != "MethodNotAllowed":
                raise
            raise S3Error(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by "
                "version id.",
            ) from None
        opener = self._encryption.opener(body, Place(bucket.incarnation, source.key), customer)
        copy_source_conditions(call.head).check(_current(found))
        return Copied(bucket, found, body, customer, opener)

    # -- get ------------------------------------------------------------------------

    async def get(self, call: Call) -> Answer:
        """GetObject."""
        status, headers, span, body, opener = await self._read(call)
        length = span.length_bytes if span is not None else body.logical_bytes
        bounds = None if span is None else (span.first, span.last)
        bodies = self._objects.bodies
        if length <= SMALL_BODY_BYTES:  # what is held at once needs no room of its own
            inline = bodies.inline(body, bounds, opener)
            if inline is not None:
                return Answer(status, headers, bytes(inline), length)
        return Answer(status, headers, bodies.read(body, bounds, opener), length)

    async def head(self, call: Call) -> Answer:
        """HeadObject."""
        status, headers, span, body, _ = await self._read(call)
        length = span.length_bytes if span is not None else body.logical_bytes
        return Answer(status, headers, b"", length)

    async def _read(
        self, call: Call
    ) -> tuple[int, dict[str, str], ByteRange | None, ManifestBody, BodyOpener | None]:
        record = await self._access.bucket(call.user, call.bucket)
        wanted = wants_checksums(call.head)
        customer = self._encryption.customer(call)
        version = read_version(call.parameter("versionId"))
        info, body = await find_version(self._objects, record, call.key, version)
        validators = {
            "last-modified": http_date(info.modified_ns),
            "etag": _quoted(info.etag),
        }
        try:
            read_conditions(call.head).check(_current(info))
        except S3Error as error:
            raise error.with_headers(validators) from None  # RFC 9110, 15.4.5
        stored = read_stored(info.metadata or {}, sums=wanted)
        headers = {
            **validators,
            "accept-ranges": "bytes",
            **answered_content_headers(stored.content, call.request.parameters),
            **user_metadata_headers(stored.user),
            **version_headers(info, record.versioning),
            **answer_headers(info.metadata or {}, customer),
        }
        span = self._span(call, info, stored)
        opener = self._encryption.opener(body, Place(record.incarnation, call.key), customer)
        part = call.parameter("partNumber")
        if part is not None and stored.part_sizes:
            headers["x-amz-mp-parts-count"] = str(len(stored.part_sizes))
            if wanted:
                headers |= part_checksum_headers(stored, part_number(part))
        if span is None:
            if wanted and stored.checksum is not None:
                headers |= stored.checksum.headers()
            return 200, headers, None, body, opener
        headers["content-range"] = span.content_range
        return 206, headers, span, body, opener

    def _span(self, call: Call, info: ObjectInfo, stored: Stored) -> ByteRange | None:
        text, asked = call.head.header("range"), call.parameter("partNumber")
        if asked is None:
            fits = range_holds(call.head, _current(info))
            return parse_range(text, info.size_bytes) if fits else None
        if text is not None:
            raise S3Error(
                "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
            )
        number, sizes = part_number(asked), stored.part_sizes or (info.size_bytes,)
        if number > len(sizes):
            raise S3Error("InvalidPart", PartNumber=str(number))
        first = sum(sizes[: number - 1])
        if not sizes[number - 1]:
            return None
        return ByteRange(first, first + sizes[number - 1] - 1, info.size_bytes)

    async def attributes(self, call: Call) -> Answer:
        """GetObjectAttributes."""
        record = await self._access.bucket(call.user, call.bucket)
        wanted = wanted_attributes(call.head)
        customer = self._encryption.customer(call)
        version = read_version(call.parameter("versionId"))
        info, body = await find_version(self._objects, record, call.key, version)
        self._encryption.opener(body, Place(record.incarnation, call.key), customer)
        stored = read_stored(info.metadata or {})
        found = answers.Attributes(
            etag=info.etag if "ETag" in wanted else None,
            checksums=_written(stored.checksum) if "Checksum" in wanted else None,
            parts=attributed_parts(call.head, stored) if "ObjectParts" in wanted else None,
            storage_class=STANDARD if "StorageClass" in wanted else None,
            size_bytes=info.size_bytes if "ObjectSize" in wanted else None,
        )
        headers = {
            "last-modified": http_date(info.modified_ns),
            **version_headers(info, record.versioning),
        }
        return xml(answers.attributes(found), headers)

    # -- delete ---------------------------------------------------------------------

    async def delete(self, call: Call) -> Answer:
        """DeleteObject."""
        record = await self._access.bucket(call.user, call.bucket)
        asked = call.parameter("versionId")
        wanted = DeletedObject(call.key, asked or "", delete_condition(call.head))
        if asked == "":
            read_version(asked)
        done = await self._delete(record, wanted)
        if done is None:
            return Answer(204)
        headers = version_headers(done, record.versioning)
        if done.delete_marker and headers:
            headers[DELETE_MARKER_HEADER] = "true"
        return Answer(204, headers if done.delete_marker or asked else {})

    async def delete_many(self, call: Call) -> Answer:
        """DeleteObjects."""
        record = await self._access.bucket(call.user, call.bucket)
        claims = read_claims(call.head)
        claims.require()
        wanted = read_deletes(await small_body(call, claims, self._threads))

        async def one(each: DeletedObject) -> answers.Deleted | answers.NotDeleted:
            try:
                done = await self._delete(record, each)
            except ReplicastError as error:
                return answers.NotDeleted(each.key, each.version, s3_error(error))
            marker = done is not None and done.delete_marker
            shown = version_headers(done, record.versioning).get(HEADER, "") if done else ""
            return answers.Deleted(each.key, each.version, shown if marker else "")

        async with aclosing(in_order(_each(wanted.objects), one, DELETES_AT_ONCE)) as results:
            found = [each async for each in results]
        return xml(answers.deletes(found, quiet=wanted.quiet))

    async def _delete(self, bucket: BucketInfo, wanted: DeletedObject) -> ObjectInfo | None:
        """None: there was nothing, which is how it should be."""
        version, when = read_version(wanted.version or None), None
        if wanted.condition:
            guarded = await self._guarded(bucket, wanted, version)
            if guarded is None:
                return None
            version, when = guarded
        try:
            return await self._objects.delete(
                bucket, wanted.key, version=version, when=when, absent_too=True
            )
        except NotFound as error:
            if error.reason != "NO_SUCH_NAME":
                raise
            return None

    async def _guarded(
        self, bucket: BucketInfo, wanted: DeletedObject, version: VersionId
    ) -> tuple[VersionId, Condition | None] | None:
        """What to delete, and when: the condition was checked against what is there, and the row's
        leader checks that it is there still. A delete marker has no ETag and no bytes. None: there is
        nothing that the condition could hold for."""
        try:
            found, _ = await self._objects.look(bucket, wanted.key, version=version)
        except NotFound as error:
            if error.reason != "NO_SUCH_NAME":
                raise
            return None
        wanted.condition.check(_current(found))
        if version == NO_VERSION:
            return version, condition(if_version=found.version)
        return found.version, None  # another null version may have come, but not another of this id


def _checksum_of(sums: Sums) -> ObjectChecksum:
    """Of an object put in one piece: the one that was computed."""
    ((algorithm, value),) = sums.checksums.items()
    return ObjectChecksum(algorithm, ChecksumType.FULL_OBJECT, value)


async def _each(objects: Iterable[DeletedObject]) -> AsyncGenerator[DeletedObject, None]:
    for each in objects:
        yield each


def _current(info: ObjectInfo) -> Current:
    return Current(info.etag, info.modified_ns, info.size_bytes)


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _written(checksum: ObjectChecksum | None) -> answers.Checksums:
    if checksum is None:
        return answers.NO_CHECKSUMS
    return answers.Checksums({checksum.algorithm.element: checksum.text}, checksum.type.value)
