"""The API socket: frames, client and server over a real UNIX socket in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from replicast.errors import (
    ConditionFailed,
    Conflict,
    InvalidRequest,
    ReplicastError,
    Unavailable,
)
from replicast.gateway import api_client
from replicast.gateway.api_arguments import Arguments
from replicast.gateway.api_client import connect_api
from replicast.gateway.api_frames import (
    DATA,
    END,
    ERROR,
    FRAME_BYTES_MAX,
    JSON,
    Upload,
    parse_json,
    read_frame,
)
from replicast.gateway.api_server import CONNECTIONS_MAX, ApiServer, Reply
from replicast.metrics import Counters

MIB = 1 << 20


class Handlers:
    """A few operations, and what became of them."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.cancelled = 0
        self.started = asyncio.Event()
        self.stored = 0

    def table(self) -> dict[str, Any]:
        return {
            "echo": self.echo, "put": self.put, "refuse": self.refuse, "slow": self.slow,
            "many": self.many, "broken": self.broken,
        }  # fmt: skip

    async def echo(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        await reply.json({"said": request.text("text")})

    async def put(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        self.started.set()
        body = b"".join([block async for block in upload])
        self.stored += 1
        await reply.json({"size": len(body)})

    async def refuse(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        await anext(upload)
        raise ConditionFailed("no", reason="WHY_NOT")

    async def slow(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def many(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        for number in range(int(request.text("count"))):
            await reply.json({"number": number})
            await reply.data(bytes(1000))

    async def broken(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        raise KeyError("bucket")


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Path, Handlers]]:
    handlers = Handlers()
    server = ApiServer(folder / "api.sock", handlers.table(), Counters())
    await server.start()
    try:
        yield folder / "api.sock", handlers
    finally:
        await server.stop()


async def blocks(count: int, size: int = MIB) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


def test_requests__one_after_the_other(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, _), connect_api(path) as api:
            for text in ("a", "ä" * 1000):
                assert await api.one("echo", text=text) == {"said": text}
            assert await api.one("put", blocks(5)) == {"size": 5 * MIB}
            found = [answer async for answer in api.request("many", count="300")]
            assert len(found) == 600 and found[-1] == bytes(1000)
            assert await api.one("put", blocks(0)) == {"size": 0}

    asyncio.run(run())


@pytest.mark.parametrize("count", [1, 60])
def test_refused_half_way__the_reason_arrives_and_the_connection_goes_on(tmp_path, count):
    """The client is still sending, with more on the way than any buffer holds."""

    async def run() -> None:
        async with serving(tmp_path) as (path, _), connect_api(path) as api:
            for _ in range(3):
                with pytest.raises(ConditionFailed, match="no") as error:
                    await api.one("refuse", blocks(count))
                assert error.value.reason == "WHY_NOT"
            assert await api.one("put", blocks(2)) == {"size": 2 * MIB}

    asyncio.run(run())


def test_errors__keep_class_and_reason(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, _), connect_api(path) as api:
            with pytest.raises(InvalidRequest) as error:
                await api.one("nonsense")
            assert error.value.reason == "UNKNOWN_OPERATION"
            with pytest.raises(ReplicastError, match="internal error") as error:
                await api.one("broken")
            assert error.value.reason == "BUG"
            with pytest.raises(InvalidRequest, match="echo: `text` must be a string"):
                await api.one("echo")  # without its argument
            assert await api.one("echo", text="x") == {"said": "x"}

    asyncio.run(run())


def test_a_client_that_goes_away_in_its_upload__nothing_is_stored(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, handlers):
            _, writer = await asyncio.open_unix_connection(str(path))
            request = json.dumps({"op": "put", "upload": True}).encode()
            writer.write(struct.pack("<IB", len(request), JSON) + request)
            writer.write(struct.pack("<IB", 1000, DATA) + bytes(500))  # half a frame
            await handlers.started.wait()
            writer.close()
            async with connect_api(path) as api:
                await api.one("echo", text="the server goes on")
            assert handlers.stored == 0

    asyncio.run(run())


def test_a_source_that_fails__its_error_and_nothing_is_stored(tmp_path):
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise OSError("unreadable")

    async def run() -> None:
        async with serving(tmp_path) as (path, handlers):
            async with connect_api(path) as api:
                with pytest.raises(OSError, match="unreadable"):
                    await api.one("put", broken())
            async with connect_api(path) as api:
                await api.one("echo", text="x")
            assert handlers.stored == 0

    asyncio.run(run())


def test_a_put_that_is_cancelled__does_not_look_whole(tmp_path):
    async def endless() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        await asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with serving(tmp_path) as (path, handlers):
            async with connect_api(path) as api:
                putting = asyncio.ensure_future(api.one("put", endless()))
                await handlers.started.wait()
                putting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await putting
            async with connect_api(path) as api:
                await api.one("echo", text="x")
            assert handlers.stored == 0

    asyncio.run(run())


def test_a_client_that_does_not_wait__its_request_is_cancelled(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, handlers):
            async with connect_api(path) as api:
                asking = asyncio.ensure_future(api.one("slow"))
                await handlers.started.wait()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            while not handlers.cancelled:
                await asyncio.sleep(0)

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 5,
        struct.pack("<IB", FRAME_BYTES_MAX + 1, JSON),
        struct.pack("<IB", 3, JSON) + b"not",
        struct.pack("<IB", 2, JSON) + b"[]",
        struct.pack("<IB", 0, DATA),
        struct.pack("<IB", 0, END),
        struct.pack("<IB", 0, 9),
    ],
    ids=["noise", "oversized", "not JSON", "not an object", "DATA", "END", "unknown"],
)
def test_nonsense__closes_that_connection_only(tmp_path, sent):
    async def run() -> None:
        async with serving(tmp_path) as (path, _), connect_api(path) as api:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(sent)
            assert await reader.read() == b""
            writer.close()
            assert await api.one("echo", text="x") == {"said": "x"}

    asyncio.run(run())


def test_start__a_live_socket_is_an_error_a_dead_one_is_replaced(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, _):
            with pytest.raises(Conflict):
                await ApiServer(path, {}, Counters()).start()
        assert not path.exists()
        path.touch()
        async with serving(tmp_path) as (path, _), connect_api(path) as api:
            assert path.stat().st_mode & 0o777 == 0o600
            await api.one("echo", text="x")

    asyncio.run(run())


def test_connect__nobody_there_says_what_to_do(tmp_path):
    async def run() -> None:
        with pytest.raises(Unavailable, match="replicast up"):
            async with connect_api(tmp_path / "api.sock"):
                pass

    asyncio.run(run())


def full(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    """Somebody who listens, and those who wait already: there is no room for another one."""
    listening, waiting = socket.socket(socket.AF_UNIX), list[socket.socket]()
    listening.bind(str(path))
    listening.listen(0)
    listening.setblocking(False)
    while True:
        another = socket.socket(socket.AF_UNIX)
        another.setblocking(False)
        try:
            another.connect(str(path))
        except BlockingIOError:
            another.close()
            return listening, waiting
        waiting.append(another)


def test_connect__waits_where_the_queue_is_full(tmp_path):
    async def work() -> None:
        loop, (listening, waiting) = asyncio.get_running_loop(), full(tmp_path / "s")
        with listening:

            async def ask() -> None:
                async with connect_api(tmp_path / "s") as api:
                    await api.one("anything")

            asking = asyncio.create_task(ask())
            await asyncio.sleep(0)  # it has tried, and found no room
            for other in waiting:
                accepted, _ = await loop.sock_accept(listening)
                accepted.close()
                other.close()
            accepted, _ = await loop.sock_accept(listening)
            assert b"anything" in await loop.sock_recv(accepted, MIB)
            accepted.close()
            with pytest.raises(Unavailable):
                await asking

    asyncio.run(work())


def test_connect__where_the_queue_stays_full_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(api_client, "CONNECT_SECONDS", 0.0)

    async def ask() -> None:
        async with connect_api(tmp_path / "s"):
            pass

    listening, waiting = full(tmp_path / "s")
    with listening, pytest.raises(Unavailable) as caught:
        asyncio.run(ask())
    assert caught.value.reason == "BUSY" and waiting
    for other in waiting:
        other.close()


def test_connections__as_many_as_are_taken_and_one_more(tmp_path):
    """The next one is refused, until one of them goes; both can be seen."""

    async def run() -> None:
        counters = Counters()
        server = ApiServer(tmp_path / "api.sock", Handlers().table(), counters)

        async def until_open(count: int) -> None:
            server.measure()
            while counters.get("api_connections") != count:
                await asyncio.sleep(0)
                server.measure()

        await server.start()
        async with contextlib.AsyncExitStack() as stack:
            path = tmp_path / "api.sock"
            clients = [connect_api(path) for _ in range(CONNECTIONS_MAX)]
            first, *_ = [await stack.enter_async_context(client) for client in clients]
            await until_open(CONNECTIONS_MAX)
            assert counters.get("api_connections_refused") == 0
            # Only reading: what a client sends to a closed socket may hide the answer from it.
            reader, writer = await asyncio.open_unix_connection(str(path))
            kind, told = await read_frame(reader) or (END, b"")
            assert kind == ERROR and parse_json(told)["reason"] == "BUSY"
            assert await reader.read() == b""
            writer.close()
            await until_open(CONNECTIONS_MAX)
            assert counters.get("api_connections_refused") == 1
            await first.close()
            await until_open(CONNECTIONS_MAX - 1)
            async with connect_api(path) as api:
                assert await api.one("echo", text="x") == {"said": "x"}
        await until_open(0)
        assert counters.get("api_connections_refused") == 1
        await server.stop()

    asyncio.run(run())


def test_stop__waiting_clients_hear_that_it_is_gone(tmp_path):
    async def run() -> None:
        async with serving(tmp_path) as (path, handlers), connect_api(path) as api:
            asking = asyncio.ensure_future(api.one("slow"))
            await handlers.started.wait()
        (error,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(error, Unavailable) and handlers.cancelled == 1

    asyncio.run(run())


class Finishing(Handlers):
    """An operation that ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    def table(self) -> dict[str, Any]:
        return super().table() | {"finish": self.finish}

    async def finish(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        self.started.set()
        await self.may_end.wait()
        await reply.json({"ended": True})


@contextlib.asynccontextmanager
async def stopping(folder: Path, seconds: float) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """A server that stops while one connection waits for an answer and another one is idle."""
    handlers = Finishing()
    server = ApiServer(folder / "api.sock", handlers.table(), Counters())
    await server.start()
    async with connect_api(folder / "api.sock") as busy, connect_api(folder / "api.sock") as idle:
        await idle.one("echo", text="a")
        asking = asyncio.ensure_future(busy.one("finish"))
        await handlers.started.wait()
        ending = asyncio.ensure_future(server.stop(seconds))
        with pytest.raises(Unavailable, match="closed the connection"):
            await idle.one("echo", text="b")
        yield server, handlers, asking, ending


def test_stop__what_is_under_way_ends_and_who_is_idle_is_let_go(tmp_path):
    async def run() -> None:
        async with stopping(tmp_path, 600.0) as (_, handlers, asking, ending):
            assert not (tmp_path / "api.sock").exists() and not ending.done()
            handlers.may_end.set()
            assert await asking == {"ended": True}
            await ending

    asyncio.run(run())


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_stop__does_not_wait_longer_than_it_may_or_when_somebody_is_in_a_hurry(tmp_path, seconds):
    async def run() -> None:
        async with stopping(tmp_path, seconds) as (server, _, asking, ending):
            server.hurry()
            with pytest.raises(Unavailable):
                await asking
            await ending

    asyncio.run(run())
