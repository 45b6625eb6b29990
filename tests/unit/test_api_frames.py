"""Data on the API socket goes in pieces: what a peer that does not go on makes the other hold is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import numpy as np
import pytest

from replicast.gateway.api_frames import (
    DATA,
    END,
    FRAME_BYTES_MAX,
    JSON,
    READ_BUFFER_BYTES,
    WRITE_BUFFER_BYTES,
    FrameError,
    Upload,
    read_frame,
    send_data,
    write_frame,
)


def noise(size_bytes: int, seed: int = 1) -> bytes:
    return np.random.Generator(np.random.SFC64(seed)).bytes(size_bytes)


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The reader of one end and the writer of the other."""
    here, there = socket.socketpair()
    reader, back = await asyncio.open_connection(sock=here, limit=READ_BUFFER_BYTES)
    _, writer = await asyncio.open_connection(sock=there)
    writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    try:
        yield reader, writer
    finally:
        back.close()
        writer.close()


def test_upload__frames_of_any_size_come_in_pieces_of_at_most_a_buffer():
    sizes = (0, 1, READ_BUFFER_BYTES - 1, READ_BUFFER_BYTES + 1, FRAME_BYTES_MAX, 7)
    sent = [noise(size, seed) for seed, size in enumerate(sizes)]

    async def run() -> None:
        async with connected() as (reader, writer):
            for each in sent:
                write_frame(writer, DATA, each)
            write_frame(writer, END)
            pieces = [piece async for piece in Upload(reader, present=True)]
            assert b"".join(pieces) == b"".join(sent)
            assert max(map(len, pieces)) <= READ_BUFFER_BYTES

    asyncio.run(run())


@pytest.mark.parametrize(
    "frames",
    [
        b"",
        b"\x05\0\0\0\x02four",
        b"\x02\0\0\0\x01{}",
        b"\x01\0\0\0\x03x",
        b"\x01\0\0\0",
    ],
    ids=["no END", "closed inside a frame", "JSON", "END that has something", "closed in a head"],
)
def test_upload__that_breaks_off(frames):
    async def run() -> None:
        async with connected() as (reader, writer):
            writer.write(b"\x03\0\0\0\x02abc" + frames)
            writer.write_eof()
            upload = Upload(reader, present=True)
            assert await anext(upload) == b"abc"
            with pytest.raises(FrameError):
                [piece async for piece in upload]

    asyncio.run(run())


def test_send_data__to_a_reader_that_does_not_go_on__holds_two_pieces_and_then_all_arrives():
    block = noise(FRAME_BYTES_MAX)

    async def run() -> None:
        async with connected() as (reader, writer):
            sending = asyncio.ensure_future(send_data(writer, memoryview(block)))
            most_bytes = 0
            for _ in range(1000):
                await asyncio.sleep(0)
                most_bytes = max(most_bytes, writer.transport.get_write_buffer_size())
            assert 0 < most_bytes <= 2 * WRITE_BUFFER_BYTES
            assert await read_frame(reader) == (DATA, block)
            await sending
            write_frame(writer, JSON, b"{}")
            assert await read_frame(reader) == (JSON, b"{}")

    asyncio.run(run())
