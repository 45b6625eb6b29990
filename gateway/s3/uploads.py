"""Bodies of answers about multipart uploads: begun, listed, their parts, completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replicast.gateway.s3.answers import NO_CHECKSUMS, Checksums, Owner
from replicast.gateway.s3.escapes import encode
from replicast.gateway.s3.listings import STANDARD, common_prefixes
from replicast.gateway.s3.paging import PartsPage, UploadsPage
from replicast.gateway.s3.xml_writer import date, document, etag, group, text


@dataclass(frozen=True, slots=True)
class Upload:
    """One that is in progress; `algorithm` and `checksum_type`: said when not ""."""

    key: str
    id: str
    initiator: Owner
    owner: Owner
    initiated_ns: int
    storage_class: str = STANDARD
    algorithm: str = ""
    checksum_type: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there."""

    number: int
    modified_ns: int
    etag: str
    size_bytes: int
    checksums: Checksums = NO_CHECKSUMS


@dataclass(frozen=True, slots=True)
class ListedUploads:
    """What a page found; `last_key` and `last_id`: after which there is more, "" at the end (the
    id is "" behind a common prefix)."""

    uploads: Sequence[Upload]
    prefixes: Sequence[str] = ()
    last_key: str = ""
    last_id: str = ""


def initiated(bucket: str, key: str, upload_id: str) -> bytes:
    """InitiateMultipartUploadResult."""
    return document(
        "InitiateMultipartUploadResult",
        text("Bucket", bucket),
        text("Key", key),
        text("UploadId", upload_id),
    )


def completed(
    location: str, bucket: str, key: str, tag: str, checksums: Checksums = NO_CHECKSUMS
) -> bytes:
    """CompleteMultipartUploadResult; `location`: the object's URL."""
    return document(
        "CompleteMultipartUploadResult",
        text("Location", location),
        text("Bucket", bucket),
        text("Key", key),
        etag(tag),
        checksums.written(),
    )


def uploads(page: UploadsPage, found: ListedUploads) -> bytes:
    """ListMultipartUploadsResult."""
    scope, more = page.scope, bool(found.last_key)
    return document(
        "ListMultipartUploadsResult",
        text("Bucket", scope.bucket),
        _name("KeyMarker", page.key_marker, scope.url),
        text("UploadIdMarker", page.upload_marker),
        _name("NextKeyMarker", found.last_key, scope.url) if more else "",
        text("NextUploadIdMarker", found.last_id) if more else "",
        _name("Delimiter", scope.delimiter, scope.url) if scope.delimiter else "",
        _name("Prefix", scope.prefix, scope.url),
        text("MaxUploads", page.uploads_max),
        text("EncodingType", "url" if scope.url else None),
        text("IsTruncated", more),
        *(_upload(each, scope.url) for each in found.uploads),
        *common_prefixes(found.prefixes, scope.url),
    )


def parts(
    bucket: str, upload: Upload, page: PartsPage, found: Sequence[Part], *, truncated: bool
) -> bytes:
    """ListPartsResult."""
    return document(
        "ListPartsResult",
        text("Bucket", bucket),
        text("Key", upload.key),
        text("UploadId", upload.id),
        upload.initiator.written("Initiator"),
        upload.owner.written(),
        text("StorageClass", upload.storage_class),
        text("PartNumberMarker", page.marker),
        text("NextPartNumberMarker", found[-1].number if found else 0),
        text("MaxParts", page.parts_max),
        text("IsTruncated", truncated),
        *_checksum(upload),
        *(_part(each) for each in found),
    )


def _upload(upload: Upload, url: bool) -> str:
    return group(
        "Upload",
        _name("Key", upload.key, url),
        text("UploadId", upload.id),
        upload.initiator.written("Initiator"),
        upload.owner.written(),
        text("StorageClass", upload.storage_class),
        date("Initiated", upload.initiated_ns),
        *_checksum(upload),
    )


def _part(part: Part) -> str:
    return group(
        "Part",
        text("PartNumber", part.number),
        date("LastModified", part.modified_ns),
        etag(part.etag),
        text("Size", part.size_bytes),
        Checksums(part.checksums.values).written(),
    )


def _checksum(upload: Upload) -> tuple[str, str]:
    return (
        text("ChecksumAlgorithm", upload.algorithm or None),
        text("ChecksumType", upload.checksum_type or None),
    )


def _name(element: str, value: str, url: bool) -> str:
    return text(element, encode(value) if url else value)
