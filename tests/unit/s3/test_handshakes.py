"""gateway/s3/handshakes.py: TLS handshakes that fail, that take too long, that are too many."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
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
from replicast.machine import Address
from replicast.metrics import Counters

FAILED, GAUGE = "s3_handshakes_failed", "s3_connections"
GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HASTY: dict[str, Any] = {"s3_head_seconds": 0.2}
PATIENT: dict[str, Any] = {"s3_head_seconds": 3600.0}
TEST_SECONDS = 60.0


class Service:
    def route(self, head: object) -> Any:
        return SimpleNamespace(operation=SimpleNamespace(name="GetObject"))

    async def serve(self, *_: object) -> Answer:
        return Answer(200, {}, b"answered")


class Tls:
    """A server's context, and that of a client who trusts it."""

    def __init__(self, folder: Path) -> None:
        made = make_self_signed(["127.0.0.1"], 30, datetime.now(UTC))
        pair = folder / "cert.pem", folder / "key.pem"
        for path, pem in zip(pair, (made.certificate, made.key), strict=True):
            path.write_text(pem)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(*pair)
        self.client = ssl.create_default_context(cafile=str(pair[0]))


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


class Served:
    """A server that listens for HTTPS."""

    def __init__(self, server: S3Server, address: Address, counters: Counters) -> None:
        self.server, self.address, self.counters = server, address, counters

    async def measured(self, connections: int) -> None:
        """Wait until so many are there."""
        self.server.measure()
        while self.counters.get(GAUGE) != connections:
            await asyncio.sleep(0.01)
            self.server.measure()

    def connect(self) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Without TLS."""
        return asyncio.open_connection(*self.address)


def serve(tls: Tls, talk: Callable[[Served], Awaitable[None]], **settings: Any) -> Counters:
    """What was counted when `talk` is done and nothing is left of anybody; nothing was logged."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[Served]:
        counters = Counters()
        config = GatewayConfig(directory=".", metrics_port=1, **settings)
        server = S3Server(cast(S3Service, Service()), counters, config)
        served = Served(server, await server.start(("127.0.0.1", 0), tls.server), counters)
        try:
            yield served
        finally:
            await server.stop(0.0)

    async def run() -> Counters:
        async with asyncio.timeout(TEST_SECONDS), serving() as served:
            await talk(served)
            await served.measured(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return served.counters

    return asyncio.run(run())


def failures(counters: Counters) -> dict[str, float]:
    return {labels[0]: value for (name, labels), value in counters.values.items() if name == FAILED}


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection; waits for it."""
    try:
        return (await reader.read()).find(b"HTTP") < 0
    except ConnectionError:
        return True


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Strangers do not fill the log."""
    yield
    assert not [each for each in caplog.records if each.levelno >= logging.INFO]


@pytest.mark.parametrize("sent", [GET, b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100])
def test_no_tls__is_refused_at_once(tls: Tls, sent: bytes) -> None:
    async def talk(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(sent)
        assert await ends(reader)
        writer.close()

    assert failures(serve(tls, talk, **PATIENT)) == {"refused": 1}


def test_certificate__that_the_client_does_not_trust(tls: Tls) -> None:
    def connect(address: Address) -> None:
        """asyncio's clients do not send the alert."""
        context = ssl.create_default_context()
        with socket.create_connection(address) as raw, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname="127.0.0.1")

    async def talk(served: Served) -> None:
        await asyncio.to_thread(connect, served.address)

    assert failures(serve(tls, talk, **PATIENT)) == {"refused": 1}


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_silence__ends_after_the_time_for_a_head(tls: Tls, sent: bytes) -> None:
    async def talk(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(sent)
        assert await ends(reader)
        writer.close()

    assert failures(serve(tls, talk, **HASTY)) == {"late": 1}


@pytest.mark.parametrize("reset", [False, True])
def test_client__that_goes_away(tls: Tls, reset: bool) -> None:
    """As load balancers do that look whether somebody listens."""

    async def talk(served: Served) -> None:
        with socket.create_connection(served.address) as client:
            await served.measured(1)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert failures(serve(tls, talk, **PATIENT)) == {"gone": 1}


@pytest.mark.parametrize("count", [1, 20])
def test_request__that_comes_with_the_end_of_the_handshake(tls: Tls, count: int) -> None:
    """In one segment: nothing of it gets lost."""

    async def talk(served: Served) -> None:
        got = b""
        reader, writer = await served.connect()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
        kept = GET.replace(b"Connection: close\r\n", b"")
        client.write(kept * (count - 1) + GET)
        writer.write(outgoing.read())
        while got.count(b"answered") < count:
            incoming.write(await reader.read(1 << 16))
            with suppress(ssl.SSLWantReadError):
                while data := client.read(1 << 16):
                    got += data
        writer.close()

    assert failures(serve(tls, talk, **PATIENT)) == {}


def test_too_many__are_reset_in_their_handshake_too(tls: Tls) -> None:
    async def talk(served: Served) -> None:
        silent = [await served.connect() for _ in range(2)]
        await served.measured(2)
        reader, writer = await served.connect()
        assert await ends(reader)
        writer.close()
        assert served.counters.get("s3_connections_ended", "excess") == 1
        for _, each in silent:
            each.close()
        await served.measured(0)
        reader, writer = await asyncio.open_connection(*served.address, ssl=tls.client)
        writer.write(GET)
        assert b"answered" in await reader.read()
        writer.close()

    assert failures(serve(tls, talk, s3_connections=1, **PATIENT)) == {"gone": 2}


def test_stop__does_not_wait_for_handshakes(tls: Tls) -> None:
    async def talk(served: Served) -> None:
        reader, writer = await served.connect()
        await served.measured(1)
        await served.server.stop(3600.0)
        assert await ends(reader)
        writer.close()

    assert failures(serve(tls, talk, **PATIENT)) == {}
