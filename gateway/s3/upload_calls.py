"""Multipart uploads: create, part, part copy, list parts, list uploads, complete, abort."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from replicast.errors import NotFound
from replicast.gateway.bodies import Description
from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.initiation import Block
from replicast.gateway.objects import AFTER_ALL, Objects
from replicast.gateway.s3 import answers
from replicast.gateway.s3 import uploads as written
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.algorithms import Algorithm, ChecksumType, from_text, to_text
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.claims import Claims, read_claims, read_md5_claim
from replicast.gateway.s3.copy_source import copy_source
from replicast.gateway.s3.digests import Sums
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.guarded_write import guarded_write
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.headers import content_headers, user_metadata
from replicast.gateway.s3.object_calls import ObjectCalls
from replicast.gateway.s3.paging import UploadsPage, part_number, parts_page, uploads_page
from replicast.gateway.s3.part_sums import (
    ObjectChecksum,
    PartSums,
    UploadChecksum,
    check_completion,
    etag_of_parts,
    read_completion,
    read_part_checksum,
    read_upload_checksum,
)
from replicast.gateway.s3.ranges import parse_copy_range, within
from replicast.gateway.s3.request_bodies import CompletedPart, read_completed_parts
from replicast.gateway.s3.small_body import small_body
from replicast.gateway.s3.sse import Encryption, answer_headers
from replicast.gateway.s3.sse_bodies import BodySealer
from replicast.gateway.s3.sse_envelope import Place
from replicast.gateway.s3.stored import Stored, read_stored
from replicast.gateway.s3.unsupported import check_write_headers
from replicast.gateway.s3.upload_source import PART_BYTES_MAX, UploadSource
from replicast.gateway.s3.versions import new_version_headers, version_of
from replicast.gateway.uploads import NEVER_INLINE, SEPARATOR, PartInfo, UploadInfo, Uploads
from replicast.units import MIB
from replicast.wire.control_messages import BucketInfo

PART_BYTES_MIN = 5 * MIB  # of all but the last


class UploadCalls:
    """The operations on uploads."""

    def __init__(
        self,
        objects: Objects,
        uploads: Uploads,
        access: Access,
        object_calls: ObjectCalls,
        threads: HashExecutor,
        encryption: Encryption,
    ) -> None:
        self._objects, self._uploads, self._access = objects, uploads, access
        self._object_calls, self._threads = object_calls, threads
        self._encryption = encryption

    async def create(self, call: Call) -> Answer:
        """CreateMultipartUpload."""
        record = await self._access.bucket(call.user, call.bucket)
        check_write_headers(call.head)
        checksum = read_upload_checksum(call.head)
        wanted = self._encryption.wanted(call, record)
        stored = Stored(content_headers(call.head), user_metadata(call.head))
        sealed = self._encryption.upload(wanted, Place(record.incarnation, call.key))
        upload_id = await self._uploads.create(
            record, call.key, {**stored.metadata(), **sealed}, _upload_text(checksum)
        )
        headers = wanted.headers
        if checksum.named:
            headers["x-amz-checksum-algorithm"] = checksum.algorithm.value
            headers["x-amz-checksum-type"] = checksum.type.value
        return xml(written.initiated(call.bucket, call.key, upload_id), headers)

    async def abort(self, call: Call) -> Answer:
        """AbortMultipartUpload."""
        record = await self._access.bucket(call.user, call.bucket)
        await self._uploads.abort(record, call.key, self._id(call))
        return Answer(204)

    # -- parts ------------------------------------------------------------------------

    async def put_part(self, call: Call) -> Answer:
        """UploadPart."""
        record, upload, checksum = await self._find(call)
        number = part_number(call.parameter("partNumber") or "")
        sealer, sealed = self._sealer(call, record, upload, number)
        if call.body.length_bytes > PART_BYTES_MAX:
            raise S3Error("EntityTooLarge", MaxSizeAllowed=str(PART_BYTES_MAX))
        claims = read_claims(call.head)
        checksum.check_part(claims)
        source = UploadSource(
            call.stream,
            call.body,
            claims,
            self._threads,
            checksum.algorithms(claims),
            chunks=self._hashes(call.body.length_bytes, sealer),
        )
        await self._store(upload, number, source, checksum, sealer)
        sums = source.sums
        shown = claims.algorithm or checksum.algorithm
        value = to_text(sums.checksums[shown])
        return Answer(200, {"etag": f'"{sums.etag}"', shown.header: value, **sealed})

    def _sealer(
        self, call: Call, record: BucketInfo, upload: UploadInfo, number: int
    ) -> tuple[BodySealer | None, dict[str, str]]:
        """Of a part, and what its answer says of it."""
        customer = self._encryption.customer(call)
        place = Place(record.incarnation, upload.name)
        sealer = self._encryption.part(upload.metadata, place, upload.upload_id, number, customer)
        return sealer, answer_headers(upload.metadata, customer)

    def _hashes(self, size_bytes: int, sealer: BodySealer | None) -> ChunkHashes | None:
        """Of a part."""
        sealed = sealer is not None
        return self._objects.bodies.chunk_hashes(size_bytes, NEVER_INLINE, sealed=sealed)

    async def copy_part(self, call: Call) -> Answer:
        """UploadPartCopy."""
        record, upload, checksum = await self._find(call)
        number = part_number(call.parameter("partNumber") or "")
        sealer, sealed = self._sealer(call, record, upload, number)
        wanted = copy_source(call.head)
        bounds = parse_copy_range(call.head.header("x-amz-copy-source-range"))
        copied = await self._object_calls.source(call, wanted)
        found = copied.info
        span = None if bounds is None else within(bounds, found.size_bytes)
        length = span.length_bytes if span is not None else found.size_bytes
        if length > PART_BYTES_MAX:
            raise S3Error("EntityTooLarge", MaxSizeAllowed=str(PART_BYTES_MAX))
        blocks = self._blocks(self._objects.bodies.read(copied.body, bounds, copied.opener))
        source = UploadSource(
            blocks,
            _Whole(length),
            Claims(),
            self._threads,
            [checksum.algorithm],
            chunks=self._hashes(length, sealer),
        )
        part = await self._store(upload, number, source, checksum, sealer)
        values = {checksum.algorithm.element: to_text(source.sums.checksums[checksum.algorithm])}
        headers = sealed
        if wanted.version:
            headers["x-amz-copy-source-version-id"] = version_of(found)
        shown = answers.Checksums(values if checksum.named else {})
        return xml(answers.copied_part(source.sums.etag, part.stored_ns, shown), headers)

    async def _blocks(self, blocks: AsyncIterator[Block]) -> AsyncIterator[bytes]:
        async for block in blocks:
            yield bytes(block)

    async def _store(
        self,
        upload: UploadInfo,
        number: int,
        source: UploadSource,
        checksum: UploadChecksum,
        sealer: BodySealer | None,
    ) -> PartInfo:
        """The part's sums travel in its ETag: a list of parts then knows all that completion needs."""

        async def describe() -> Description:
            return Description(etag=_part_etag(await source.finish(), checksum.algorithm))

        return await self._uploads.put_part(
            upload.bucket,
            upload.name,
            upload.upload_id,
            number,
            source,
            describe,
            sealer=sealer,
        )

    async def parts(self, call: Call) -> Answer:
        """ListParts."""
        record, upload, checksum = await self._find(call)
        page = parts_page(call.request.parameters)
        found: list[written.Part] = []
        more = False
        parts = self._uploads.parts(
            record, call.key, upload.upload_id, after=min(page.marker, 99_999)
        )
        async with aclosing(parts) as listed:
            async for part in listed:
                if len(found) == page.parts_max:
                    more = True
                    break
                found.append(_written_part(part, checksum))
        shown = self._shown(call, upload, checksum)
        return xml(written.parts(call.bucket, shown, page, found, truncated=more))

    async def list_uploads(self, call: Call) -> Answer:
        """ListMultipartUploads."""
        record = await self._access.bucket(call.user, call.bucket)
        page = uploads_page(call.bucket, call.request.parameters)
        return xml(written.uploads(page, await self._listed(call, record, page)))

    async def _listed(
        self, call: Call, record: BucketInfo, page: UploadsPage
    ) -> written.ListedUploads:
        scope = page.scope
        found: list[written.Upload] = []
        prefixes: list[str] = []
        last_key = last_id = ""
        given = _common_prefix(page.key_marker, scope.prefix, scope.delimiter)
        after = _after(page) if not given else given + AFTER_ALL
        async with aclosing(self._uploads.list(record, scope.prefix, after=after)) as uploads:
            async for upload in uploads:
                common = _common_prefix(upload.name, scope.prefix, scope.delimiter)
                if common and common == given:
                    continue
                if len(found) + len(prefixes) == page.uploads_max:
                    return written.ListedUploads(found, prefixes, last_key, last_id)
                if common:
                    given = common
                    prefixes.append(common)
                    last_key, last_id = common, ""
                else:
                    found.append(self._shown(call, upload, _read_upload(upload.note)))
                    last_key, last_id = upload.name, upload.upload_id
        return written.ListedUploads(found, prefixes)

    # -- complete ---------------------------------------------------------------------

    async def complete(self, call: Call) -> Answer:
        """CompleteMultipartUpload."""
        record = await self._access.bucket(call.user, call.bucket)
        # A checksum in this head is the object's, not the body's.
        body = await small_body(call, read_md5_claim(call.head), self._threads)
        named = read_completed_parts(body)
        upload_id = self._id(call)
        try:
            _, upload, checksum = await self._find(call)
        except NotFound:
            done = await self._uploads.completed(record, call.key, upload_id)
            if done is None:
                raise
            stored = read_stored(done.metadata)
            return self._completed(call, done.summary.etag, stored.checksum, {})
        claim = read_completion(call.head, checksum)
        parts = await self._named_parts(upload, named, checksum)
        sums = [_sums(part, checksum.algorithm) for part in parts]
        whole = checksum.of(sums)
        check_completion(checksum, claim, whole)
        kept = read_stored(upload.metadata)
        sizes = tuple(part.size_bytes for part in parts)
        named_sums = tuple(each.checksums[whole.algorithm] for each in sums)
        stored = Stored(kept.content, kept.user, whole, sizes, named_sums if checksum.named else ())
        etag = etag_of_parts([each.md5 for each in sums])
        customer = self._encryption.customer(call)
        place = Place(record.incarnation, call.key)
        binder = self._encryption.completion(upload.metadata, place, upload_id, customer)
        async with guarded_write(self._objects, record, call) as when:
            done = await self._uploads.complete(
                upload, parts, Description(stored.metadata(), etag), when=when, binder=binder
            )
        info_headers = new_version_headers(done.info(call.bucket, call.key), record.versioning)
        info_headers |= answer_headers(upload.metadata, customer)
        return self._completed(call, etag, whole, info_headers)

    def _completed(
        self, call: Call, etag: str, checksum: ObjectChecksum | None, headers: dict[str, str]
    ) -> Answer:
        shown = answers.NO_CHECKSUMS
        if checksum is not None:
            values = {checksum.algorithm.element: checksum.text}
            shown = answers.Checksums(values, checksum.type.value)
        return xml(written.completed(call.url, call.bucket, call.key, etag, shown), headers)

    async def _named_parts(
        self, upload: UploadInfo, named: Sequence[CompletedPart], checksum: UploadChecksum
    ) -> list[PartInfo]:
        """The parts that the request names; raises InvalidPart, EntityTooSmall."""
        there = {
            part.number: part
            async for part in self._uploads.parts(upload.bucket, upload.name, upload.upload_id)
        }
        found = []
        for at, each in enumerate(named):
            part = there.get(each.number)
            texts = {Algorithm(k.removeprefix("Checksum")): v for k, v in each.checksums.items()}
            claimed = read_part_checksum(texts)
            sums = None if part is None else _sums(part, checksum.algorithm)
            if part is None or sums is None or sums.md5.hex() != each.etag:
                raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=str(each.number))
            if not sums.matches(claimed) and claimed and claimed[0] is checksum.algorithm:
                raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=str(each.number))
            if part.size_bytes < PART_BYTES_MIN and at < len(named) - 1:
                raise S3Error(
                    "EntityTooSmall",
                    ProposedSize=str(part.size_bytes),
                    MinSizeAllowed=str(PART_BYTES_MIN),
                    PartNumber=str(each.number),
                )
            found.append(part)
        return found

    # -- small things -------------------------------------------------------------------

    async def _find(self, call: Call) -> tuple[BucketInfo, UploadInfo, UploadChecksum]:
        record = await self._access.bucket(call.user, call.bucket)
        upload = await self._uploads.find(record, call.key, self._id(call))
        return record, upload, _read_upload(upload.note)

    def _id(self, call: Call) -> str:
        return call.parameter("uploadId") or ""

    def _shown(self, call: Call, upload: UploadInfo, checksum: UploadChecksum) -> written.Upload:
        owner = answers.Owner(call.user.canonical_id, call.user.display_name)
        algorithm = checksum.algorithm.value if checksum.named else ""
        kind = checksum.type.value if checksum.named else ""
        return written.Upload(
            upload.name, upload.upload_id, owner, owner, upload.started_ns,
            algorithm=algorithm, checksum_type=kind,
        )  # fmt: skip


