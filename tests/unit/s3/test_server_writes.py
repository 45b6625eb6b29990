"""How answers leave: head and small body in one write, long bodies block by block, all of it right."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.ready_answer import ReadyAnswer
from replicast.gateway.s3.server import (
    FIRST_WRITE_BYTES,
    WITH_HEAD_BYTES_MAX,
    WRITE_BYTES,
    S3Server,
)
from replicast.gateway.s3.service import S3Service
from replicast.metrics import Counters

CONFIG = GatewayConfig(directory=".", metrics_port=1)
REQUEST = b"GET /b/k HTTP/1.1\r\nHost: s3\r\n\r\n"

DATA_SEGMENTS_IN = 152  # where tcpi_data_segs_in is in struct tcp_info


class Blocks:
    """A service whose only object comes in these blocks, and perhaps an error at its end."""

    def __init__(self, blocks: list[bytes], error: S3Error | None = None) -> None:
        self._blocks, self._error = blocks, error
        self.ended = False

    def route(self, head: object) -> Any:
        return SimpleNamespace(operation=SimpleNamespace(name="GetObject"))

    async def serve(self, *_: object) -> Answer:
        return Answer(200, {"etag": '"e"'}, self._body(), sum(map(len, self._blocks)))

    async def _body(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block
        self.ended = True
        if self._error is not None:
            raise self._error


@contextlib.asynccontextmanager
async def asked(service: Blocks) -> AsyncIterator[tuple[S3Server, socket.socket]]:
    """A server and a client that has asked for the object."""
    server = S3Server(cast(S3Service, service), Counters(), CONFIG)
    address = await server.start(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, REQUEST)
        yield server, client


async def ask(service: Blocks) -> tuple[bytes, int]:
    """What a client receives, and in how many segments with data it came."""
    loop = asyncio.get_running_loop()
    async with asked(service) as (server, client):
        whole = await loop.sock_recv(client, 1 << 20)
        head, _, _ = whole.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(whole) < len(head) + 4 + length:
            more = await loop.sock_recv(client, 1 << 20)
            assert more
            whole += more
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    await server.stop(0.0)
    return whole, struct.unpack_from("=I", info, DATA_SEGMENTS_IN)[0]


@pytest.mark.parametrize("size", [1, 4096, 16_384])
def test_small_body__leaves_with_its_head(size: int) -> None:
    body = random.Random(size).randbytes(size)
    service = Blocks([body])
    whole, segments = asyncio.run(ask(service))
    assert segments == 1 and whole.endswith(b"\r\n\r\n" + body)
    assert service.ended


@pytest.mark.parametrize(
    "sizes", [[WITH_HEAD_BYTES_MAX], [WITH_HEAD_BYTES_MAX + 1], [100, 100], [1 << 20, 7], []]
)
def test_bodies__arrive_whole(sizes: list[int]) -> None:
    blocks = [random.Random(size).randbytes(size) for size in sizes]
    whole, _ = asyncio.run(ask(Blocks(blocks)))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert body == b"".join(blocks) and head.startswith(b"HTTP/1.1 200 OK")


def test_long_bodies__leave_in_few_writes_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = ReadyAnswer.write

    async def noted(answer: ReadyAnswer, data: bytes | bytearray | memoryview) -> None:
        sizes.append(len(data))
        await write(answer, data)

    monkeypatch.setattr(ReadyAnswer, "write", noted)
    asyncio.run(ask(Blocks([bytes(1 << 20), bytes(5 << 19)])))
    first = (1 << 20) - FIRST_WRITE_BYTES
    assert sizes == [FIRST_WRITE_BYTES, first, WRITE_BYTES, WRITE_BYTES, 1 << 19]


def test_small_body__an_error_at_its_end_is_told_in_its_place() -> None:
    whole, _ = asyncio.run(ask(Blocks([b"secret"], S3Error("InternalError"))))
    assert whole.startswith(b"HTTP/1.1 500 ") and b"secret" not in whole


def test_stop__does_not_wait_for_clients_that_ask_nothing() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with asked(Blocks([b"x"])) as (server, client):
            answer = b""
            while not answer.endswith(b"\r\n\r\nx"):
                answer += await loop.sock_recv(client, 1 << 20)
            async with asyncio.timeout(60):
                await server.stop(finish_seconds=3600.0)
                assert await loop.sock_recv(client, 1) == b""

    asyncio.run(run())
