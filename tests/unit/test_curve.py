"""replicast/curve.py: CURVE channels on loopback: who gets in, and what is bounded."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

import pytest
import zmq

from replicast import curve
from replicast.curve import ChannelClosed, CurveClient, CurveHub, CurveServer
from replicast.keys import AllowList, Identity, KeyPair, Role, make_key_pair
from replicast.metrics import Counters

LOOPBACK = ("127.0.0.1", 0)
SERVER, CLIENT = make_key_pair(), make_key_pair()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


@asynccontextmanager
async def channel(
    allow: AllowList, key_pair: KeyPair = CLIENT, server_key: str = SERVER.public, **limits: int
) -> AsyncIterator[tuple[CurveServer, CurveClient, Counters]]:
    counters = Counters()
    hub, other = CurveHub(counters), CurveHub(counters)
    try:
        server = hub.server("test", LOOPBACK, SERVER, allow, **limits)
        yield server, other.client("test", server.address, server_key, key_pair), counters
    finally:
        other.close()
        hub.close()


def allowed() -> AllowList:
    return AllowList({CLIENT.public: Identity(7, Role.GATEWAY)})


def frame(number: int, body: bytes = b"") -> bytes:
    return b"\x01" + number.to_bytes(16, "little") + bytes(8) + body


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_request__the_answer_with_its_operation_id() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            first = asyncio.create_task(client.request(frame(1), timeout_seconds=60))
            second = asyncio.create_task(client.request(frame(2), timeout_seconds=60))
            received = [await server.recv(), await server.recv()]
            assert {r.identity for r in received} == {Identity(7, Role.GATEWAY)}
            assert received[0].public_key == CLIENT.public
            for r in reversed(received):
                assert server.send(r.peer, r.frame + b"answer")
            assert await first == frame(1, b"answer")
            assert await second == frame(2, b"answer")

    run(test)


def test_connected__what_is_sent_then_arrives() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            await until(client.connected)
            assert client.send(frame(1))
            assert (await server.recv()).frame == frame(1)
            client.close()
            assert not client.connected()

    run(test)


def test_recv__frames_that_answer_nothing() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            await until(lambda: client.send(frame(1)))
            peer = (await server.recv()).peer
            for number in range(300):
                assert server.send(peer, frame(9, str(number).encode()))
            got = [await client.recv() for _ in range(300)]
            assert got == [frame(9, str(number).encode()) for number in range(300)]
            assert client.recv_nowait() is None

    run(test)


def test_hand_to__all_frames_in_order_those_before_it_too() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            await until(lambda: client.send(frame(0)))
            await until(lambda: len(server._queue) == 1)
            got: list[bytes] = []
            server.hand_to(lambda some: got.extend(received.frame for received in some))
            for number in range(1, 300):
                await until(lambda number=number: client.send(frame(number)))  # type: ignore[misc]
            await until(lambda: len(got) == 300)
            assert got == [frame(number) for number in range(300)]

    run(test)


def test_hear_nothing__nobody_looks_whether_something_came_after_a_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            await until(lambda: client.send(frame(0)))
            looks: list[int] = []
            monkeypatch.setattr(client, "_readable", lambda: looks.append(1))
            assert client.send(frame(1)) and looks
            client.hear_nothing()
            looks.clear()
            for number in range(2, 50):
                await until(lambda number=number: client.send(frame(number)))  # type: ignore[misc]
            got = [(await server.recv()).frame for _ in range(50)]
            assert got == [frame(number) for number in range(50)] and not looks

    run(test)


def test_stranger__is_refused_and_counted() -> None:
    async def test() -> None:
        async with channel(allowed(), make_key_pair()) as (server, client, counters):
            await until(lambda: counters.get("curve_refused", "test", "handshake") > 0)
            with pytest.raises(TimeoutError):
                await client.request(frame(1), timeout_seconds=0.05)
            assert server.recv_nowait() is None

    run(test)


def test_connect__to_a_silent_host_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP alone would ask once more after a second, and once a minute after some."""
    monkeypatch.setattr(curve, "CONNECT_MS", 50)

    async def test() -> None:
        with socket() as silent, socket() as first, socket() as second:
            silent.bind(LOOPBACK)
            silent.listen(0)  # room for one: then nobody is answered
            address = silent.getsockname()
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(address)
            hub = CurveHub()
            client = hub.client("test", address, SERVER.public, CLIENT)
            monitor = client.socket.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED)
            await until(lambda: monitor.poll(0) != 0)
            client.socket.disable_monitor()
            hub.close()

    run(test)


