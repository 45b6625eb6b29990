"""The source of a copy, and what the copy takes over from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.escapes import decode
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.names import check_bucket, check_key

SOURCE = "x-amz-copy-source"


class Directive(Enum):
    """Whether the source's metadata or tags are kept, or those of the request taken."""

    COPY = "COPY"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class CopySource:
    """An object, or one version of it ("" for the current one)."""

    bucket: str
    key: str
    version: str = ""


def copy_source(head: Head) -> CopySource:
    """From x-amz-copy-source. Raises InvalidArgument, InvalidBucketName, KeyTooLongError.

    [/]bucket/key[?versionId=...], percent-encoded. A question mark that belongs to the key is
    encoded; one that is not begins the version only when versionId follows, for some clients do
    not encode.
    """
    text = head.header(SOURCE)
    if not text:
        raise _refused(text or "")
    path, marked, version = text.partition("?versionId=")
    try:
        # The path is cut first, so that an escaped slash stays in its name; some clients escape
        # all of them.
        bucket, _, key = path.removeprefix("/").partition("/")
        bucket, key = decode(bucket), decode(key)
        if not key:
            bucket, _, key = bucket.removeprefix("/").partition("/")
        version = decode(version)
    except S3Error:
        raise _refused(text) from None
    if not bucket or not key or (marked and not version):
        raise _refused(text)
    return CopySource(check_bucket(bucket), check_key(key), version)


def metadata_directive(head: Head) -> Directive:
    """Raises InvalidArgument."""
    return _directive(head, "x-amz-metadata-directive", "Unknown metadata directive.")


def tagging_directive(head: Head) -> Directive:
    """Raises InvalidArgument."""
    return _directive(head, "x-amz-tagging-directive", "Unknown tagging directive.")


# A copy of an object onto itself makes sense with one of these only.
_CHANGES = (
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
)


def check_changes_something(
    source: CopySource, bucket: str, key: str, headers: Mapping[str, str], metadata: Directive
) -> None:
    """A copy onto itself that would change nothing; raises InvalidRequest. A version of the same
    object is another one: its copy restores it."""
    if (source.bucket, source.key, source.version) != (bucket, key, ""):
        return
    if metadata is Directive.COPY and not any(name in headers for name in _CHANGES):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )


def _directive(head: Head, name: str, message: str) -> Directive:
    text = head.header(name)
    if text is None:
        return Directive.COPY
    try:
        return Directive(text.strip().upper())
    except ValueError:
        raise invalid_argument(name, text, message) from None


def _refused(text: str) -> S3Error:
    return invalid_argument(
        SOURCE, text, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
    )
