"""From the errors of the object layer to those that S3 clients know."""

from __future__ import annotations

from replicast.errors import (
    ConditionFailed,
    Conflict,
    DataLost,
    InvalidRequest,
    NoSpace,
    NotFound,
    ReplicastError,
    Unavailable,
)
from replicast.gateway.s3.errors import S3Error

BY_REASON = {
    "NO_SUCH_BUCKET": "NoSuchBucket",
    "NO_SUCH_NAME": "NoSuchKey",
    "NO_SUCH_UPLOAD": "NoSuchUpload",
    "NO_SUCH_PART": "InvalidPart",
    "BUCKET_EXISTS": "BucketAlreadyExists",
    "BUCKET_NOT_EMPTY": "BucketNotEmpty",
    "INVALID_RANGE": "InvalidRange",
    "INVALID_METADATA": "MetadataTooLarge",
    "INVALID_BUCKET_NAME": "InvalidBucketName",
    "INVALID_NAME": "KeyTooLongError",
    "BUSY": "SlowDown",
}
BY_CLASS: tuple[tuple[type[ReplicastError], str], ...] = (
    (ConditionFailed, "PreconditionFailed"),
    (NotFound, "NoSuchKey"),
    (Conflict, "OperationAborted"),
    (InvalidRequest, "InvalidRequest"),
    (NoSpace, "ServiceUnavailable"),
    (Unavailable, "ServiceUnavailable"),
    (DataLost, "InternalError"),
)


def s3_error(error: ReplicastError) -> S3Error:
    """The error as S3 says it. What the cluster says of itself (hosts, VDEVs) stays here: it is
    logged, and no client's business."""
    if isinstance(error, S3Error):
        return error
    code = BY_REASON.get(error.reason)
    if code is None:
        code = next((name for kind, name in BY_CLASS if isinstance(error, kind)), "InternalError")
    return S3Error(code)
