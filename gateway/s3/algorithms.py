"""The checksums that S3 stores with an object: their names, sizes, texts, and how they are computed.

Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3"; API reference, Checksum.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from replicast.gateway.s3.checksums import (
    combine_crc32,
    combine_crc32c,
    combine_crc64nvme,
    crc32,
    crc32c,
    crc64nvme,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HEADER_PREFIX = "x-amz-checksum-"


class Hasher(Protocol):
    """What hashlib's objects do."""

    def update(self, block: ReadableBuffer, /) -> None: ...

    def digest(self) -> bytes: ...


class CrcHasher:
    """A CRC as a hasher; the digest is big-endian, as S3 encodes it."""

    def __init__(self, function: Callable[[int, ReadableBuffer], int], size_bytes: int) -> None:
        self._function, self._size_bytes = function, size_bytes
        self._crc = 0

    def update(self, block: ReadableBuffer, /) -> None:
        self._crc = self._function(self._crc, block)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._size_bytes, "big")


class ChecksumType(StrEnum):
    """What the checksum of an object that came in parts is one of.

    Values are as in x-amz-checksum-type and ChecksumType.
    """

    COMPOSITE = "COMPOSITE"  # of the checksums of the parts
    FULL_OBJECT = "FULL_OBJECT"  # of the bytes, as if they had come in one piece


class Algorithm(StrEnum):
    """Values are as in x-amz-checksum-algorithm and ChecksumAlgorithm."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"

    @property
    def header(self) -> str:
        """The header or trailer that carries it, in lower case."""
        return HEADER_PREFIX + self.lower()

    @property
    def element(self) -> str:
        """The XML element that carries it."""
        return f"Checksum{self}"

    @property
    def size_bytes(self) -> int:
        """Of the value itself, before Base64."""
        return _SIZE_BYTES[self]

    @property
    def is_crc(self) -> bool:
        """Cheap, and of a whole when the parts' are known."""
        return self in _CRCS

    @property
    def types(self) -> tuple[ChecksumType, ...]:
        """Those that an upload in parts may ask for, the default first."""
        if self is Algorithm.CRC64NVME:
            return (ChecksumType.FULL_OBJECT,)
        if self.is_crc:
            return (ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)
        return (ChecksumType.COMPOSITE,)

    def hasher(self) -> Hasher:
        """A new one."""
        if self is Algorithm.SHA1:
            return hashlib.sha1(usedforsecurity=False)
        if self is Algorithm.SHA256:
            return hashlib.sha256()
        return CrcHasher(_CRCS[self][0], self.size_bytes)

    def combine(self, first: bytes, second: bytes, second_bytes: int) -> bytes:
        """Of two pieces one after the other. Only of CRCs."""
        whole = _CRCS[self][1](
            int.from_bytes(first, "big"), int.from_bytes(second, "big"), second_bytes
        )
        return whole.to_bytes(self.size_bytes, "big")


_CRCS = {
    Algorithm.CRC32: (crc32, combine_crc32),
    Algorithm.CRC32C: (crc32c, combine_crc32c),
    Algorithm.CRC64NVME: (crc64nvme, combine_crc64nvme),
}
_SIZE_BYTES = {
    Algorithm.CRC32: 4,
    Algorithm.CRC32C: 4,
    Algorithm.CRC64NVME: 8,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
}

# What S3 computes of a body whose client named none.
DEFAULT_ALGORITHM = Algorithm.CRC64NVME
BY_HEADER = {algorithm.header: algorithm for algorithm in Algorithm}


def algorithm_named(text: str) -> Algorithm | None:
    """In any case; None: unknown."""
    name = text.upper()
    return Algorithm(name) if name in Algorithm.__members__ else None


def to_text(value: bytes) -> str:
    """Base64, as headers and XML carry digests."""
    return base64.b64encode(value).decode()


def from_text(text: str, size_bytes: int) -> bytes | None:
    """The value of exactly this size; None when `text` is not its one Base64 form."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # S3 refuses also what decodes but leaves bits over, such as y/Q5Jh==.
    return value if len(value) == size_bytes and to_text(value) == text else None
