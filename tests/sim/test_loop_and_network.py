"""The simulated machine under the daemons: event loop, clocks, network, channels."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import weakref
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from replicast.curve import CurveHub
from replicast.keys import Identity, KeyPair, Role
from replicast.sim.channels import Exchange, SimContext
from replicast.sim.loop import Blocked, SimLoop
from replicast.sim.network import Network
from replicast.sim.turns import Clock
from replicast.sim.world import INSTANT_EVENTS_MAX, World
from replicast.units import MS, SECOND


def make_loop(world: World, rate_ppm: int = 0) -> SimLoop:
    clock = Clock(world, 7 * SECOND, rate_ppm, 0)
    return SimLoop(world, clock, "p", random.Random(1))  # type: ignore[abstract]


# -- the loop ------------------------------------------------------------------------


def test_loop__timers_timeouts_and_threads_take_virtual_time() -> None:
    world, seen = World(1), []

    async def work() -> None:
        await asyncio.sleep(2)
        seen.append(world.time_ns)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        seen.append(world.time_ns)
        assert await asyncio.to_thread(lambda: 5) == 5
        seen.append(world.time_ns)

    make_loop(world).run_soon(work())
    world.run_until(60 * SECOND)
    assert seen[:2] == [2 * SECOND, 5 * SECOND] and 5 * SECOND <= seen[2] < 5 * SECOND + 2 * MS


def test_loop__work_of_a_thread_waits_for_a_device_and_is_let_go() -> None:
    """Nothing collects cycles while a world lives: what a thread was given must go with it."""
    world, tries = World(1), []

    class Payload:
        def hash(self) -> int:
            tries.append(world.time_ns)
            if len(tries) < 3:
                raise Blocked
            return 5

    async def work() -> None:
        payload = Payload()
        left.append(weakref.ref(payload))
        assert await asyncio.to_thread(payload.hash) == 5

    left: list[weakref.ref[Payload]] = []
    gc.disable()
    try:
        make_loop(world).run_soon(work())
        world.run_until(60 * SECOND)
        assert len(tries) == 3 and tries[0] < tries[1] < tries[2]
        assert left[0]() is None
    finally:
        gc.enable()


def test_loop__a_fast_clock_sleeps_shorter() -> None:
    world, seen = World(1), []

    async def work() -> None:
        await asyncio.sleep(100)
        seen.append(world.time_ns)

    make_loop(world, rate_ppm=10_000).run_soon(work())
    world.run_until(200 * SECOND)
    assert abs(seen[0] - 100 * SECOND * 100 // 101) < MS


def test_loop__a_paused_process_does_what_was_due_when_it_goes_on() -> None:
    world, seen = World(1), []
    loop = make_loop(world)

    async def work() -> None:
        await asyncio.sleep(1)
        seen.append(world.time_ns)

    loop.run_soon(work())
    loop.pause()
    world.run_until(5 * SECOND)
    assert seen == []
    loop.resume()
    world.run_until(9 * SECOND)
    assert seen == [6 * SECOND]  # it began to sleep when it went on


def test_loop__nothing_of_a_killed_process_runs() -> None:
    world, seen = World(1), []
    loop = make_loop(world)

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            seen.append("finally")

    loop.run_soon(work())
    world.run_until(SECOND // 2)
    loop.kill()
    world.run_until(5 * SECOND)
    assert seen == [] and world.failures == []


def test_loop__what_a_callback_raises_is_a_failure_of_the_run() -> None:
    world = World(1)
    make_loop(world).call_soon(lambda: 1 / 0)
    world.run_until(SECOND)
    assert "ZeroDivisionError" in world.failures[0]


def test_world__time_that_stands_still_is_a_failure() -> None:
    world = World(1)

    def again() -> None:
        world.after(0, again)

    world.after(MS, again)
    world.run_until(SECOND)
    assert f"{INSTANT_EVENTS_MAX} events in one instant" in world.failures[0]


# -- datagrams -----------------------------------------------------------------------

A, B, GROUP = ("10.0.0.1", 1), ("10.0.0.2", 1), ("239.0.0.1", 1)


def test_network__carries_loses_doubles_cuts_and_clogs() -> None:
    world = World(3)
    network = Network(world)
    got: list[tuple[int, bytes]] = []
    network.ports[B] = lambda datagram, source: got.append((world.time_ns, datagram))
    network.send(A, B, b"first")
    world.run_until(SECOND)
    assert [data for _, data in got] == [b"first"] and got[0][0] < 20 * MS
    way = network.change(A[0], B[0])
    way.duplicate_ppm = 1_000_000
    network.send(A, B, b"twice")
    world.run_until(2 * SECOND)
    way.duplicate_ppm, way.loss_ppm = 0, 1_000_000
    network.send(A, B, b"lost")
    world.run_until(3 * SECOND)
    way.loss_ppm, way.clogged_until_ns = 0, 8 * SECOND
    network.send(A, B, b"late")
    world.run_until(7 * SECOND)
    assert [data for _, data in got] == [b"first", b"twice", b"twice"]
    world.run_until(9 * SECOND)
    assert got[-1][1] == b"late" and got[-1][0] >= 8 * SECOND
    way.clogged_until_ns, way.cut = 0, True
    network.send(A, B, b"cut")
    network.calm()
    world.run_until(10 * SECOND)
    assert got[-1][1] == b"late"


def test_network__a_group_is_heard_by_its_members() -> None:
    world = World(3)
    network = Network(world)
    got: list[str] = []
    for host in ("10.0.0.2", "10.0.0.3"):
        network.groups.setdefault(GROUP, {})[host] = lambda *_, host=host: got.append(host)
    network.send(A, GROUP, b"all")
    world.run_until(SECOND)
    assert sorted(got) == ["10.0.0.2", "10.0.0.3"]


# -- channels ------------------------------------------------------------------------


class Pair:
    """A CurveHub with a server and one with a client, on the simulated ZeroMQ."""

    def __init__(self, known: bool = True) -> None:
        self.world = World(5)
        self.network = Network(self.world)
        self.exchange = Exchange(self.world, self.network)
        self.keys = [
            KeyPair(*(z85.encode(bytes([n + i] * 32)).decode() for i in range(2))) for n in (1, 9)
        ]
        self.known = known
        self.loops = [make_loop(self.world), make_loop(self.world)]
        self.got: list[bytes] = []
        self.answers: list[Any] = []
        self.loops[0].run_soon(self.serve())
        self.loops[1].run_soon(self.connect())
        self.world.run_until(SECOND)

    def context(self, number: int) -> Any:
        loop, numbers = self.loops[number], itertools.count(10)
        return SimContext(
            self.exchange, f"h{number}", lambda: next(numbers), loop.readable, lambda: not loop.dead
        )

    async def serve(self) -> None:
        hub = CurveHub(context=self.context(0))
        identity = Identity(7, Role.TARGET) if self.known else None
        server = hub.server("t", ("h0", 1), self.keys[0], lambda key: identity)
        while True:
            received = await server.recv()
            assert received.identity == identity and received.public_key == self.keys[1].public
            self.got.append(received.frame)
            server.send(received.peer, received.frame)

    async def connect(self) -> None:
        hub = CurveHub(context=self.context(1))
        self.client = hub.client("t", ("h0", 1), self.keys[0].public, self.keys[1])

    def ask(self, number: int, seconds: float = 1.0) -> None:
        async def ask() -> None:
            frame = bytes([0]) + bytes([number]) * 16
            try:
                self.answers.append(await self.client.request(frame, timeout_seconds=seconds))
            except TimeoutError:
                self.answers.append(None)

        self.loops[1].run_soon(ask())


def test_channel__asks_the_gate_and_answers() -> None:
    pair = Pair()
    pair.ask(1)
    pair.world.run_until(2 * SECOND)
    assert pair.answers == [b"\0" + b"\1" * 16] == pair.got


def test_channel__a_stranger_is_not_let_in() -> None:
    pair = Pair(known=False)
    pair.ask(1)
    pair.world.run_until(3 * SECOND)
    assert pair.answers == [None] and pair.got == []


def test_channel__waits_over_a_short_cut_and_breaks_over_a_long_one() -> None:
    pair = Pair()
    pair.ask(1)
    pair.world.run_until(2 * SECOND)
    way = pair.network.change("h1", "h0")
    way.cut = True
    pair.ask(2, seconds=30)
    pair.world.run_until(4 * SECOND)
    way.cut = False
    pair.world.run_until(5 * SECOND)
    assert pair.answers[-1] == b"\0" + b"\2" * 16
    way.cut = True
    pair.ask(3, seconds=30)
    pair.world.run_until(20 * SECOND)
    way.cut = False
    pair.world.run_until(40 * SECOND)
    assert pair.answers[-1] is None  # lost with its connection
    pair.ask(4)
    pair.world.run_until(45 * SECOND)
    assert pair.answers[-1] == b"\0" + b"\4" * 16  # and there is a new one


def test_channel__what_is_held_on_its_way_comes_later_in_order_and_over_a_cut() -> None:
    pair = Pair()
    way = pair.network.change("h1", "h0")
    way.held_ns = 2 * SECOND
    pair.ask(1, seconds=30)
    pair.world.run_until(2 * SECOND)
    way.held_ns, way.cut = 0, True
    pair.world.run_until(2900 * MS)
    assert pair.got == []
    pair.world.run_until(3500 * MS)
    assert [frame[1] for frame in pair.got] == [1] and pair.answers == []
    way.cut = False
    pair.world.run_until(4 * SECOND)
    assert pair.answers == [b"\0" + b"\1" * 16]


def test_channel__a_taken_address_is_refused() -> None:
    pair = Pair()
    with pytest.raises(zmq.ZMQError):
        pair.context(0).socket(zmq.ROUTER).bind("tcp://h0:1")
