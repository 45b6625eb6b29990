"""The content hashes of a body's chunks, made while its blocks pass by.

Boundaries are those of put_stream.cut: multiples of the chunk size, counted from the body's begin. A hash
is kept under the place and size of the very bytes that it is of, so whoever cuts otherwise finds none,
and never a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicast.hashing import HashAlgorithm, content_hasher

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ChunkHashes:
    """Of one body. `take` may be called while `update` is at work in a thread, nothing else."""

    def __init__(self, algorithm: HashAlgorithm, chunk_size_bytes: int) -> None:
        assert chunk_size_bytes > 0
        self.algorithm, self._chunk_size_bytes = algorithm, chunk_size_bytes
        self._hasher = content_hasher(algorithm)  # of the chunk that is not whole yet
        self._begin = self._open_bytes = 0
        self._made: dict[tuple[int, int], bytes] = {}

    def update(self, block: ReadableBuffer) -> None:
        """More of the body."""
        view = memoryview(block).cast("B")
        while view:
            piece = view[: self._chunk_size_bytes - self._open_bytes]
            self._hasher.update(piece)
            self._open_bytes += len(piece)
            view = view[len(piece) :]
            if self._open_bytes == self._chunk_size_bytes:
                self.finish()

    def finish(self) -> None:
        """The body has ended: its last chunk is whole, however short."""
        if not self._open_bytes:
            return
        self._made[self._begin, self._open_bytes] = self._hasher.digest()
        self._begin += self._open_bytes
        self._open_bytes, self._hasher = 0, content_hasher(self.algorithm)

    def take(self, offset: int, size_bytes: int) -> bytes | None:
        """The CHID of these bytes of the body, given once; None: it was not made (yet)."""
        return self._made.pop((offset, size_bytes), None)
