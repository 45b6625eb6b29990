"""Bodies as they are, without a framing: counted, and held against the hash that was signed."""

from __future__ import annotations

import hashlib
import hmac

from replicast.gateway.s3.errors import S3Error


class PlainBody:
    """One body. `sha256`: what x-amz-content-sha256 announced, in hex; "" for an unsigned body.

    As with ChunkedBody, what feed() hands out is provisional until finish() returned.
    """

    def __init__(self, length_bytes: int, sha256: str = "") -> None:
        self.length_bytes = length_bytes
        self._left_bytes = length_bytes
        self._announced = sha256
        self._sha256 = hashlib.sha256() if sha256 else None

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """All of `data`, as a view of it; IncompleteBody when it is more than was announced."""
        block = memoryview(data)
        self._left_bytes -= len(block)
        if self._left_bytes < 0:
            raise S3Error("IncompleteBody")
        if self._sha256:
            self._sha256.update(block)
        return [block] if block else []

    def finish(self) -> dict[str, str]:
        """The stream ended: IncompleteBody or XAmzContentSHA256Mismatch, or it is what was signed.

        There are no trailers; the type is that of the other body.
        """
        if self._left_bytes:
            raise S3Error("IncompleteBody")
        if self._sha256 and not hmac.compare_digest(self._sha256.hexdigest(), self._announced):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=self._announced,
                S3ComputedContentSHA256=self._sha256.hexdigest(),
            )
        return {}
