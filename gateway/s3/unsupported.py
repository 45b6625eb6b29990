"""Headers that ask for what is not there yet: refused aloud, so that nobody relies on it."""

from __future__ import annotations

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.listings import STANDARD

# The owner of a bucket is the owner of all objects in it, so these are all the same.
OWNERS_ACLS = ("private", "bucket-owner-read", "bucket-owner-full-control")
WIDER_ACLS = (
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "log-delivery-write",
)
PREFIXES = (
    "x-amz-object-lock-",
    "x-amz-grant-",
)
NAMES = ("x-amz-tagging", "x-amz-website-redirect-location", "x-amz-bucket-object-lock-enabled")


def check_write_headers(head: Head) -> None:
    """Of what makes objects or buckets. Raises NotImplemented, InvalidArgument,
    InvalidStorageClass."""
    for name, value in head.headers.items():
        if name in NAMES or name.startswith(PREFIXES):
            if name == "x-amz-bucket-object-lock-enabled" and value.lower() == "false":
                continue
            raise _not_there(name)
    acl = head.header("x-amz-acl") or OWNERS_ACLS[0]
    if acl in WIDER_ACLS:
        raise _not_there("x-amz-acl")
    if acl not in OWNERS_ACLS:
        raise invalid_argument("x-amz-acl", acl, "The canned ACL is not valid.")
    storage_class = head.header("x-amz-storage-class") or STANDARD
    if storage_class != STANDARD:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)


def _not_there(name: str) -> S3Error:
    return S3Error(
        "NotImplemented",
        "A header you provided implies functionality that is not implemented.",
        Header=name,
    )
