"""What a request says about its body in x-amz-content-sha256, and with that what protects the body.

Source: Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header".
"""

from __future__ import annotations

import re
from enum import Enum

from replicast.gateway.s3.errors import S3Error

HEADER = "x-amz-content-sha256"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ASYMMETRIC = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"


class Payload(Enum):
    """Kinds of bodies; the value is the header's, but for WHOLE, whose header is the hash."""

    WHOLE = "sha256"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def is_chunked(self) -> bool:
        """Whether the body is framed as aws-chunked. Content-Encoding does not say: it may be
        missing, and need not be signed."""
        return self in (
            Payload.SIGNED_CHUNKS,
            Payload.SIGNED_CHUNKS_TRAILER,
            Payload.UNSIGNED_CHUNKS_TRAILER,
        )


_NAMED = {kind.value: kind for kind in Payload if kind is not Payload.WHOLE}


def payload_of(value: str) -> Payload:
    """The kind that the header's value means. InvalidArgument when it means none."""
    if _SHA256.fullmatch(value):
        return Payload.WHOLE
    if kind := _NAMED.get(value):
        return kind
    if value in (_ASYMMETRIC, f"{_ASYMMETRIC}-TRAILER"):
        raise S3Error("NotImplemented", "Signatures of version 4A are not supported here.")
    raise S3Error(
        "InvalidArgument",
        f"{HEADER} must be {', '.join(_NAMED)}, or a valid sha256 value.",
        ArgumentName=HEADER,
        ArgumentValue=value,
    )
