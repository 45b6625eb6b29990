"""Bodies in the aws-chunked framing: taken apart as they come, held against what was signed.

    hex size [;chunk-signature=hex] CRLF   payload CRLF      any number of chunks
    0 [;chunk-signature=hex] CRLF                            the last one, empty
    [name:value CRLF]...                                     trailers, as x-amz-trailer announced
    [x-amz-trailer-signature:hex CRLF]
    CRLF

Payload is handed out as it comes and stays provisional: a chunk's signature is known to be right only
when all of it was here, the length and the trailers only at the end. Whoever stores it commits after
finish() returned, and throws away what he has when feed() or finish() raised.

Nothing is buffered but one line, so memory is bounded whatever sizes a client claims.
Sources: Amazon S3 API reference, as in chunk_signatures.py; the codes are those that the service was
seen to give: IncompleteBody for nearly all that is wrong with the framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from replicast.gateway.s3.chunk_signatures import ChunkSignatures
from replicast.gateway.s3.errors import S3Error

CHUNK_BYTES_MIN = 8192  # but for the last one
LINE_BYTES_MAX = 1024
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_CHUNK_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?\r\n")
_TRAILER = re.compile(rb"[ \t]*([^: \t]+)[ \t]*:[ \t]*([\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*)[ \t]*")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def _broken() -> S3Error:
    return S3Error("IncompleteBody", "The request body terminated unexpectedly")


class ChunkedBody:
    """One body. `length_bytes`: of the payload, as x-amz-decoded-content-length has it; never more
    than that comes out. `signatures`: None when chunks are not signed. `announced`: the names of
    the trailers, in lower case. Feed it from any thread, but from one at a time.
    """

    def __init__(
        self,
        length_bytes: int,
        *,
        signatures: ChunkSignatures | None = None,
        announced: Collection[str] = (),
        trailers_signed: bool = False,
    ) -> None:
        self.length_bytes = length_bytes
        self._signatures = signatures
        self.hashes = signatures is not None
        self._outstanding = set(announced)
        self._trailers_signed = trailers_signed
        self._trailers: dict[str, str] = {}
        self._trailer_signature = ""
        self._line = bytearray()
        self._on_line: Callable[[bytes], None] = self._chunk_header
        self._after_bare_newline = False
        self._left_bytes = 0  # of the chunk that is coming
        self._chunk_bytes = 0  # of that chunk, or of the one before
        self._chunk_count = 0
        self._announced_bytes = 0  # in all chunk headers so far
        self._whole = False
        self._failure: S3Error | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """The payload in `data`, as views of it; provisional until finish() returned.

        Raises the S3Error of what is wrong, and the same again if it is fed on.
        """
        if self._failure:
            raise self._failure
        try:
            return self._feed(memoryview(data))
        except S3Error as failure:
            self._failure = failure
            raise

    def finish(self) -> dict[str, str]:
        """The stream ended: its trailers, names in lower case. IncompleteBody if it should go on."""
        if self._failure:
            raise self._failure
        if not self._whole:
            raise _broken()
        return self._trailers

    def _feed(self, view: memoryview) -> list[memoryview]:
        blocks = []
        at = 0
        while at < len(view):
            if self._left_bytes:
                block = view[at : at + self._left_bytes]
                self._take(block)
                blocks.append(block)
                at += len(block)
            elif self._whole:
                raise _broken()
            else:
                at = self._take_line(view, at)
        return blocks

    def _take(self, block: memoryview) -> None:
        self._left_bytes -= len(block)
        if self._signatures:
            self._signatures.update(block)
            if not self._left_bytes:
                self._signatures.end()

    def _take_line(self, view: memoryview, at: int) -> int:
        room_bytes = LINE_BYTES_MAX - len(self._line)
        piece = bytes(view[at : at + room_bytes])
        newline = piece.find(b"\n")
        if newline < 0:
            if len(piece) == room_bytes:
                raise _broken()
            self._line += piece
            return at + len(piece)
        line = bytes(self._line) + piece[: newline + 1]
        self._line.clear()
        self._on_line(line)
        return at + newline + 1

    def _chunk_header(self, line: bytes) -> None:
        found = _CHUNK_HEADER.fullmatch(line)
        if not found or (found[2] is None) != (self._signatures is None):
            raise _broken()
        size_bytes = int(found[1], 16)
        self._check_size(size_bytes)
        self._chunk_count += 1
        self._chunk_bytes = self._left_bytes = size_bytes
        self._announced_bytes += size_bytes
        self._on_line = self._chunk_end if size_bytes else self._trailer_line
        if self._signatures:
            self._signatures.begin(found[2].decode())
            if not size_bytes:
                self._signatures.end()

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes and self._chunk_count and self._chunk_bytes < CHUNK_BYTES_MIN:
            raise S3Error(
                "InvalidChunkSizeError",
                Chunk=str(self._chunk_count),
                BadChunkSize=str(self._chunk_bytes),
            )
        rest_bytes = self.length_bytes - self._announced_bytes
        if size_bytes > rest_bytes or (not size_bytes and rest_bytes):
            raise S3Error("IncompleteBody")

    def _chunk_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _broken()
        self._on_line = self._chunk_header

    def _trailer_line(self, line: bytes) -> None:
        if line == b"\r\n":
            # minio-go ends the list of trailers with LF CRLF where others write CRLF.
            if self._after_bare_newline:
                self._after_bare_newline = False
            else:
                self._end()
            return
        self._after_bare_newline = not line.endswith(b"\r\n")
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if b"\r" in text or self._trailer_signature:
            raise _broken()
        found = _TRAILER.fullmatch(text)
        name = found[1].decode("latin-1").lower() if found else ""
        if found and name in self._outstanding:
            self._outstanding.remove(name)
            self._trailers[name] = found[2].decode()
        elif self._outstanding or not self._trailers_signed:
            raise S3Error("MalformedTrailerError")
        elif found and name == TRAILER_SIGNATURE and _SIGNATURE.fullmatch(found[2].decode()):
            self._trailer_signature = found[2].decode()
        else:
            raise _broken()

    def _end(self) -> None:
        if self._outstanding:
            raise S3Error("MalformedTrailerError")
        if self._trailers_signed:
            if not self._trailer_signature or not self._signatures:
                raise _broken()
            self._signatures.check_trailers(self._trailers, self._trailer_signature)
        self._whole = True
