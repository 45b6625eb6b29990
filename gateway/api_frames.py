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
WRITE_BUFFER_BYTES = 1 << 20
READ_BUFFER_BYTES = 1 << 20


class FrameError(Exception):
    """The peer does not speak this protocol, or closed in the middle of a frame."""


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """The next (kind, payload); None when the peer closed between frames."""
    try:
        head = await reader.readexactly(5)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("closed inside a frame") from None
        return None
    size = int.from_bytes(head[:4], "little")
    if size > FRAME_BYTES_MAX or not JSON <= head[4] <= ERROR:
        raise FrameError(f"frame of kind {head[4]} and {size} bytes")
    try:
        return head[4], await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise FrameError("closed inside a frame") from None


def write_frame(
    writer: asyncio.StreamWriter, kind: int, payload: bytes | bytearray | memoryview = b""
) -> None:
    """Queue one frame; the caller drains."""
    writer.write(len(payload).to_bytes(4, "little") + bytes((kind,)))
    if len(payload):
        writer.write(payload)


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
    """The DATA frames of one upload, up to its END; without one, nothing at all.

    Iterating raises FrameError for an upload that breaks off.
    """

    def __init__(self, reader: asyncio.StreamReader, *, present: bool) -> None:
        self._reader, self._finished = reader, not present

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._finished:
            raise StopAsyncIteration
        frame = await read_frame(self._reader)
        if frame is None or frame[0] not in (DATA, END):
            raise FrameError("upload broke off")
        kind, payload = frame
        if kind == END:
            self._finished = True
            raise StopAsyncIteration
        return payload

    async def discard(self) -> None:
        """Read what is left of it: behind it comes the next request."""
        async for _ in self:
            pass