class _Whole:
    """A body that needs no taking apart: bytes of the cluster's own."""

    hashes = False

    def __init__(self, length_bytes: int) -> None:
        self.length_bytes = length_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """All of it."""
        return [memoryview(data)]

    def finish(self) -> dict[str, str]:
        """There are none."""
        return {}


def _upload_text(checksum: UploadChecksum) -> str:
    return json.dumps([checksum.algorithm, checksum.type, checksum.named])


def _read_upload(text: str) -> UploadChecksum:
    algorithm, kind, named = json.loads(text)
    return UploadChecksum(Algorithm(algorithm), ChecksumType(kind), bool(named))


def _part_etag(sums: Sums, algorithm: Algorithm) -> str:
    return f"{sums.etag} {to_text(sums.checksums[algorithm])}"


def _sums(part: PartInfo, algorithm: Algorithm) -> PartSums:
    md5, _, text = part.etag.partition(" ")
    value = from_text(text, algorithm.size_bytes)
    assert value is not None, "we have written it"
    return PartSums(part.size_bytes, bytes.fromhex(md5), {algorithm: value})


def _written_part(part: PartInfo, checksum: UploadChecksum) -> written.Part:
    sums = _sums(part, checksum.algorithm)
    values = {}
    if checksum.named:
        values[checksum.algorithm.element] = to_text(sums.checksums[checksum.algorithm])
    shown = answers.Checksums(values)
    return written.Part(part.number, part.stored_ns, sums.md5.hex(), part.size_bytes, shown)


def _common_prefix(name: str, prefix: str, delimiter: str) -> str:
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: at + len(delimiter)] if at >= 0 else ""


def _after(page: UploadsPage) -> str:
    """Behind one upload, or behind all of a name: no id has a character beyond ~."""
    if page.upload_marker:
        return f"{page.key_marker}{SEPARATOR}{page.upload_marker}"
    return f"{page.key_marker}{SEPARATOR}\x7f" if page.key_marker else ""
