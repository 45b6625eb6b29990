"""Connections of the simulator: both twins queue, delay, hold, break and deliver the same."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from replicast.curve import EVENTS
from replicast.native import PURE
from replicast.sim import network_pure, pipe_pure
from replicast.sim.network import Network, Weather
from replicast.sim.world import World
from replicast.units import MS, SECOND

# A pipe needs the network of its own kind.
PURE_TWINS: Any = (pipe_pure, network_pure.Network)
FAST: Any = PURE_TWINS if PURE else (importlib.import_module("replicast.native._simpipe"), Network)
TWINS = [PURE_TWINS] if PURE else [PURE_TWINS, FAST]
PEERS = (b"peer0", b"peer1")
HERE, THERE = "h0", "h1"
WEATHERS = {
    "cut": st.booleans(),
    "loss_ppm": st.sampled_from([0, 300_000]),
    "slow_ppm": st.sampled_from([0, 400_000]),
    "delay_ns_max": st.integers(30_000, 20 * MS),
    "clogged_until_ns": st.integers(0, 5 * SECOND),
    "held_ns": st.sampled_from([0, 50 * MS, 3 * SECOND]),
}
weathers = st.fixed_dictionaries({}, optional=WEATHERS)
peers = st.integers(0, len(PEERS) - 1)
steps = st.one_of(
    st.tuples(st.just("up"), peers, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("down"), peers, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("wait"), peers, st.integers(0, 300 * MS)),
    st.tuples(st.just("wait"), peers, st.integers(0, 6 * SECOND)),
    st.tuples(st.just("read"), peers, st.none()),
    st.tuples(st.just("change"), peers, weathers),
    st.tuples(st.just("back"), peers, weathers),
    st.tuples(st.just("calm"), peers, st.none()),
    st.tuples(st.just("close client"), peers, st.none()),
    st.tuples(st.just("close server"), peers, st.none()),
    st.tuples(st.just("end"), peers, st.none()),
    st.tuples(st.just("forget"), peers, st.none()),
    st.tuples(st.just("parts"), peers, st.integers(0, 3)),
    st.tuples(st.just("answer"), peers, st.none()),
)


class Play:
    """A server, two clients with a connection each, and all that becomes of a script."""

    def __init__(self, twins: Any, seed: int, watched: bool) -> None:
        twin, network = twins
        self.world = World(seed)
        self.network = network(self.world, 1 << 20)
        self.watch = self if watched else None
        self.log: list[object] = []
        play = self

        class Both(twin.Link):  # type: ignore[misc]
            def end(self) -> None:
                play.log.append(("ended", self.ended, play.world.time_ns))
                super().end()

        self.server = twin.End(zmq.ROUTER, 10, self.readable)
        self.rep = twin.End(zmq.REP, 11, self.readable)
        self.clients: list[Any] = []
        self.links: list[Any] = []
        for number, peer in enumerate(PEERS):
            client = twin.End(zmq.DEALER, 20 + number, self.readable)
            link, front = Both(self.server, client), twin.SimFrame(peer)
            client.way = twin.Pipe(self, link, HERE, THERE, self.server, front, f"user{number}")
            self.server.ways[peer] = twin.Pipe(self, link, THERE, HERE, client)
            self.clients.append(client)
            self.links.append(link)

    def sent(self, source: str, target: str, frame: bytes) -> None:
        self.log.append(("sent", source, target, frame, self.world.time_ns))

    def arrived(self, source: str, target: str, frame: bytes) -> None:
        self.log.append(("arrived", source, target, frame, self.world.time_ns))

    def readable(self, number: int) -> None:
        self.log.append(("readable", number, self.world.time_ns))

    def read(self, end: Any) -> object:
        if not end.getsockopt(EVENTS):
            return None
        parts = end.recv_multipart(zmq.DONTWAIT, copy=False)
        return [(part.bytes, part.get("User-Id")) for part in parts]

    def do(self, what: str, peer: int, value: Any) -> object:
        client, link = self.clients[peer], self.links[peer]
        if what == "up":
            return client.send_multipart([value], zmq.DONTWAIT)
        if what == "down":
            return self.server.send_multipart([PEERS[peer], value], zmq.DONTWAIT)
        if what == "wait":
            return self.world.run_until(self.world.time_ns + value)
        if what == "read":
            return [self.read(self.server), self.read(client)]
        if what == "parts":
            end = self.server if peer else client
            return end.send_multipart([b"x"] * value)
        if what == "answer":
            return self.rep.send_multipart([b"x"])
        if what in ("change", "back"):
            way = (HERE, THERE) if what == "change" else (THERE, HERE)
            weather = self.network.change(*way)
            for name, each in value.items():
                setattr(weather, name, each)
        elif what == "calm":
            self.network.calm()
        elif what == "close client":
            client.closed = True
        elif what == "close server":
            self.server.closed = True
        elif what == "end":
            link.end()
        elif what == "forget":
            client.way = None
            return self.server.ways.pop(PEERS[peer], None) is None
        return link.ended

    def whole(self, script: list[tuple[str, int, Any]]) -> list[object]:
        for step in script:
            try:
                self.log.append(self.do(*step))
            except (zmq.ZMQError, ValueError, NotImplementedError) as error:
                self.log.append((type(error), str(error)))
        self.world.run_until(self.world.time_ns + 10 * SECOND)
        for each in (self.server, *self.clients):
            while (parts := self.read(each)) is not None:
                self.log.append(parts)
            self.log += [each.getsockopt(int(zmq.FD)), each.fd, each.kind, each.closed]
        self.log += [(each.ended, each.check(), each.ended) for each in self.links]
        return [*self.log, self.world.trace.fingerprint(), self.world.event_count]


@given(st.integers(0, 99), st.booleans(), st.lists(steps, max_size=50))
def test_pipes__both_twins_do_the_same(seed: int, watched: bool, script: list[Any]) -> None:
    both = [Play(twins, seed, watched).whole(script) for twins in (PURE_TWINS, FAST)]
    assert both[0] == both[1]


@pytest.mark.parametrize("twins", TWINS)
def test_pipe__a_full_queue_and_what_is_no_frame_are_refused(twins: Any) -> None:
    play = Play(twins, 1, watched=False)
    play.network.default = Weather(cut=True)
    for _ in range(pipe_pure.FRAMES_MAX):
        play.clients[0].send_multipart([b"x"])
    with pytest.raises(zmq.Again):
        play.clients[0].send_multipart([b"x"])
    with pytest.raises(AssertionError):
        play.server.getsockopt(-1)
    with pytest.raises(IndexError):
        play.server.recv_multipart()
    play.world.run_until(10 * SECOND)
    assert play.links[0].ended and not play.links[1].ended
