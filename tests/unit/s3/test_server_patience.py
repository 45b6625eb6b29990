"""gateway/s3/connection.py: how long clients are waited for, over HTTP and over HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicast.certificates import make_self_signed
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.server import S3Server
from replicast.gateway.s3.service import S3Service
from replicast.metrics import Counters

MIB = 1 << 20
BLOCKS = 64  # far more than sockets take
GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
SHORT = {"s3_head_seconds": 0.2, "s3_body_seconds": 0.2, "s3_idle_seconds": 2.0}
GAUGES = ("s3_connections", "s3_requests_under_way", "s3_body_bytes")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


class Service:
    """Takes whatever comes, and answers with very much."""

    def __init__(self) -> None:
        self.closed = False

    def route(self, head: object) -> Any:
        return SimpleNamespace(operation=SimpleNamespace(name="GetObject"))

    async def serve(self, head: Any, routed: object, stream: Any, url: str, peer: str) -> Answer:
        if head.method == "PUT":
            return Answer(200, {}, b"".join([block async for block in stream]))
        return Answer(200, {}, self._blocks(), BLOCKS * MIB)

    async def _blocks(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(BLOCKS):
                yield bytes(MIB)
        finally:
            self.closed = True


@pytest.fixture(params=["http", "https"])
def tls(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """Of server and client; None for HTTP."""
    if request.param == "http":
        return None
    made = make_self_signed(["127.0.0.1"], 30, datetime.now(UTC))
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, pem in zip(pair, (made.certificate, made.key), strict=True):
        path.write_text(pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*pair)
    return server, ssl.create_default_context(cafile=str(pair[0]))


def talk(tls: Any, client: Talk) -> tuple[bytes, Counters, Service]:
    """What the client has got, once the server has nothing of it any more."""

    async def run() -> tuple[bytes, Counters, Service]:
        counters, service = Counters(), Service()
        config = GatewayConfig(directory=".", metrics_port=1, **SHORT)
        server = S3Server(cast(S3Service, service), counters, config)
        address = await server.start(("127.0.0.1", 0), tls and tls[0])
        reader, writer = await asyncio.open_connection(*address, ssl=tls and tls[1])
        got = await client(reader, writer)
        server.measure()
        while any(counters.get(gauge) for gauge in GAUGES):
            await asyncio.sleep(0.01)
            server.measure()
        writer.transport.abort()
        await server.stop(0.0)
        return got, counters, service

    return asyncio.run(run())


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    return await reader.read()


def test_head__that_stops(tls: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(GET[:-2])
        return await to_the_end(reader)

    got, counters, _ = talk(tls, client)
    assert got.startswith(b"HTTP/1.1 400") and b"<Code>RequestTimeout</Code>" in got
    assert counters.get("s3_connections_ended", "slow_head") == 1


def test_body__that_stops(tls: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(PUT + b"abc")
        return await to_the_end(reader)

    got, counters, _ = talk(tls, client)
    assert got.startswith(b"HTTP/1.1 400") and b"<Code>RequestTimeout</Code>" in got
    assert counters.get("s3_requests", "GetObject", "RequestTimeout") == 1


def test_reader__that_does_not_read(tls: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(GET)
        return await reader.readexactly(10)

    _, counters, service = talk(tls, client)
    assert counters.get("s3_connections_ended", "slow_reader") == 1
    assert counters.get("s3_requests", "GetObject", "gone") == 1 and service.closed


def test_idle(tls: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(PUT + b"abcdefghi")
        return await to_the_end(reader)

    got, counters, _ = talk(tls, client)
    assert got.endswith(b"abcdefghi") and counters.get("s3_requests", "GetObject", "ok") == 1


def test_client__that_ends_within_its_body(tls: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(PUT.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"abc")
        writer.close()
        return b""

    _, counters, _ = talk(tls, client)
    codes = ("gone", "IncompleteBody")
    assert sum(counters.get("s3_requests", "GetObject", code) for code in codes) == 1


@pytest.mark.parametrize("length", [9, MIB])
def test_client__whose_connection_breaks_within_its_body(
    tls: Any, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that are no TLS are an error of the connection, and none of the gateway."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        expecting = b"Expect: 100-continue\r\nContent-Length: %d" % length
        writer.write(PUT.replace(b"Content-Length: 9", expecting))
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        with writer.get_extra_info("socket").dup() as own:
            if tls:
                own.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            else:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
        return b""

    _, counters, _ = talk(tls, client)
    assert counters.get("s3_requests", "GetObject", "gone") == 1
    assert not caplog.records


class Leaving(Service):
    """Its client is reset when it is to get the second block."""

    def __init__(self) -> None:
        super().__init__()
        self.client, self.count, self.ended = socket.socket(), 0, asyncio.Event()

    async def _blocks(self) -> AsyncIterator[bytes]:
        try:
            for self.count in range(1, BLOCKS + 1):
                if self.count == 2:
                    self.client.close()
                yield bytes(MIB)
        finally:
            self.ended.set()


def test_reader__that_is_gone_is_sent_no_more(tls: Any, caplog: pytest.LogCaptureFixture) -> None:
    """All is there for it, and sockets that are reset take all at once."""

    async def run() -> Leaving:
        service = Leaving()
        server = S3Server(
            cast(S3Service, service), Counters(), GatewayConfig(directory=".", metrics_port=1)
        )
        address = await server.start(("127.0.0.1", 0), tls and tls[0])
        own = socket.create_connection(address)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if tls:
            own = await asyncio.to_thread(tls[1].wrap_socket, own, server_hostname="127.0.0.1")
        service.client = own
        with contextlib.closing(own):
            own.sendall(GET)
            await service.ended.wait()
        await server.stop(0.0)
        return service

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(run()).count <= 4
    assert not caplog.records
