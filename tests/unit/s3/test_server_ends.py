"""gateway/s3/connection.py: how connections end whose clients send on, or nothing more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3 import connection
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.connection import AHEAD_BYTES_MAX, DISCARD_BYTES_MAX, S3Connection
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.operation import Request
from replicast.gateway.s3.operations import OPERATIONS
from replicast.gateway.s3.server import S3Server
from replicast.metrics import Counters

MIB = 1 << 20
GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_SECONDS = 60.0
LATE_SECONDS = 0.1
Talk = Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[None]]


def put(length_bytes: int, more: bytes = b"") -> bytes:
    return b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (length_bytes, more)


class Service:
    """Answers with what it is sent, where it takes that, and not before it may."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses, self.began, self.go_on = refuses, asyncio.Event(), asyncio.Event()
        self.go_on.set()

    def route(self, head: Any) -> Request:
        found = next(each for each in OPERATIONS if each.name == "PutObject")
        return Request(found, "b", "k", {})

    async def serve(self, head: Any, routed: Any, stream: Any, url: str, peer: str) -> Answer:
        self.began.set()
        await self.go_on.wait()
        if self.refuses:
            raise S3Error("SignatureDoesNotMatch")
        return Answer(200, {}, b"".join([block async for block in stream]))


def talk(service: Service, client: Talk, **settings: Any) -> None:
    """Let a client talk; nothing goes wrong in the loop meanwhile."""
    wrong: list[dict[str, Any]] = []

    async def run() -> None:
        loop, own = asyncio.get_running_loop(), socket.socket()
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        config = GatewayConfig(directory=".", metrics_port=1, **settings)
        server = S3Server(service, Counters(), config)  # type: ignore[arg-type]
        own.setblocking(False)
        with own:
            await loop.sock_connect(own, await server.start(("127.0.0.1", 0)))
            await client(loop, own)
        await server.stop(PATIENCE_SECONDS)

    asyncio.run(run())
    assert not wrong, wrong


async def to_the_end(loop: asyncio.AbstractEventLoop, own: socket.socket) -> bytes:
    got = b""
    while data := await loop.sock_recv(own, 1 << 16):
        got += data
    return got


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DISCARD_SECONDS", PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (put(MIB) + bytes(MIB) + GET, b"SignatureDoesNotMatch"),
        (put(9, b"Expect: 100-continue\r\n"), b"SignatureDoesNotMatch"),
        (put(9, b"Content-Length: 8\r\n"), b"BadRequest"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"BadRequest"),
    ],
)
def test_refused__is_heard_by_who_sends_on(sent: bytes, code: bytes) -> None:
    """Closed with bytes unread the connection would be reset, and the answer be lost."""

    async def client(loop: asyncio.AbstractEventLoop, own: socket.socket) -> None:
        await loop.sock_sendall(own, sent)
        got = await to_the_end(loop, own)
        assert got.count(b"HTTP/1.") == 1 and b"<Code>%s</Code>" % code in got
        for _ in range(100):
            await loop.sock_sendall(own, GET)
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    talk(Service(refuses=True), client)


@pytest.mark.parametrize("came_bytes", [3, 1000])
@pytest.mark.parametrize("length_bytes", [2000, 2 * MIB])
def test_late__is_told_so_and_may_go_on(length_bytes: int, came_bytes: int) -> None:
    async def client(loop: asyncio.AbstractEventLoop, own: socket.socket) -> None:
        await loop.sock_sendall(own, put(length_bytes) + bytes(came_bytes))
        got = await to_the_end(loop, own)
        assert got.count(b"HTTP/1.") == 1 and b"<Code>RequestTimeout</Code>" in got
        for _ in range(100):
            await loop.sock_sendall(own, bytes(5))
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    talk(Service(), client, s3_body_seconds=LATE_SECONDS)


def test_endless__is_not_answered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no head, and the gateway has said its last."""
    service = Service()
    service.go_on.clear()
    close = S3Connection.close

    def closed(each: S3Connection) -> None:
        close(each)
        service.go_on.set()

    monkeypatch.setattr(S3Connection, "close", closed)

    async def client(loop: asyncio.AbstractEventLoop, own: socket.socket) -> None:
        await loop.sock_sendall(own, GET)
        await service.began.wait()
        with pytest.raises(ConnectionError):
            while True:
                await loop.sock_sendall(own, bytes(AHEAD_BYTES_MAX + DISCARD_BYTES_MAX))

    talk(service, client)


def test_end__comes_before_the_answers_to_all_that_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service()
    service.go_on.clear()
    end = S3Connection.eof_received

    def ended(each: S3Connection) -> bool | None:
        service.go_on.set()
        return end(each)

    monkeypatch.setattr(S3Connection, "eof_received", ended)

    async def client(loop: asyncio.AbstractEventLoop, own: socket.socket) -> None:
        await loop.sock_sendall(own, GET + put(3) + b"abc" + put(3) + b"de")
        own.shutdown(socket.SHUT_WR)
        first, second, third = (await to_the_end(loop, own)).split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200") and second.endswith(b"\r\n\r\nabc")
        assert b"<Code>IncompleteBody</Code>" in third

    talk(service, client)


def test_body__that_comes_between_two_answers_is_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request waits for its turn, and the first one is done with."""
    rest = bytes(connection.READ_BYTES)
    ended = S3Connection.ended

    def and_more_came(each: S3Connection) -> None:
        ended(each)
        if each._messages:
            each.data_received(rest)

    monkeypatch.setattr(S3Connection, "ended", and_more_came)

    async def client(loop: asyncio.AbstractEventLoop, own: socket.socket) -> None:
        await loop.sock_sendall(own, GET + put(3 + len(rest)) + b"abc")
        got = b""
        while not got.endswith(b"\r\n\r\nabc" + rest):
            data = await loop.sock_recv(own, 1 << 16)
            assert data, got
            got += data
        assert got.count(b"HTTP/1.1 200") == 2

    talk(Service(), client)
