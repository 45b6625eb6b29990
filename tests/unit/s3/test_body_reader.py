"""gateway/s3/body_reader.py: bodies that come past the parser: whole, in pieces, with patience, and no byte
more than is theirs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.config import GatewayConfig
from replicast.gateway.kept_bytes import KeptBytes
from replicast.gateway.put_stream import cut
from replicast.gateway.s3 import connection
from replicast.gateway.s3.body_reader import PROGRESS_BYTES, SCRATCH_BYTES, BodyReader
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.connection import PIECE_BYTES
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.server import S3Server
from replicast.metrics import Counters

BODY = bytes(range(251)) * 12000  # 2.9 MiB


class Transport:
    """Counts how often reading was paused; `reading`: may it be told of more?"""

    def __init__(self) -> None:
        self.reading, self.pauses = True, 0

    def pause_reading(self) -> None:
        assert self.reading
        self.reading, self.pauses = False, self.pauses + 1

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Before:
    """The connection; `came`: it was told that the body is there."""

    def __init__(self) -> None:
        self.came = 0
        self.told: list[str] = []

    def body_came(self) -> None:
        self.came += 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.told.append(name)


def reader_of(body: bytes, begun: int, piece_bytes: int) -> tuple[BodyReader, Transport, Before]:
    transport, before = Transport(), Before()
    found = BodyReader(
        cast(Any, before), cast(Any, transport), body[:begun], len(body), piece_bytes, 60.0
    )
    return found, transport, before


def bring(reader: BodyReader, data: bytes) -> None:
    room = reader.get_buffer(-1)
    assert len(room) >= len(data) > 0
    room[: len(data)] = data
    reader.buffer_updated(len(data))


@given(
    st.integers(1, 300),
    st.integers(0, 40),
    st.integers(1, 97),
    st.lists(st.integers(1, 60)),
    st.data(),
)
def test_pieces__are_the_body_whoever_is_faster(
    size: int, begun: int, piece_bytes: int, sizes: list[int], data: st.DataObject
) -> None:
    body = BODY[:size]
    begun = min(begun, size - 1, piece_bytes - 1)

    async def run() -> None:
        reader, transport, before = reader_of(body, begun, piece_bytes)
        at, found = begun, list[memoryview]()
        taker: asyncio.Task[memoryview | None] | None = None
        turns = iter(sizes)
        while True:
            if taker is None and data.draw(st.booleans()):
                taker = asyncio.ensure_future(reader.piece())
            await asyncio.sleep(0)
            if transport.reading and at < size:
                came = min(next(turns, 60), len(reader.get_buffer(-1)))
                bring(reader, body[at : at + came])
                at += came
            elif taker is None:
                taker = asyncio.ensure_future(reader.piece())
            held_bytes = at - sum(map(len, found))
            assert held_bytes <= 2 * piece_bytes
            if taker is not None:
                for _ in range(3):
                    await asyncio.sleep(0)
                if taker.done():
                    piece, taker = taker.result(), None
                    if piece is None:
                        break
                    found.append(piece)
            assert before.came == (at == size)
        assert b"".join(found) == body
        assert all(len(piece) == piece_bytes for piece in found[:-1])
        assert all(piece.readonly and isinstance(piece.obj, KeptBytes) for piece in found)

    asyncio.run(run())


def test_what_nobody_takes__is_one_piece() -> None:
    async def run() -> None:
        reader, transport, _ = reader_of(BODY[:30], 0, 10)
        bring(reader, BODY[:10])
        assert not transport.reading
        assert await reader.piece() == BODY[:10]
        assert transport.reading
        bring(reader, BODY[10:20])
        assert not transport.reading and transport.pauses == 2

    asyncio.run(run())


def test_who_waits__keeps_it_going() -> None:
    async def run() -> None:
        reader, transport, _ = reader_of(BODY[:30], 0, 10)
        taker = asyncio.ensure_future(reader.piece())
        await asyncio.sleep(0)
        bring(reader, BODY[:10])
        assert transport.reading and await taker == BODY[:10]
        bring(reader, BODY[10:20])
        assert not transport.reading

    asyncio.run(run())


def test_fail__is_told_to_who_waits_and_who_asks_then() -> None:
    async def run() -> None:
        reader, _, _ = reader_of(BODY[:30], 5, 10)
        taker = asyncio.ensure_future(reader.piece())
        await asyncio.sleep(0)
        reader.fail(ConnectionResetError("gone"))
        for each in (taker, reader.piece(), reader.drop()):
            with pytest.raises(ConnectionResetError, match="gone"):
                while True:
                    await cast(Awaitable[object], each)
                    each = reader.drop()

    asyncio.run(run())


def test_drop__forgets_what_is_held_and_what_comes() -> None:
    async def run() -> None:
        body = BODY[: 10 * SCRATCH_BYTES]
        reader, transport, before = reader_of(body, 5, SCRATCH_BYTES)
        bring(reader, body[5:SCRATCH_BYTES])
        assert not transport.reading
        at = await reader.drop()
        assert at == SCRATCH_BYTES and transport.reading
        while at < len(body):
            dropping = asyncio.ensure_future(reader.drop())
            await asyncio.sleep(0)
            assert 0 < len(reader.get_buffer(-1)) <= min(SCRATCH_BYTES, len(body) - at)
            bring(reader, body[at : at + 50_000][: len(reader.get_buffer(-1))])
            at += await dropping
        assert before.came == 1 and await reader.drop() == 0

    asyncio.run(run())


def test_transport__is_heard_by_the_connection() -> None:
    async def run() -> None:
        reader, _, before = reader_of(BODY[:30], 5, 10)
        reader.pause_writing()
        reader.resume_writing()
        reader.eof_received()
        reader.connection_lost(None)
        assert before.told == ["pause_writing", "resume_writing", "eof_received", "connection_lost"]

    asyncio.run(run())


@pytest.mark.parametrize("step, late", [(PROGRESS_BYTES, False), (PROGRESS_BYTES // 2 - 1, True)])
def test_clock__goes_on_with_progress_only(
    monkeypatch: pytest.MonkeyPatch, step: int, late: bool
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now)
        size = 8 * step
        reader, _, _ = reader_of(BODY[:size], 0, size)
        taker = asyncio.ensure_future(reader.piece())
        for at in range(0, size, step):
            await asyncio.sleep(0)
            if not taker.done():
                bring(reader, BODY[at : at + step])
                now += 31.0
                await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert taker.done() and isinstance(taker.exception(), TimeoutError) == late

    asyncio.run(run())


# -- with sockets -------------------------------------------------------------------


class Service:
    """Takes bodies. `error`: raised when a piece of it was taken."""

    def __init__(self, error: Exception | None = None) -> None:
        self.blocks: list[Any] = []
        self.bodies: list[bytes] = []
        self._error = error

    def route(self, head: object) -> Any:
        return SimpleNamespace(operation=SimpleNamespace(name="PutObject"))

    async def serve(self, head: Any, routed: object, stream: Any, url: str, peer: str) -> Answer:
        blocks = []
        async for block in stream:
            blocks.append(block)
            if self._error is not None:
                raise self._error
        self.blocks = blocks
        self.bodies.append(b"".join(blocks))
        return Answer(200, {}, b"")


def request(body: bytes, more: bytes = b"") -> bytes:
    return (
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (len(body), more) + body
    )


async def answers(service: Service, sent: bytes, *, ends: bool = False) -> bytes:
    """To what was sent by one client; `ends`: it sends no more then."""
    config = GatewayConfig(directory=".", metrics_port=1, s3_body_seconds=5.0)
    server = S3Server(cast(Any, service), Counters(), config)
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, await server.start(("127.0.0.1", 0)))
        await loop.sock_sendall(client, sent)
        if ends:
            client.shutdown(socket.SHUT_WR)
        found = b""
        async with asyncio.timeout(20):
            while found.count(b"HTTP/1.1 ") < sent.count(b"HTTP/1.1\r\n"):
                data = await loop.sock_recv(client, 1 << 16)
                if not data:
                    break
                found += data
    await server.stop(0.0)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BodyReader]:
    """The readers."""
    found: list[BodyReader] = []

    def noted(*args: Any) -> BodyReader:
        found.append(BodyReader(*args))
        return found[-1]

    monkeypatch.setattr(connection, "BodyReader", noted)
    return found


def test_requests__follow_a_body(made: list[BodyReader]) -> None:
    service = Service()
    bodies = [BODY, b"small", b"", BODY[:3]]
    found = asyncio.run(answers(service, b"".join(map(request, bodies))))
    assert found.count(b"HTTP/1.1 200") == 4 and service.bodies == bodies
    assert len(made) == 1


def test_chunks__are_not_copied(made: list[BodyReader]) -> None:
    service = Service()
    asyncio.run(answers(service, request(BODY)))

    async def chunks() -> list[Any]:
        async def source() -> AsyncIterator[Any]:
            for block in service.blocks:
                yield block

        return [each async for each in cut(source(), PIECE_BYTES)]

    found = asyncio.run(chunks())
    assert len(made) == 1 and b"".join(found) == BODY
    assert [each.obj for each in found] == [each.obj for each in service.blocks]
    assert all(isinstance(each.obj, KeptBytes) for each in found)


@pytest.mark.parametrize(
    "more", [b"Transfer-Encoding: chunked\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n"]
)
def test_other_framing__is_the_parsers(made: list[BodyReader], more: bytes) -> None:
    sent = request(BODY, more)
    if b"chunked" in more:
        head = b"PUT /b/k HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"
        sent = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    service = Service()
    found = asyncio.run(answers(service, sent))
    assert b"200" in found and service.bodies == [BODY] and not made


def test_client__that_ends_within_its_body_is_told(made: list[BodyReader]) -> None:
    found = asyncio.run(answers(Service(), request(BODY)[:-1000], ends=True))
    assert b"IncompleteBody" in found and len(made) == 1


def test_refused_within__reads_on_until_the_client_has_seen_it(made: list[BodyReader]) -> None:
    service = Service(S3Error("EntityTooLarge"))
    found = asyncio.run(answers(service, request(BODY)))
    assert b"EntityTooLarge" in found and found.count(b"HTTP/1.1 ") == 1 and len(made) == 1
