"""Which body a request has: what its head says about length, framing and trailers.

Sources: Amazon S3 API reference, as in aws_chunked.py; x-amz-decoded-content-length that is missing
or no number is answered like a missing Content-Length, as the service does.
"""

from __future__ import annotations

import re
from typing import Protocol

from replicast.gateway.s3.aws_chunked import ChunkedBody
from replicast.gateway.s3.chunk_signatures import ChunkSignatures
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.plain_body import PlainBody
from replicast.gateway.s3.sigv4 import Verified

TRAILERS_MAX = 4

_LENGTH = re.compile(r"[0-9]{1,18}")
_TRAILER_NAME = re.compile(r"x-amz-checksum-[a-z0-9]{1,32}")


class Body(Protocol):
    """A body that comes piece by piece; nothing of it is verified before finish() returned."""

    length_bytes: int  # 0 where it is not known before the end
    hashes: bool  # is every byte of it hashed in feed()? Else that takes no time

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """Views of the payload in `data`; they live as long as it does."""

    def finish(self) -> dict[str, str]:
        """The trailers, after the last byte."""


def body_of(head: Head, verified: Verified) -> Body:
    """The body that comes after `head`, whose signature was found right."""
    coding = head.header("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        # What the last hop compressed would be stored as if it were the client's bytes.
        raise S3Error("NotImplemented", Header="Transfer-Encoding")
    announced = announced_trailers(head)
    kind = verified.payload
    if announced and kind in (Payload.WHOLE, Payload.UNSIGNED, Payload.SIGNED_CHUNKS):
        # A checksum that can never come would be one that is never checked.
        raise S3Error("InvalidRequest", "x-amz-trailer needs a payload with trailers")
    if not kind.is_chunked:
        return PlainBody(_plain_length_bytes(head), verified.sha256)
    length = (head.header("x-amz-decoded-content-length") or "").strip()
    if not _LENGTH.fullmatch(length):
        raise S3Error("MissingContentLength")
    signed = kind is not Payload.UNSIGNED_CHUNKS_TRAILER
    return ChunkedBody(
        int(length),
        signatures=ChunkSignatures(verified.seed) if signed else None,
        announced=announced,
        trailers_signed=kind is Payload.SIGNED_CHUNKS_TRAILER,
    )


def require_length(head: Head) -> None:
    """For operations that store their body: nothing said is not nothing sent. Raises
    MissingContentLength."""
    if "content-length" not in head.headers and "transfer-encoding" not in head.headers:
        raise S3Error("MissingContentLength")


def announced_trailers(head: Head) -> frozenset[str]:
    """The names in x-amz-trailer, in lower case; InvalidRequest for others than checksums."""
    value = head.header("x-amz-trailer")
    if value is None:
        return frozenset()
    names = [name.strip().lower() for name in value.split(",")]
    if len(names) > TRAILERS_MAX or not all(_TRAILER_NAME.fullmatch(name) for name in names):
        raise S3Error(
            "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
        )
    return frozenset(names)


def _plain_length_bytes(head: Head) -> int | None:
    """None for Transfer-Encoding: chunked. The service wants a length all the same; ceph/s3-tests do
    not, nor do programs that stream what they make."""
    length = head.header("content-length")
    if length is None:
        return None if "transfer-encoding" in head.headers else 0
    if not _LENGTH.fullmatch(length.strip()):
        raise S3Error(
            "InvalidArgument",
            "Content-Length is not a number of bytes",
            ArgumentName="Content-Length",
            ArgumentValue=length,
        )
    return int(length)
