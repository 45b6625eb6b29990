"""What names, conditions and metadata may look like; checked before anything is sent or stored.

What passes here fits the fields of replicast.wire, so that no request fails to be encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from replicast.errors import InvalidRequest
from replicast.units import KIB
from replicast.wire.documents import (
    METADATA_ITEMS_MAX,
    METADATA_KEY_BYTES_MAX,
    METADATA_VALUE_BYTES_MAX,
)
from replicast.wire.name_messages import ETAG_BYTES_MAX

# The rules of S3 buckets, so that every bucket can be served by every gateway to come.
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
DEFAULT_TENANT = "default"
NAME_BYTES_MAX = 1024
AFTER_BYTES_MAX = NAME_BYTES_MAX + 8
# With the largest inline part, or a full list of references, this still fits a version's body.
METADATA_BYTES_MAX = 48 * KIB


def check_bucket(bucket: str) -> str:
    """The bucket's name; raises InvalidRequest that says the rule."""
    if not BUCKET.fullmatch(bucket) or ".." in bucket or ADDRESS.fullmatch(bucket):
        raise InvalidRequest(
            f"bucket name {bucket!r}: use 3 to 63 lower-case letters, digits, '-' and '.', "
            "beginning and ending with a letter or digit, and not an IP address",
            reason="INVALID_BUCKET_NAME",
        )
    return bucket


def check_name(name: str) -> str:
    """The object's name; raises InvalidRequest that says the rule."""
    size = _size_bytes(name, "object name", "INVALID_NAME")
    if not 1 <= size <= NAME_BYTES_MAX:
        raise InvalidRequest(
            f"object name of {size} bytes: use 1 to {NAME_BYTES_MAX} bytes of UTF-8",
            reason="INVALID_NAME",
        )
    if "\0" in name:
        raise InvalidRequest("object name holds a zero byte", reason="INVALID_NAME")
    return name


def check_prefix(prefix: str) -> str:
    """A prefix (may be empty); same rules otherwise."""
    return check_name(prefix) if prefix else prefix


def check_after(after: str) -> str:
    """Where a listing goes on: a name or a bound behind a prefix (may be empty)."""
    size = _size_bytes(after, "`after`", "INVALID_NAME")
    if size > AFTER_BYTES_MAX:
        raise InvalidRequest(
            f"`after` of {size} bytes: at most {AFTER_BYTES_MAX}", reason="INVALID_NAME"
        )
    return after


def check_etag(etag: str) -> str:
    """An ETag to compare with."""
    size = _size_bytes(etag, "ETag", "INVALID_ETAG")
    if size > ETAG_BYTES_MAX:
        raise InvalidRequest(
            f"ETag of {size} bytes: at most {ETAG_BYTES_MAX}", reason="INVALID_ETAG"
        )
    return etag


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """A copy of the metadata; raises InvalidRequest that says the limit."""
    kept = dict(metadata)
    if len(kept) > METADATA_ITEMS_MAX:
        raise _metadata(f"{len(kept)} items: at most {METADATA_ITEMS_MAX}")
    total = 0
    for key, value in kept.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise _metadata(f"{key!r}: keys and values are text")
        for text, most in ((key, METADATA_KEY_BYTES_MAX), (value, METADATA_VALUE_BYTES_MAX)):
            size = _size_bytes(text, f"metadata {key[:64]!r}", "INVALID_METADATA")
            if size > most:
                raise _metadata(f"{key[:64]!r}: {size} bytes: at most {most}")
            total += size
    if total > METADATA_BYTES_MAX:
        raise _metadata(f"{total} bytes: at most {METADATA_BYTES_MAX}")
    return kept


def _metadata(text: str) -> InvalidRequest:
    return InvalidRequest(f"metadata: {text}", reason="INVALID_METADATA")


def _size_bytes(text: str, what: str, reason: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is not valid UTF-8", reason=reason) from None
