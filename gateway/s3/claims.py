"""What a client says of a body before or behind it: Content-MD5, x-amz-checksum-*, a trailer.

Codes and sentences are those of the service, for SDKs show them and tests compare them. Source:
Amazon S3 API reference (PutObject, UploadPart), "Checking object integrity for data uploads";
where it says nothing, the functional tests of OpenStack Swift's S3 API, which also run against
the service, and ceph/s3-tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from replicast.gateway.s3.algorithms import (
    BY_HEADER,
    HEADER_PREFIX,
    Algorithm,
    algorithm_named,
    from_text,
    to_text,
)
from replicast.gateway.s3.digests import Sums
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head

MD5_BYTES = 16
ALGORITHM_HEADER = HEADER_PREFIX + "algorithm"
TYPE_HEADER = HEADER_PREFIX + "type"
MODE_HEADER = HEADER_PREFIX + "mode"
SDK_ALGORITHM_HEADER = "x-amz-sdk-checksum-algorithm"
TRAILER_HEADER = "x-amz-trailer"
_NO_VALUES = {ALGORITHM_HEADER, TYPE_HEADER, MODE_HEADER}
_UNPADDED = re.compile(r"[A-Za-z0-9+/]+")


@dataclass(frozen=True, slots=True)
class Claims:
    """`algorithm` without `value`: it comes in a trailer, see `with_trailers`."""

    md5: bytes | None = None
    algorithm: Algorithm | None = None
    value: bytes | None = None

    @property
    def trailer(self) -> str | None:
        """The trailer that has still to come, in lower case."""
        return self.algorithm.header if self.algorithm and self.value is None else None

    def require(self) -> None:
        """For operations that take no body without a claim, such as DeleteObjects."""
        if self.md5 is None and self.algorithm is None:
            raise S3Error(
                "InvalidRequest",
                "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
            )

    def with_trailers(self, trailers: Mapping[str, str]) -> Claims:
        """What came behind the body, names in lower case: what was announced, and no more."""
        if set(trailers) != ({self.trailer} if self.trailer else set()):
            raise S3Error("MalformedTrailerError")
        if self.algorithm is None or self.trailer is None:
            return self
        text = trailers[self.trailer]
        return replace(self, value=read_value(self.algorithm, text, "trailing header"))

    def check(self, sums: Sums) -> None:
        """Raises BadDigest: the body is another than the client's. `algorithm` is in `sums`."""
        if self.md5 is not None and self.md5 != sums.md5:
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=self.md5.hex(),
                CalculatedDigest=to_text(sums.md5),
            )
        if self.algorithm and self.value != sums.checksums[self.algorithm]:
            raise mismatch(self.algorithm)


def mismatch(name: str) -> S3Error:
    """The algorithm's name as this answer spells it: of a body in capitals, of an upload not."""
    return S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")


def read_claims(head: Head) -> Claims:
    """Raises InvalidDigest and InvalidRequest, and BadDigest for what can match no body at all."""
    md5 = _read_md5(head)
    value = read_checksum_header(head)
    announced = _read_announced(head)
    if value and announced:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header")
    algorithm = value[0] if value else announced
    _check_sdk_algorithm(head, algorithm)
    if value is None:
        return Claims(md5, announced)
    return Claims(md5, value[0], read_value(value[0], value[1], "header"))


def read_md5_claim(head: Head) -> Claims:
    """Content-MD5 alone: of operations whose x-amz-checksum-* is not of their body."""
    return Claims(_read_md5(head))


def wants_checksums(head: Head) -> bool:
    """x-amz-checksum-mode of GetObject and HeadObject."""
    mode = head.header(MODE_HEADER)
    if mode is not None and mode.upper() != "ENABLED":
        raise S3Error("InvalidRequest", f"Value for {MODE_HEADER} header is invalid.")
    return mode is not None


def check_payload_hash(claimed: str, sums: Sums) -> None:
    """x-amz-content-sha256, 64 hexadecimal digits, against the payload as it came."""
    computed = (sums.payload_sha256 or b"").hex()
    if claimed.lower() != computed:
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ClientComputedContentSHA256=claimed,
            S3ComputedContentSHA256=computed,
        )


def read_checksum_header(head: Head) -> tuple[Algorithm, str] | None:
    """The one x-amz-checksum-* header that carries a value, and its text."""
    names = [n for n in head.headers if n.startswith(HEADER_PREFIX) and n not in _NO_VALUES]
    if len(names) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    if not names:
        return None
    if names[0] not in BY_HEADER:
        raise S3Error(
            "InvalidRequest",
            "The algorithm type you specified in x-amz-checksum- header is invalid.",
        )
    return BY_HEADER[names[0]], head.headers[names[0]]


def read_value(algorithm: Algorithm, text: str, place: str) -> bytes:
    """`place`: what the answer calls the place where it stood."""
    value = from_text(text, algorithm.size_bytes)
    if value is None:
        # ceph/s3-tests send "bad" and want this; what the service refuses as no value is padded,
        # of another size, or has strange characters.
        if len(text) % 4 and _UNPADDED.fullmatch(text):
            raise mismatch(algorithm)
        raise S3Error("InvalidRequest", f"Value for {algorithm.header} {place} is invalid.")
    return value


def _read_md5(head: Head) -> bytes | None:
    text = head.header("content-md5")
    if text is None:
        return None
    value = from_text(text, MD5_BYTES)
    if value is None:
        raise S3Error(
            "InvalidDigest",
            "The Content-MD5 you specified was invalid.",
            **{"Content-MD5": text},
        )
    return value


def _read_announced(head: Head) -> Algorithm | None:
    """The checksum that x-amz-trailer announces; nothing else may be announced."""
    text = head.header(TRAILER_HEADER)
    if text is None:
        return None
    algorithm = BY_HEADER.get(text.strip().lower())
    if algorithm is None:
        raise S3Error(
            "InvalidRequest",
            "The value specified in the x-amz-trailer header is not supported",
        )
    return algorithm


def _check_sdk_algorithm(head: Head, algorithm: Algorithm | None) -> None:
    text = head.header(SDK_ALGORITHM_HEADER)
    if text is None:
        return
    named = algorithm_named(text)
    if named and algorithm is None:
        raise S3Error(
            "InvalidRequest",
            f"{SDK_ALGORITHM_HEADER} specified, but no corresponding x-amz-checksum-* "
            "or x-amz-trailer headers were found.",
        )
    if named != algorithm or named is None:
        raise S3Error("InvalidRequest", f"Value for {SDK_ALGORITHM_HEADER} header is invalid.")
