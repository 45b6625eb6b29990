"""gateway/s3/connection.py: clients that send more behind a request than is kept until its turn."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3 import connection
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.operation import Request
from replicast.gateway.s3.operations import OPERATIONS
from replicast.gateway.s3.server import S3Server
from replicast.metrics import Counters

GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
MUCH = GET * (connection.AHEAD_BYTES_MAX // len(GET) + 100)
PATIENCE_SECONDS = 60.0


class Service:
    """Answers when the connection was found to have sent too much."""

    def __init__(self) -> None:
        self.began, self.too_much = asyncio.Event(), asyncio.Event()

    def route(self, head: Any) -> Request:
        found = next(each for each in OPERATIONS if each.name == "GetObject")
        return Request(found, "b", "k", {})

    async def serve(self, head: Any, routed: Any, stream: Any, url: str, peer: str) -> Answer:
        self.began.set()
        await self.too_much.wait()
        return Answer(200, {}, b"the answer")


async def send_too_much(
    service: Service, more: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[bytes, socket.socket]:
    """What comes until the connection's end, and its socket, to which `more` was sent after that."""
    end = connection.S3Connection.close

    def close(each: connection.S3Connection) -> None:
        end(each)
        service.too_much.set()

    monkeypatch.setattr(connection.S3Connection, "close", close)
    server = S3Server(service, Counters(), GatewayConfig(directory=".", metrics_port=1))  # type: ignore[arg-type]
    loop, client = asyncio.get_running_loop(), socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, await server.start(("127.0.0.1", 0)))
    await loop.sock_sendall(client, GET)
    await service.began.wait()
    await loop.sock_sendall(client, MUCH)
    got = b""
    while data := await loop.sock_recv(client, 1 << 16):
        got += data
    for _ in range(more):
        await loop.sock_sendall(client, GET)
    client.shutdown(socket.SHUT_WR)
    await server.stop(PATIENCE_SECONDS)
    return got, client


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DISCARD_SECONDS", PATIENCE_SECONDS)


def test_too_much__is_read_until_the_client_has_seen_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closed at once, the connection would be reset by what comes later, and answers be lost."""

    async def run() -> None:
        got, client = await send_too_much(Service(), 100, monkeypatch)
        assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"the answer")
        assert got.count(b"HTTP/1.1") == 1, "what came behind is not served"
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        client.close()

    asyncio.run(run())


def test_too_much__that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        endless = connection.DISCARD_BYTES_MAX // len(GET) + 1_000_000
        with pytest.raises(ConnectionError):
            await send_too_much(Service(), endless, monkeypatch)

    asyncio.run(run())
