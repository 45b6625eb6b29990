"""Frames of the local API socket: u32 length (little-endian), u8 kind, payload.

A request is one JSON frame `{"op": ..., ...}`, then for uploads DATA frames and
END. The answer is any number of JSON and DATA frames, then END or ERROR (JSON
`{"reason", "message", "class"}`). One request at a time on a connection, any
number one after the other. A client that hears ERROR in the middle of its upload
ends it with END; what it had sent is discarded. Both sides refuse frames above FRAME_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

FRAME_BYTES_MAX = 4 << 20
JSON, DATA, END, ERROR = 1, 2, 3, 4
WRITE_BUFFER_BYTES = 256 << 10  # held for a reader that does not go on; one piece more at most
READ_BUFFER_BYTES = 256 << 10  # up to twice as much, and one read, is held


class FrameError(Exception):
    """The peer does not speak this protocol, or closed in the middle of a frame."""


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """The next (kind, payload); None when the peer closed between frames."""
    head = await _read_head(reader)
    if head is None:
        return None
    kind, size_bytes = head
    try:
        return kind, await reader.readexactly(size_bytes)
    except asyncio.IncompleteReadError:
        raise FrameError("closed inside a frame") from None


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, int] | None:
    """Kind and size of the next frame; None when the peer closed before it."""
    try:
        head = await reader.readexactly(5)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("closed inside a frame") from None
        return None
    kind, size_bytes = head[4], int.from_bytes(head[:4], "little")
    if size_bytes > FRAME_BYTES_MAX or not JSON <= kind <= ERROR:
        raise FrameError(f"frame of kind {kind} and {size_bytes} bytes")
    return kind, size_bytes


def _head(kind: int, size_bytes: int) -> bytes:
    return size_bytes.to_bytes(4, "little") + bytes((kind,))


def write_frame(
    writer: asyncio.StreamWriter, kind: int, payload: bytes | bytearray | memoryview = b""
) -> None:
    """Queue one frame; the caller drains."""
    writer.write(_head(kind, len(payload)))
    if len(payload):
        writer.write(payload)


async def send_data(writer: asyncio.StreamWriter, block: bytes | bytearray | memoryview) -> None:
    """Send one DATA frame, piece by piece as the reader goes on: what the socket does not take at once
    is copied. The block is on its way or copied on return."""
    view = memoryview(block).cast("B")
    writer.write(_head(DATA, len(view)))
    for at in range(0, len(view), WRITE_BUFFER_BYTES):
        writer.write(view[at : at + WRITE_BUFFER_BYTES])
        await writer.drain()


def write_json(writer: asyncio.StreamWriter, value: Any, kind: int = JSON) -> None:
    """Queue one JSON frame."""
    write_frame(writer, kind, json.dumps(value, separators=(",", ":")).encode())


def parse_json(payload: bytes) -> dict[str, Any]:
    """The object in a JSON frame; raises FrameError for anything else."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise FrameError("not JSON") from None
    if not isinstance(value, dict):
        raise FrameError("not a JSON object")
    return value


class Upload:
    """The bytes of the DATA frames of one upload, up to its END; without one, nothing at all.

    They come in pieces as they are there, for whole frames would have to be gathered first: of each
    client that is made to wait, no more than the reader's buffer is held. Iterating raises FrameError
    for an upload that breaks off.
    """

    def __init__(self, reader: asyncio.StreamReader, *, present: bool) -> None:
        self._reader, self._finished = reader, not present
        self._left_bytes = 0  # of the frame that has begun

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._left_bytes:
            if self._finished:
                raise StopAsyncIteration
            await self._begin_frame()
        piece = await self._reader.read(min(self._left_bytes, READ_BUFFER_BYTES))
        if not piece:
            raise FrameError("closed inside a frame")
        self._left_bytes -= len(piece)
        return piece

    async def _begin_frame(self) -> None:
        head = await _read_head(self._reader)
        if head is None or head[0] not in (DATA, END) or (head[0] == END and head[1]):
            raise FrameError("upload broke off")
        kind, self._left_bytes = head
        self._finished = kind == END

    async def discard(self) -> None:
        """Read what is left of it: behind it comes the next request."""
        async for _ in self:
            pass
