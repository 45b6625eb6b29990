"""Which names buckets and objects may have, in the words of S3.

What passes here passes replicast.gateway.limits too. Buckets that are there already are found by
the rules of the cluster; a new one keeps those of S3 as well, which are narrower.
Sources: S3 user guide, "General purpose bucket naming rules", "Naming Amazon S3 objects".
"""

from __future__ import annotations

from replicast.errors import InvalidRequest
from replicast.gateway.limits import NAME_BYTES_MAX
from replicast.gateway.limits import check_bucket as check_cluster_bucket
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.escapes import QUOTED_CHARS_MAX

# SDKs sign and address these differently, so that such a bucket could not be used.
_PREFIXES = ("amzn-s3-demo-", "sthree-", "xn--")
_SUFFIXES = ("--ol-s3", "--table-s3", "--x-s3", "-s3alias", ".mrap")


def check_bucket(bucket: str) -> str:
    """The name of a bucket that may be there; raises InvalidBucketName."""
    try:
        return check_cluster_bucket(bucket)
    except InvalidRequest:
        raise _refused(bucket) from None


def check_new_bucket(bucket: str) -> str:
    """The name of a bucket to create; raises InvalidBucketName."""
    check_bucket(bucket)
    if ".-" in bucket or "-." in bucket:
        raise _refused(bucket)
    if bucket.startswith(_PREFIXES) or bucket.endswith(_SUFFIXES):
        raise _refused(bucket)
    return bucket


def check_key(key: str) -> str:
    """An object's name, of 1 to 1024 bytes; raises KeyTooLongError, InvalidURI.

    Everything in UTF-8 is a name to S3, "." and ".." and control characters too; only the zero
    byte is not one to the cluster.
    """
    size = len(key.encode())
    if size > NAME_BYTES_MAX:
        raise S3Error("KeyTooLongError", Size=str(size), MaxSizeAllowed=str(NAME_BYTES_MAX))
    if not key or "\0" in key:
        raise S3Error("InvalidURI", URI=key[:QUOTED_CHARS_MAX])
    return key


def check_bound(text: str) -> str:
    """A prefix, delimiter or marker: a key's rules, but it may be empty."""
    return check_key(text) if text else text


def _refused(bucket: str) -> S3Error:
    return S3Error("InvalidBucketName", BucketName=bucket[:QUOTED_CHARS_MAX])