def test_wrong_server_key__never_connects() -> None:
    async def test() -> None:
        async with channel(allowed(), server_key=make_key_pair().public) as (server, client, _):
            with pytest.raises(TimeoutError):
                await client.request(frame(1), timeout_seconds=0.2)
            assert server.recv_nowait() is None

    run(test)


def test_revoked_key__is_silent_on_its_open_connection() -> None:
    async def test() -> None:
        allow = allowed()
        async with channel(allow) as (server, client, counters):
            await until(lambda: client.send(frame(1)))
            await server.recv()
            allow.revoke(CLIENT.public)
            client.send(frame(2))
            await until(lambda: counters.get("curve_refused", "test", "revoked") == 1)
            assert server.recv_nowait() is None

    run(test)


def test_servers_of_one_hub__each_ask_their_own_list() -> None:
    async def test() -> None:
        counters = Counters()
        hub = CurveHub(counters)
        try:
            hub.server("open", LOOPBACK, SERVER, allowed())
            shut = hub.server("shut", LOOPBACK, SERVER, AllowList())
            hub.client("shut", shut.address, SERVER.public, CLIENT)
            await until(lambda: counters.get("curve_refused", "shut", "handshake") > 0)
            assert counters.get("curve_refused", "open", "handshake") == 0
        finally:
            hub.close()

    run(test)


def test_server_send__to_an_unknown_peer_is_false() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, _, counters):
            assert not server.send(b"nobody", frame(1))
            assert counters.get("curve_dropped", "test") == 1

    run(test)


def test_too_large_a_message__ends_the_connection_not_the_server() -> None:
    async def test() -> None:
        async with channel(allowed(), message_bytes_max=1000) as (server, client, _):
            await until(lambda: client.send(frame(1)))
            await server.recv()
            client.send(frame(2, bytes(2000)))
            await until(lambda: client.send(frame(3)) and server.recv_nowait() is not None)

    run(test)


def test_many_frames__stop_reading_and_then_go_on() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            sent = 0
            while sent < 2500:
                sent += client.send(frame(sent))
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            got = [(await server.recv()).frame for _ in range(2500)]
            assert got == [frame(number) for number in range(2500)]

    run(test)


def test_unread_pushes__the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicast.curve.QUEUE_BYTES_MAX", 10_000)

    async def test() -> None:
        async with channel(allowed()) as (server, client, counters):
            await until(lambda: client.send(frame(1)))
            peer = (await server.recv()).peer
            before = counters.get("curve_dropped", "test")
            for number in range(20):
                server.send(peer, frame(number + 10, bytes(1000)))
            await until(lambda: counters.get("curve_dropped", "test") == before + 11)
            assert (await client.recv())[:17] == frame(21)[:17]
            answer = asyncio.create_task(client.request(frame(2), timeout_seconds=60))
            server.send((await server.recv()).peer, frame(2, b"answer"))
            assert await answer == frame(2, b"answer")

    run(test)


def test_bytes_waiting__stop_reading_and_then_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicast.curve.QUEUE_BYTES_MAX", 5000)

    async def test() -> None:
        async with channel(allowed()) as (server, client, _):
            for number in range(50):
                await until(lambda number=number: client.send(frame(number, bytes(1000))))  # type: ignore[misc]
            got = [(await server.recv()).frame[:17] for _ in range(50)]
            assert got == [frame(number)[:17] for number in range(50)]

    run(test)


def test_bind__a_taken_port_is_named() -> None:
    async def test() -> None:
        async with channel(allowed()) as (server, _, _counters):
            hub = CurveHub()
            try:
                with pytest.raises(OSError, match=f"127.0.0.1:{server.address[1]}"):
                    hub.server("test", server.address, SERVER, allowed())
            finally:
                hub.close()

    run(test)


def test_close__wakes_who_waits() -> None:
    async def test() -> None:
        async with channel(AllowList()) as (server, client, _):
            waiting = asyncio.create_task(server.recv())
            asking = asyncio.create_task(client.request(frame(1), timeout_seconds=60))
            await asyncio.sleep(0)
            server.close()
            client.close()
            with pytest.raises(ChannelClosed):
                await waiting
            with pytest.raises(ChannelClosed):
                await asking

    run(test)


def test_close__of_a_request_that_is_given_up_leaves_nothing_unasked() -> None:
    problems: list[dict[str, Any]] = []

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        async with channel(AllowList()) as (_, client, _counters):
            asking = asyncio.create_task(client.request(frame(1), timeout_seconds=10))
            await asyncio.sleep(0)
            client.close()
            asking.cancel()
            await asyncio.wait([asking])

    run(test)
    gc.collect()
    assert problems == []
