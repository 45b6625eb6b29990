"""What names may look like; checked before anything is sent or stored."""

from __future__ import annotations

import re

from replicast.errors import InvalidRequest
from replicast.wire.name_messages import NAME_BYTES_MAX

# The rules of S3 buckets, so that every bucket can be served by every gateway to come.
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
DEFAULT_TENANT = "default"


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
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("object name is not valid UTF-8", reason="INVALID_NAME") from None
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
