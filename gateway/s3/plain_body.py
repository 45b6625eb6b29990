"""Bodies as they are, without a framing: counted, and held against the hash that was signed."""

from __future__ import annotations

import hashlib
import hmac

from replicast.gateway.s3.errors import S3Error
from replicast.units import GIB

UNKNOWN_BYTES_MAX = 5 * GIB  # what a request may send at most


class PlainBody:
    """One body. `length_bytes`: None when it ends where the stream does; `sha256`: what
    x-amz-content-sha256 announced, in hex; "" for an unsigned body.

    As with ChunkedBody, what feed() hands out is provisional until finish() returned.
    """

    def __init__(self, length_bytes: int | None, sha256: str = "") -> None:
        self.length_bytes = length_bytes or 0
        self._open_end = length_bytes is None
        self._left_bytes = UNKNOWN_BYTES_MAX if length_bytes is None else length_bytes
        self._announced = sha256
        self._sha256 = hashlib.sha256() if sha256 else None
        self.hashes = bool(sha256)

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """All of `data`, as a view of it; IncompleteBody when it is more than was announced,
        EntityTooLarge when it is more than anybody may send."""
        block = memoryview(data)
        self._left_bytes -= len(block)
        if self._left_bytes < 0:
            raise S3Error("EntityTooLarge" if self._open_end else "IncompleteBody")
        if self._sha256:
            self._sha256.update(block)
        return [block] if block else []

    def finish(self) -> dict[str, str]:
        """The stream ended: IncompleteBody or XAmzContentSHA256Mismatch, or it is what was signed.

        There are no trailers; the type is that of the other body.
        """
        if self._left_bytes and not self._open_end:
            raise S3Error("IncompleteBody")
        if self._sha256 and not hmac.compare_digest(self._sha256.hexdigest(), self._announced):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=self._announced,
                S3ComputedContentSHA256=self._sha256.hexdigest(),
            )
        return {}
