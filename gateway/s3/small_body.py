"""Bodies of requests that are read whole before anything is done: XML."""

from __future__ import annotations

from replicast.gateway.s3.call import Call
from replicast.gateway.s3.claims import Claims, read_claims
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.upload_source import UploadSource
from replicast.units import MIB

SMALL_BYTES_MAX = 2 * MIB  # the longest lists that S3 allows


async def small_body(call: Call, claims: Claims | None, threads: HashExecutor) -> bytes:
    """All of it, compared with what its client said of it. Raises MaxMessageLengthExceeded."""
    _check(call.body.length_bytes)
    claims = read_claims(call.head) if claims is None else claims
    source = UploadSource(call.stream, call.body, claims, threads)
    body = bytearray()
    async for block in source:
        body += block
        _check(len(body))
    await source.finish()
    return bytes(body)


def _check(length_bytes: int) -> None:
    if length_bytes > SMALL_BYTES_MAX:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(SMALL_BYTES_MAX))
