"""The content hash of a cluster: chosen once at its creation, recorded in every reference.

CHIDs come from here and from nowhere else. Names are hashed elsewhere
(replicast.flexhash.names), always with SHA3-256.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Callable

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


def _blake3(data: ReadableBuffer) -> bytes:
    return blake3(data).digest()


def _sha3_256(data: ReadableBuffer) -> bytes:
    return hashlib.sha3_256(data).digest()


def _sha3_512(data: ReadableBuffer) -> bytes:
    return hashlib.sha3_512(data).digest()


def _sha256(data: ReadableBuffer) -> bytes:
    return hashlib.sha256(data).digest()


_HASHES: dict[int, tuple[Callable[[ReadableBuffer], bytes], int]] = {
    HashAlgorithm.BLAKE3_256: (_blake3, 32),
    HashAlgorithm.SHA3_256: (_sha3_256, 32),
    HashAlgorithm.SHA3_512: (_sha3_512, 64),
    HashAlgorithm.SHA256: (_sha256, 32),
}


def content_hash(algorithm: int, data: ReadableBuffer) -> bytes:
    """The CHID of `data`; raises ValueError for an algorithm that is not known."""
    try:
        function, _ = _HASHES[algorithm]
    except KeyError:
        raise ValueError(f"unknown hash algorithm {algorithm}") from None
    return function(data)


def fits_algorithm(algorithm: int, chid: bytes) -> bool:
    """Is this a known algorithm, and has the CHID its length? For input from peers."""
    known = _HASHES.get(algorithm)
    return known is not None and len(chid) == known[1]
