"""The content hash of a cluster: chosen once at its creation, recorded in every reference.

CHIDs come from here and from nowhere else. Names are hashed elsewhere
(replicast.flexhash.names), always with SHA3-256.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class HashAlgorithm(IntEnum):
    """Numbers as they stand in references, messages and records."""

    BLAKE3_256 = 1
    SHA3_256 = 2
    SHA3_512 = 3
    SHA256 = 4


def algorithm_named(name: str) -> HashAlgorithm:
    """The algorithm as settings spell it (blake3-256, sha3-256, sha3-512, sha256); ValueError."""
    try:
        return HashAlgorithm[name.upper().replace("-", "_")]
    except KeyError:
        known = ", ".join(a.name.lower().replace("_", "-") for a in HashAlgorithm)
        raise ValueError(f"unknown content hash {name!r}; known: {known}") from None


DEFAULT_ALGORITHM = HashAlgorithm.BLAKE3_256


def made_on_arrival(algorithm: int) -> bool:
    """Is it what Reassembly.digest() makes?"""
    known = _HASHES.get(algorithm)
    return known is not None and known[0] is blake3


class ContentHasher(Protocol):
    """Takes the bytes piece by piece."""

    def update(self, piece: ReadableBuffer, /) -> object: ...

    def digest(self) -> bytes: ...


class _New(Protocol):
    def __call__(self, data: ReadableBuffer = b"", /) -> ContentHasher: ...


_HASHES: dict[int, tuple[_New, int]] = {
    HashAlgorithm.BLAKE3_256: (blake3, 32),
    HashAlgorithm.SHA3_256: (hashlib.sha3_256, 32),
    HashAlgorithm.SHA3_512: (hashlib.sha3_512, 64),
    HashAlgorithm.SHA256: (hashlib.sha256, 32),
}


def content_hash(algorithm: int, data: ReadableBuffer) -> bytes:
    """The CHID of `data`; raises ValueError for an algorithm that is not known."""
    return _new(algorithm)(data).digest()


def content_hasher(algorithm: int) -> ContentHasher:
    """For bytes that come in pieces: its digest is their content_hash. Raises as that does."""
    return _new(algorithm)()


def _new(algorithm: int) -> _New:
    try:
        return _HASHES[algorithm][0]
    except KeyError:
        raise ValueError(f"unknown hash algorithm {algorithm}") from None


def fits_algorithm(algorithm: int, chid: bytes) -> bool:
    """Is this a known algorithm, and has the CHID its length? For input from peers."""
    known = _HASHES.get(algorithm)
    return known is not None and len(chid) == known[1]
