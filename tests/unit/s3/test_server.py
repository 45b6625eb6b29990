"""gateway/s3/server.py by itself: what it does with answers that fail, and with clients that go."""

from __future__ import annotations

import asyncio
import socket
from asyncio import selector_events
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from replicast.errors import ReplicastError, Unavailable
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.operation import Request
from replicast.gateway.s3.operations import OPERATIONS
from replicast.gateway.s3.server import S3Server
from replicast.metrics import Counters

GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
Serve = Callable[[AsyncIterator[bytes]], Awaitable[Answer]]


class Service:
    """Answers as it is told to."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def route(self, head: Any) -> Request:
        found = next(each for each in OPERATIONS if each.name == "GetObject")
        return Request(found, "b", "k", {})

    async def serve(self, head: Any, routed: Any, stream: Any, url: str, peer: str) -> Answer:
        return await self._serve(stream)


def talk(serve: Serve, *pieces: bytes, **settings: Any) -> tuple[bytes, Counters]:
    """Send the pieces, one after the other; all that comes until the connection ends."""

    async def run() -> tuple[bytes, Counters]:
        counters = Counters()
        config = GatewayConfig(directory=".", metrics_port=1, **settings)
        service: Any = Service(serve)
        server = S3Server(service, counters, config)
        reader, writer = await asyncio.open_connection(*await server.start(("127.0.0.1", 0)))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        got = b""
        try:
            while data := await reader.read(1 << 16):
                got += data
        except ConnectionError:
            pass
        writer.close()
        await server.stop(0.0)
        server.measure()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return got, counters

    return asyncio.run(run())


def failing(error: Exception) -> Serve:
    async def serve(_: object) -> Answer:
        async def blocks() -> AsyncIterator[bytes]:
            yield b"a" * 1000
            raise error

        return Answer(200, {}, blocks(), 100_000)

    return serve


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("t1 is down"), "ServiceUnavailable"),
        (ReplicastError("x"), "InternalError"),
        (KeyError("a mistake"), "InternalError"),
    ],
)
def test_error_within_an_answer__is_not_mistaken_for_its_data(error: Exception, code: str) -> None:
    got, counters = talk(failing(error), GET)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and body == b"a" * len(body) and len(body) <= 1000
    assert counters.get("s3_requests", "GetObject", code) == 1
    assert counters.get("s3_connections") == counters.get("s3_requests_under_way") == 0
    assert counters.get("s3_body_bytes") == 0


def test_error_before_an_answer__is_told() -> None:
    async def serve(_: object) -> Answer:
        raise Unavailable("t1 is down", reason="BUSY")

    got, _ = talk(serve, GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert got.startswith(b"HTTP/1.1 503") and b"<Code>SlowDown</Code>" in got
    assert b"\r\nretry-after: 1\r\n" in got.lower() and b"t1" not in got


def test_body__comes_as_it_is_sent_and_is_whole() -> None:
    async def serve(stream: AsyncIterator[bytes]) -> Answer:
        return Answer(200, {}, b"".join([block async for block in stream]))

    close = PUT.replace(b"Host", b"Connection: close\r\nHost")
    got, _ = talk(serve, close, b"abc", b"def")
    assert got.endswith(b"\r\n\r\nabcdef")


def test_answer__that_does_not_wait_for_the_body_ends_the_connection() -> None:
    async def serve(_: object) -> Answer:
        return Answer(200, {}, b"early")

    got, counters = talk(serve, PUT, b"abc")
    assert got.count(b"HTTP/1.1") == 1 and b"connection: close" in got.lower()
    assert counters.get("s3_connections") == 0


def test_header__that_cannot_be_written_is_our_mistake_and_told() -> None:
    async def serve(_: object) -> Answer:
        return Answer(200, {"x-amz-meta-a": "b\r\nc"}, b"")

    got, counters = talk(serve, GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert b"<Code>InternalError</Code>" in got and b"c\r\n" not in got
    assert counters.get("s3_requests", "GetObject", "InternalError") == 1


def test_head_and_small_body__leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    delays: list[int] = []
    write = selector_events._SelectorSocketTransport.write

    def noted(transport: Any, data: bytes) -> None:
        written.append(bytes(data))
        sock = transport.get_extra_info("socket")
        delays.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        write(transport, data)

    async def serve(_: object) -> Answer:
        return Answer(200, {}, b"x" * 60_000)

    monkeypatch.setattr(selector_events._SelectorSocketTransport, "write", noted)
    got, _ = talk(serve, GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert [each for each in written if each.startswith(b"HTTP")] == [got] and all(delays)
