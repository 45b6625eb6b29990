"""Bodies of answers that are no listings of objects: buckets, copies, deletes, attributes, errors.

Names and order of elements are those of the S3 API reference and, where its alphabetical lists
differ from its examples and the service, of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.regions import FIRST_REGION
from replicast.gateway.s3.xml_writer import date, document, escaped, etag, group, readable, text


@dataclass(frozen=True, slots=True)
class Owner:
    """A user: canonical id and display name."""

    id: str
    name: str

    def written(self, element: str = "Owner") -> str:
        return group(element, text("ID", self.id), text("DisplayName", self.name))


@dataclass(frozen=True, slots=True)
class Checksums:
    """`values`: element name (ChecksumCRC32, ...) to base64; `type`: FULL_OBJECT, COMPOSITE or ""
    where none is said."""

    values: Mapping[str, str] = field(default_factory=dict)
    type: str = ""

    def written(self) -> str:
        values = "".join(text(name, value) for name, value in sorted(self.values.items()))
        return values + text("ChecksumType", self.type or None)


NO_CHECKSUMS = Checksums()


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """One bucket of ListBuckets; `region`: said when not ""."""

    name: str
    created_ns: int
    region: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object that DeleteObjects deleted; `version`: the one that was asked for, `marker`: the
    version id of the delete marker that was made, or that was what was deleted."""

    key: str
    version: str = ""
    marker: str = ""

    def written(self) -> str:
        return group(
            "Deleted",
            text("Key", self.key),
            text("VersionId", self.version or None),
            text("DeleteMarker", True if self.marker else None),
            text("DeleteMarkerVersionId", self.marker or None),
        )


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """An object that DeleteObjects could not delete."""

    key: str
    version: str
    error: S3Error

    def written(self) -> str:
        return group(
            "Error",
            text("Key", self.key),
            text("VersionId", self.version or None),
            text("Code", self.error.code.name),
            text("Message", str(self.error)),
        )


def all_buckets(
    owner: Owner, buckets: Iterable[BucketEntry], *, token: str = "", prefix: str = ""
) -> bytes:
    """ListAllMyBucketsResult; `token`: there are more."""
    entries = (
        group(
            "Bucket",
            text("Name", each.name),
            date("CreationDate", each.created_ns),
            text("BucketRegion", each.region or None),
        )
        for each in buckets
    )
    return document(
        "ListAllMyBucketsResult",
        owner.written(),
        group("Buckets", *entries),
        text("ContinuationToken", token or None),
        text("Prefix", prefix or None),
    )


def location(region: str) -> bytes:
    """LocationConstraint; empty for us-east-1, which is how S3 writes its first region."""
    from_first = "" if region == FIRST_REGION else region
    return document("LocationConstraint", escaped(from_first))


def versioning(enabled: bool | None) -> bytes:
    """VersioningConfiguration; None: it was never set."""
    status = None if enabled is None else "Enabled" if enabled else "Suspended"
    return document("VersioningConfiguration", text("Status", status))


def copied_object(tag: str, modified_ns: int, checksums: Checksums = NO_CHECKSUMS) -> bytes:
    """CopyObjectResult."""
    return _copied("CopyObjectResult", tag, modified_ns, checksums)


def copied_part(tag: str, modified_ns: int, checksums: Checksums = NO_CHECKSUMS) -> bytes:
    """CopyPartResult."""
    return _copied("CopyPartResult", tag, modified_ns, Checksums(checksums.values))


def deletes(results: Iterable[Deleted | NotDeleted], *, quiet: bool = False) -> bytes:
    """DeleteResult; `quiet`: errors only."""
    return document(
        "DeleteResult",
        *(each.written() for each in results if not quiet or isinstance(each, NotDeleted)),
    )


@dataclass(frozen=True, slots=True)
class AttributePart:
    """A part of an object that was uploaded in parts."""

    number: int
    size_bytes: int
    checksums: Checksums = NO_CHECKSUMS


@dataclass(frozen=True, slots=True)
class AttributeParts:
    """A page of them; `total`: of the object."""

    total: int
    marker: int
    parts_max: int
    truncated: bool
    parts: tuple[AttributePart, ...] = ()

    def written(self) -> str:
        entries = (
            group(
                "Part",
                text("PartNumber", each.number),
                text("Size", each.size_bytes),
                Checksums(each.checksums.values).written(),
            )
            for each in self.parts
        )
        return group(
            "ObjectParts",
            text("PartsCount", self.total),
            text("PartNumberMarker", self.marker),
            text("NextPartNumberMarker", self.parts[-1].number if self.parts else 0),
            text("MaxParts", self.parts_max),
            text("IsTruncated", self.truncated),
            *entries,
        )


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was asked for of GetObjectAttributes; None for the rest."""

    etag: str | None = None
    checksums: Checksums | None = None
    parts: AttributeParts | None = None
    storage_class: str | None = None
    size_bytes: int | None = None


def attributes(found: Attributes) -> bytes:
    """GetObjectAttributesResponse; its ETag has no quotes."""
    has_sums = found.checksums is not None and found.checksums.values
    return document(
        "GetObjectAttributesResponse",
        text("ETag", found.etag),
        group("Checksum", found.checksums.written()) if has_sums and found.checksums else "",
        found.parts.written() if found.parts is not None else "",
        text("StorageClass", found.storage_class),
        text("ObjectSize", found.size_bytes),
    )


def error(failed: S3Error, resource: str, request_id: str, host_id: str = "") -> bytes:
    """Error; `resource`: the path of the request as it was sent. Every parser has to be able to read
    which error it is, so what XML cannot carry of what the client sent is replaced."""
    return document(
        "Error",
        text("Code", failed.code.name),
        text("Message", readable(str(failed))),
        *(text(name, readable(value)) for name, value in failed.fields.items()),
        text("Resource", readable(resource)),
        text("RequestId", request_id),
        text("HostId", host_id),
        namespace="",
    )


def _copied(element: str, tag: str, modified_ns: int, checksums: Checksums) -> bytes:
    return document(element, date("LastModified", modified_ns), etag(tag), checksums.written())
