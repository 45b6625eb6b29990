"""The bodies of requests in XML, read into types. All raise MalformedXML for what is not as the
S3 API reference has it; what else each raises is said there.

An element that the reference does not know is refused, as the service does: it may mean something
that the client counts on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.conditions import DeleteCondition, make_delete_condition
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.names import check_key
from replicast.gateway.s3.paging import PART_NUMBER_MAX
from replicast.gateway.s3.xml_reader import LONG_BYTES_MAX, Element, malformed, read

DELETES_MAX = 1000
CHECKSUM_PREFIX = "Checksum"


@dataclass(frozen=True, slots=True)
class DeletedObject:
    """One object of DeleteObjects; `version` is "" for the current one."""

    key: str
    version: str
    condition: DeleteCondition


@dataclass(frozen=True, slots=True)
class Deletes:
    """`quiet`: the answer lists errors only."""

    objects: tuple[DeletedObject, ...]
    quiet: bool


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """`etag` without quotes; `checksums`: element name (ChecksumCRC32, ...) to base64."""

    number: int
    etag: str
    checksums: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Versioning:
    """`enabled`: else suspended."""

    enabled: bool


def read_deletes(body: bytes) -> Deletes:
    """Delete; raises KeyTooLongError, InvalidArgument too."""
    root = read(body, "Delete", LONG_BYTES_MAX)
    root.only("Object", "Quiet")
    objects = [_deleted(each) for each in root.all("Object")]
    if not 1 <= len(objects) <= DELETES_MAX:
        raise malformed(f"There must be 1 to {DELETES_MAX} objects.")
    return Deletes(tuple(objects), _boolean(root, "Quiet"))


def read_completed_parts(body: bytes) -> tuple[CompletedPart, ...]:
    """CompleteMultipartUpload, in ascending order; of a number that is named twice running the last
    counts, as the last part of a number does. Raises InvalidPartOrder, InvalidArgument too."""
    root = read(body, "CompleteMultipartUpload", LONG_BYTES_MAX)
    root.only("Part")
    parts = tuple(_part(each) for each in root.children)
    if not 1 <= len(parts) <= PART_NUMBER_MAX:
        raise malformed(f"There must be 1 to {PART_NUMBER_MAX} parts.")
    if any(later.number < each.number for each, later in pairwise(parts)):
        raise S3Error("InvalidPartOrder")
    return tuple({part.number: part for part in parts}.values())


def read_location_constraint(body: bytes) -> str:
    """CreateBucketConfiguration, "" for none (an empty body is none); raises NotImplemented too,
    for what only directory buckets have, and tags."""
    if not body.strip():
        return ""
    root = read(body, "CreateBucketConfiguration")
    root.only("LocationConstraint", "Location", "Bucket", "Tags")
    for name in ("Location", "Bucket", "Tags"):
        if any(root.all(name)):
            raise S3Error("NotImplemented", f"{name} of a new bucket is not implemented.")
    return (root.text_of("LocationConstraint") or "").strip()


def read_versioning(body: bytes) -> Versioning:
    """VersioningConfiguration; raises IllegalVersioningConfigurationException and, for MFA
    delete, NotImplemented too."""
    root = read(body, "VersioningConfiguration")
    root.only("Status", "MfaDelete", "MFADelete")
    mfa = (root.text_of("MfaDelete") or root.text_of("MFADelete") or "Disabled").strip()
    if mfa not in ("Enabled", "Disabled"):
        raise malformed("MfaDelete must be Enabled or Disabled.")
    status = root.text_of("Status")
    if status is None:
        raise S3Error(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified",
        )
    if status.strip() not in ("Enabled", "Suspended"):
        raise malformed("Status must be Enabled or Suspended.")
    if mfa == "Enabled":
        raise S3Error("NotImplemented", "MfaDelete is not implemented.")
    return Versioning(status.strip() == "Enabled")


def _deleted(element: Element) -> DeletedObject:
    element.only("Key", "VersionId", "ETag", "LastModifiedTime", "Size")
    key = element.text_of("Key")
    if not key:
        raise malformed("Every object must have a Key.")
    condition = make_delete_condition(
        *(_stripped(element, name) for name in ("ETag", "LastModifiedTime", "Size"))
    )
    return DeletedObject(check_key(key), _stripped(element, "VersionId") or "", condition)


def _part(element: Element) -> CompletedPart:
    checksums = {
        child.name: child.text.strip()
        for child in element.children
        if child.name.startswith(CHECKSUM_PREFIX)
    }
    element.only("PartNumber", "ETag", *checksums)
    if len(checksums) + 2 != len(element.children):
        raise malformed("Every part must have one PartNumber and one ETag.")
    number, etag = _stripped(element, "PartNumber"), _stripped(element, "ETag")
    if number is None or etag is None or not number.removeprefix("-").isdecimal():
        raise malformed("Every part must have one PartNumber and one ETag.")
    if not (number.isascii() and len(number) <= 9 and int(number) <= PART_NUMBER_MAX):
        raise invalid_argument("PartNumber", number, f"PartNumber must be <= {PART_NUMBER_MAX}")
    if int(number) < 1:
        raise invalid_argument("PartNumber", number, "PartNumber must be >= 1")
    return CompletedPart(int(number), etag.strip('"'), checksums)


def _boolean(element: Element, name: str) -> bool:
    text = (_stripped(element, name) or "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise malformed(f"{name} must be true or false.")
    return text in ("true", "1")


def _stripped(element: Element, name: str) -> str | None:
    text = element.text_of(name)
    return None if text is None else text.strip()
