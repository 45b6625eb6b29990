"""gateway/s3/connection.py: how much is read at a time, and what is parsed again when reading goes on."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3 import connection
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.connection import LARGE_READ_BYTES, READ_BYTES, S3Connection
from replicast.gateway.s3.operation import Request
from replicast.gateway.s3.operations import OPERATIONS
from replicast.gateway.s3.server import S3Server
from replicast.metrics import Counters

BODY = bytes(range(256)) * 8192  # 2 MiB
# Of a body of known length the rest comes past the parser: test_body_reader.py.
PUT = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


class Service:
    """Takes bodies, once it may."""

    def __init__(self) -> None:
        self.go_on, self.asked = asyncio.Event(), asyncio.Event()
        self.body = b""

    def route(self, head: Any) -> Request:
        found = next(each for each in OPERATIONS if each.name == "PutObject")
        return Request(found, "b", "k", {})

    async def serve(self, head: Any, routed: Any, stream: Any, url: str, peer: str) -> Answer:
        self.asked.set()
        await self.go_on.wait()
        self.body = b"".join([block async for block in stream])
        return Answer(200, {}, b"")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each read: how much it could have been, and was."""
    found: list[tuple[int, int]] = []
    received = S3Connection.data_received

    def noted(each: Any, data: bytes) -> None:
        if data:
            found.append((each.transport.max_size, len(data)))
        received(each, data)

    monkeypatch.setattr(S3Connection, "data_received", noted)
    return found


async def put(service: Service, times: int = 1) -> None:
    """Put the body so many times."""
    server = S3Server(service, Counters(), GatewayConfig(directory=".", metrics_port=1))  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, await server.start(("127.0.0.1", 0)))
        for _ in range(times):
            sending = asyncio.ensure_future(loop.sock_sendall(client, PUT + FRAMED))
            await service.asked.wait()
            service.go_on.set()
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await loop.sock_recv(client, 1 << 16)
            await sending
            assert answer.startswith(b"HTTP/1.1 200") and service.body == BODY
    await server.stop(0.0)


def test_reads__are_larger_once_there_is_room(reads: list[tuple[int, int]]) -> None:
    asyncio.run(put(Service(), times=2))
    sizes = [most for most, _ in reads]
    assert sizes[0] == READ_BYTES and sizes[-1] == LARGE_READ_BYTES
    second = sizes.index(READ_BYTES, sizes.index(LARGE_READ_BYTES))
    assert LARGE_READ_BYTES in sizes[second:], "of the next request, from its beginning"
    assert sum(size for _, size in reads) == 2 * len(PUT + FRAMED)


def test_what_waits_for_room__is_bounded() -> None:
    """Twice the buffer and one read: docs/s3.md says so."""
    assert 2 * connection.READ_BUFFER_BYTES + READ_BYTES <= 3 * (1 << 20) // 4
    assert 2 * connection.READ_BUFFER_BYTES + LARGE_READ_BYTES <= 1 << 20


def test_resume_reading__parses_nothing_where_nothing_was_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A body says so with each piece that is taken of it."""
    paused: list[bool] = []
    resume = S3Connection.resume_reading
    nothing = 0

    def resumed(each: Any, resume_parser: bool = True) -> None:
        paused.append(each._reading_paused)
        resume(each, resume_parser)

    received = S3Connection.data_received

    def noted(each: Any, data: bytes) -> None:
        nonlocal nothing
        nothing += not data
        received(each, data)

    monkeypatch.setattr(S3Connection, "data_received", noted)
    monkeypatch.setattr(S3Connection, "resume_reading", resumed)
    asyncio.run(put(Service()))
    assert len(paused) > nothing == sum(paused)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_body__of_which_a_whole_piece_is_there_already(
    monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """While it waited for room: what is read ahead of it ends just there."""
    service, begun_bytes = Service(), LARGE_READ_BYTES + more
    head = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(BODY)
    head += b"x-amz-decoded-content-length: 1\r\n\r\n"
    received = S3Connection.data_received

    def noted(each: Any, data: bytes) -> None:
        received(each, data)
        if each._body is not None and each._body.total_bytes == begun_bytes:
            service.go_on.set()

    monkeypatch.setattr(S3Connection, "data_received", noted)

    async def run() -> None:
        server = S3Server(service, Counters(), GatewayConfig(directory=".", metrics_port=1))  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, await server.start(("127.0.0.1", 0)))
            await loop.sock_sendall(client, head)
            await service.asked.wait()
            await loop.sock_sendall(client, BODY[:begun_bytes])
            await service.go_on.wait()
            await loop.sock_sendall(client, BODY[begun_bytes:])
            answer = await loop.sock_recv(client, 1 << 16)
            assert answer.startswith(b"HTTP/1.1 200") and service.body == BODY
        await server.stop(0.0)

    asyncio.run(run())
