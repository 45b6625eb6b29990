"""The simulated wire and inboxes: both twins draw, lose, delay and deliver the same."""

from __future__ import annotations

import importlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.sim import inbox_pure, network_pure
from replicast.sim.network import Weather
from replicast.sim.world import World
from replicast.transfer_header import HEADER_BYTES, header_for, parse_header
from replicast.transport.net import Reassembly
from replicast.units import MS

PURE_TWINS: Any = (network_pure.Network, inbox_pure.Inbox)
NATIVE: Any = None if PURE else importlib.import_module("replicast.native._simwire")
FAST: Any = PURE_TWINS if PURE else (NATIVE.Network, NATIVE.Inbox)
CHUNK = bytes(range(228)) * 4
HOSTS = ("h0", "h1", "h2")
GROUP = ("239.1.1.1", 7)
TRANSFER, UNKNOWN, PAYLOAD_BYTES, COUNT = b"t" * 16, b"u" * 16, 304, 3
WEATHERS = {
    "cut": st.booleans(),
    "groups_cut": st.booleans(),
    "loss_ppm": st.sampled_from([0, 300_000, 1_000_000]),
    "duplicate_ppm": st.sampled_from([0, 500_000]),
    "slow_ppm": st.sampled_from([0, 400_000]),
    "delay_ns_max": st.integers(30_000, 20 * MS),
    "clogged_until_ns": st.integers(0, 60 * MS),
}
hosts = st.integers(0, len(HOSTS) - 1)
steps = st.one_of(
    st.tuples(st.just("control"), hosts, hosts, st.binary(max_size=40)),
    st.tuples(st.just("group"), hosts, hosts, st.binary(max_size=40)),
    st.tuples(st.just("payload"), hosts, hosts, st.integers(0, COUNT)),
    st.tuples(st.just("wait"), hosts, hosts, st.integers(0, 30 * MS)),
    st.tuples(st.just("take"), hosts, hosts, st.none()),
    st.tuples(st.just("finish"), hosts, hosts, st.integers(1, 2)),
    st.tuples(st.just("connection"), hosts, hosts, st.integers(0, 100_000)),
    st.tuples(st.just("default"), hosts, hosts, st.fixed_dictionaries({}, optional=WEATHERS)),
    st.tuples(st.just("change"), hosts, hosts, st.fixed_dictionaries({}, optional=WEATHERS)),
    st.tuples(st.just("calm"), hosts, hosts, st.none()),
    st.tuples(st.just("close"), hosts, hosts, st.none()),
    st.tuples(st.just("die"), hosts, hosts, st.none()),
    st.tuples(st.just("shut"), hosts, hosts, st.none()),
)


