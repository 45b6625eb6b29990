"""What a put computes of its body in one pass: MD5, checksums, the payload's SHA-256, content hashes.

Pure computing: no threads here (hashing_threads.py has them), but `quick`, `lanes` and `md5` may run side
by side. hashlib and the CRCs give up the interpreter's lock for blocks of more than 2 KiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.s3.algorithms import Algorithm, Hasher
from replicast.gateway.s3.md5 import Md5
from replicast.hashing import HashAlgorithm
from replicast.native import PURE

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@dataclass(frozen=True, slots=True)
class Sums:
    """Of a whole body. `payload_sha256` only when it was asked for."""

    size_bytes: int
    md5: bytes
    checksums: Mapping[Algorithm, bytes]
    payload_sha256: bytes | None = None

    @property
    def etag(self) -> str:
        """Of an object put in one piece, without quotes."""
        return self.md5.hex()


class Fed(Protocol):
    """What takes blocks in a lane."""

    def update(self, block: ReadableBuffer, /) -> object: ...


class Lane:
    """Hashers that take blocks one after the other, in one thread at a time."""

    def __init__(self, hashers: list[Fed]) -> None:
        self._hashers = hashers

    def update(self, *blocks: ReadableBuffer) -> None:
        """More of the body."""
        for block in blocks:
            for hasher in self._hashers:
                hasher.update(block)


class Digests:
    """Feed it the body's blocks in order: `update`, or `count` and what `md5`, `quick` and each of `lanes`
    have for it. `quick` takes less time than handing a block to a thread does.

    `payload_sha256`: what a signature over the payload needs; it is the checksum too when SHA256
    is among `algorithms`. `chunks`: content hashes to be made, too. `size_bytes`: fed so far.
    """

    def __init__(
        self,
        algorithms: Iterable[Algorithm] = (),
        *,
        payload_sha256: bool = False,
        chunks: ChunkHashes | None = None,
    ) -> None:
        self._hashers = {each: each.hasher() for each in algorithms}
        self._payload: Hasher | None = None
        if payload_sha256:
            self._payload = self._hashers.get(Algorithm.SHA256) or hashlib.sha256()
        self.chunks, self.size_bytes = chunks, 0
        self.md5 = Md5()
        self.quick, self.lanes = self._make_lanes()

    def _make_lanes(self) -> tuple[Lane, list[Lane]]:
        # GB/s of one core: MD5 0.8, SHA3 0.3 to 0.5, SHA-1 and SHA-256 2, BLAKE3 7, CRCs 30. The fast ones
        # share a lane.
        fast: list[Fed] = [hasher for each, hasher in self._hashers.items() if each.is_crc]
        others: list[Fed] = [hasher for each, hasher in self._hashers.items() if not each.is_crc]
        if self._payload is not None and self._payload not in others:
            others.append(self._payload)
        if self.chunks is not None:
            cheap = self.chunks.algorithm is HashAlgorithm.BLAKE3_256
            (fast if cheap else others).append(self.chunks)
        if PURE:  # then CRCs are as slow as anything
            return Lane([]), [Lane(hashers) for hashers in (fast, others) if hashers]
        return Lane(fast), [Lane(others)] if others else []

    def count(self, size_bytes: int) -> None:
        """Note that the lanes take so much."""
        self.size_bytes += size_bytes

    def update(self, block: ReadableBuffer) -> None:
        """More of the body, here and now."""
        self.count(memoryview(block).nbytes)
        self.md5.update(block)
        self.quick.update(block)
        for lane in self.lanes:
            lane.update(block)

    def results(self) -> Sums:
        """Of what was fed, which is all of the body; no lane may be at work."""
        if self.chunks is not None:
            self.chunks.finish()
        return Sums(
            self.size_bytes,
            self.md5.digest(),
            {each: hasher.digest() for each, hasher in self._hashers.items()},
            None if self._payload is None else self._payload.digest(),
        )