class Play:
    """Three hosts with an inbox each, and all that becomes of a script."""

    def __init__(self, twins: Any, seed: int) -> None:
        network, inbox = twins
        self.world = World(seed)
        self.network = network(self.world, 1 << 20)
        self.log: list[object] = []
        self.dead: set[int] = set()
        self.inboxes: list[Any] = []
        for number, host in enumerate(HOSTS):
            buffers = Reassembly(1 << 20, 4)
            buffers.open(TRANSFER, COUNT * PAYLOAD_BYTES, PAYLOAD_BYTES)
            made = inbox(self.network, buffers, 10 + number, self.readable, self.alive(number))
            made.addresses.update({1: (host, 1), 2: (host, 7)})
            self.network.ports[host, 1] = made.port(1)
            self.network.groups.setdefault(GROUP, {})[host] = made.port(2)
            self.inboxes.append(made)

    def alive(self, number: int) -> Any:
        return lambda: number not in self.dead

    def readable(self, number: int) -> None:
        self.log.append((self.world.time_ns, number))

    def do(self, what: str, source: int, target: int, value: Any) -> object:
        inbox, here, there = self.inboxes[source], HOSTS[source], HOSTS[target]
        if what in ("control", "group"):
            address = GROUP if what == "group" else (there, 1)
            return inbox.send_control([(1, value, address), (2, b"2" + value, address)])
        if what == "payload":
            size = COUNT * PAYLOAD_BYTES
            transfer = UNKNOWN if value == COUNT else TRANSFER
            start = value % COUNT * PAYLOAD_BYTES
            ranges = [(start, size)] if source else [(start, start + 1), (0, 1)]
            addresses = [(there, 1), GROUP][: 1 + value]
            return inbox.send_payload(
                1, transfer, memoryview(CHUNK), ranges, PAYLOAD_BYTES, source, addresses
            )
        if what == "wait":
            return self.world.run_until(self.world.time_ns + value)
        if what == "take":
            return inbox.take()
        if what == "finish":
            job = len(self.log)
            inbox.jobs[job] = value
            return inbox.finish(job)
        if what == "connection":
            return self.network.connection_delay(here, there, value)
        if what == "default":
            self.network.default = Weather(**value)
        elif what == "change":
            way = self.network.change(here, there)
            for name, each in value.items():
                setattr(way, name, each)
            assert self.network.weather(here, there) is way
        elif what == "close":
            return self.network.ports.pop((here, 1), None) is None
        elif what == "shut":
            inbox.shut()
        elif what == "calm":
            self.network.calm()
        elif what == "die":
            self.dead.add(source)
        return None

    def whole(self, script: list[tuple[str, int, int, Any]]) -> list[object]:
        for step in script:
            self.log.append(self.do(*step))
        self.world.run_until(self.world.time_ns + 1000 * MS)
        for each in self.inboxes:
            self.log += [each.take(), each.stats(), each.is_open(), each.fileno(), each.jobs]
            self.log.append(each.reassembly.stats())
        counts = self.network.sent, self.network.lost, self.world.trace.fingerprint()
        return [*self.log, counts, self.world.event_count]


@given(st.integers(0, 99), st.lists(steps, max_size=50))
def test_network__both_twins_do_the_same(seed: int, script: list[Any]) -> None:
    assert Play(PURE_TWINS, seed).whole(script) == Play(FAST, seed).whole(script)


def test_inbox__both_twins_drop_what_does_not_fit() -> None:
    for twins in (PURE_TWINS, FAST):
        play = Play(twins, 1)
        for _ in range(inbox_pure.CONTROL_COUNT_MAX + 5):
            play.inboxes[0].send_control([(1, b"x", ("h1", 1))])
        play.world.run_until(10_000 * MS)
        stats = play.inboxes[1].stats()
        assert stats["dropped_queue_full"] == 5
        assert len(play.inboxes[1].take()[0]) == inbox_pure.CONTROL_COUNT_MAX
        for _ in range(17):
            play.inboxes[0].send_control([(1, bytes(1 << 20), ("h2", 1))])
        play.world.run_until(60_000 * MS)
        assert len(play.inboxes[2].take()[0]) == 16


@given(
    st.sampled_from([0, 15, 16]),
    st.integers(0, 2000),
    st.sampled_from([248, 256, 304, 65_440, 65_448]),
    st.lists(st.tuples(st.integers(-1, 2001), st.integers(-1, 2001)), max_size=3),
    st.sampled_from([0, 1, (1 << 64) - 1]),
)
def test_inbox__both_twins_make_the_datagrams_of_the_header_and_the_same_errors(
    id_bytes: int, size: int, datagram_bytes: int, ranges: list[Any], sender: int
) -> None:
    transfer, buffer = b"t" * id_bytes, bytes(number % 251 for number in range(size))
    both: list[object] = []
    for twins in (PURE_TWINS, FAST):
        play, got = Play(twins, 1), []
        play.network.ports["h1", 1] = lambda datagram, source, got=got: got.append(datagram)
        try:
            play.inboxes[0].send_payload(
                1, transfer, buffer, ranges, datagram_bytes, sender, [("h1", 1)]
            )
        except ValueError as error:
            both.append(str(error))
            continue
        play.world.run_until(60_000 * MS)
        for datagram in got:
            head = parse_header(datagram)
            assert head is not None
            assert head == header_for(transfer, head.index, size, datagram_bytes, sender)
            start = head.index * datagram_bytes
            assert datagram[HEADER_BYTES:] == buffer[start : start + datagram_bytes]
        both.append((got, play.inboxes[0].stats()))
    assert both[0] == both[1]
