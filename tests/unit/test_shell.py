"""UdpShell: two daemons' networks on loopback, control and payload, unicast and multicast."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

import pytest

from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing
from replicast.machine import Group, Incoming, Outgoing
from replicast.metrics import Counters
from replicast.transfer import SendPayload
from replicast.transport.memberships import Memberships
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import NetThread, Reassembly
from replicast.transport.shell import UdpShell
from replicast.transport.sockets import datagram_bytes_for_mtu, open_unicast
from replicast.units import SECOND
from replicast.wire.chunk_messages import ChunkQuery, PayloadDone

ID = b"transfer-id-0001"
OPERATION = b"operation-id-001"
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
PATIENCE_SECONDS = 60.0
PATH_MTU, NARROW_MTU = 1500, 1280


class Daemon:
    """A shell with callbacks that only take notes."""

    def __init__(self, node_id: int, plan: MulticastPlan | None = None, **limits: int) -> None:
        self.path_mtu = PATH_MTU
        self.id = node_id
        unicast = open_unicast("127.0.0.1", 0)
        self.address = unicast.getsockname()
        self.counters = Counters()
        rng = random.Random(node_id)
        self.endpoint = Endpoint(node_id, node_id + 1, KEYS, rng, self.counters, 1400)
        net = NetThread(Reassembly(8 << 20, 16), **limits)
        self.memberships = Memberships(net, plan, "127.0.0.1") if plan else None
        self.incoming: list[Incoming] = []
        self.completed: list[bytes] = []
        self.sent: list[tuple[bytes, int]] = []
        self.peers: Iterable[int] = ()
        self.on_delivered: Callable[[], None] = lambda: None
        self.changed = asyncio.Event()
        self.fails = False
        self.shell = UdpShell(
            net,
            self.endpoint,
            unicast,
            KEYS,
            self.counters,
            now_ns=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            on_incoming=self.on_incoming,
            on_completed=lambda ids, now_ns: self.note(self.completed.extend, ids),
            on_sent=lambda e, now_ns: self.note(self.sent.append, (e.transfer_id, e.token)),
            on_delivered=lambda now_ns: self.on_delivered(),
            fan_out=lambda outgoing: self.peers,
            plan=plan,
            memberships=self.memberships,
            path_mtu=lambda address: self.path_mtu,
            mtu_bytes=PATH_MTU,
        )
        self.shell.start()

    def on_incoming(self, incoming: Incoming, now_ns: int) -> None:
        self.note(self.incoming.append, incoming)
        if self.fails:
            raise ZeroDivisionError

    def note(self, add: Callable[[Any], None], what: Any) -> None:
        add(what)
        self.changed.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), PATIENCE_SECONDS)

    def say(self, outgoing: Outgoing) -> None:
        self.shell.send(outgoing, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self.shell.flush()


Story = Callable[..., Coroutine[Any, Any, None]]


def play(story: Story, count: int, plan: MulticastPlan | None = None, **limits: int) -> None:
    async def scene() -> None:
        daemons = [Daemon(100 + i, plan, **limits) for i in range(count)]
        for one in daemons:
            one.endpoint.set_addresses({d.id: d.address for d in daemons if d is not one})
        try:
            await story(*daemons)
        finally:
            for one in daemons:
                one.shell.close()

    asyncio.run(scene())


def query(to: int | Group) -> Outgoing:
    return Outgoing(ChunkQuery(row=3, chid=b"h" * 32), to, OPERATION, 5)


def payload(
    chunk: bytes, to: tuple[int, ...] | Group, authenticated: bool = False, token: int = 1
) -> SendPayload:
    ranges = ((0, len(chunk)),)
    return SendPayload(ID, token, chunk, ranges, to, 1024, len(chunk), authenticated, False)


def test_send__reaches_the_node_and_the_answer_comes_back() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        a.say(query(b.id))
        await b.wait(lambda: bool(b.incoming))
        assert b.incoming[0].sender == a.id and b.incoming[0].source == a.address
        b.say(Outgoing(PayloadDone(transfer_id=ID), a.id, OPERATION, 5))
        await a.wait(lambda: bool(a.incoming))
        assert a.incoming[0].message == PayloadDone(transfer_id=ID)

    play(story, 2)


def test_stranger__gets_a_challenge_and_no_probe() -> None:
    """It may be a datagram of long ago, sent again in the name of somebody who shall be flooded."""

    async def story(b: Daemon) -> None:
        old = Endpoint(7, 8, KEYS, random.Random(7), Counters(), 1400)
        old.set_address(b.id, b.address)
        old.send(query(b.id), 0)
        with open_unicast("127.0.0.1", 0) as stranger:
            (datagram,) = old.take_datagrams()
            stranger.sendto(datagram.payload, b.address)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await loop.sock_recv(stranger, 65536)
        assert len(answer) <= len(datagram.payload)

    play(story, 1)


def test_on_delivered__after_the_message_and_what_it_says_leaves() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        def answer() -> None:
            for one in b.incoming[len(answered) :]:
                answered.append(one)
                b.shell.send(Outgoing(PayloadDone(transfer_id=ID), one.sender, OPERATION, 5), 0)

        answered: list[Incoming] = []
        b.on_delivered = answer
        a.say(query(b.id))
        await a.wait(lambda: bool(a.incoming))
        assert len(answered) == 1

    play(story, 2)


def test_send__group_without_a_plan_fans_out() -> None:
    async def story(a: Daemon, b: Daemon, c: Daemon) -> None:
        a.peers = [b.id, c.id]
        a.say(query(Group("negotiating", 3)))
        for one in (b, c):
            await one.wait(lambda d=one: bool(d.incoming))  # type: ignore[misc]
            assert one.incoming[0].group is None

    play(story, 3)


def test_send__group_with_a_plan_is_multicast() -> None:
    plan = MulticastPlan(random.SystemRandom().randbytes(16), 2, 4)

    async def story(a: Daemon, b: Daemon, c: Daemon) -> None:
        for one in (b, c):
            assert one.memberships is not None and one.memberships.join_negotiating()
        a.say(query(Group("negotiating", 1)))
        for one in (b, c):
            await one.wait(lambda d=one: bool(d.incoming))  # type: ignore[misc]
            group = one.incoming[0].group
            assert group is not None and group.kind == "negotiating"

    play(story, 3, plan)


@pytest.mark.parametrize("authenticated", [False, True])
def test_send_payload__completes_and_reports(authenticated: bool) -> None:
    chunk = random.Random(1).randbytes(30_000)

    async def story(a: Daemon, b: Daemon) -> None:
        b.shell.net.reassembly.open(ID, len(chunk), 1024, authenticated)
        a.shell.send_payload(payload(chunk, (b.id, 999), authenticated))
        await b.wait(lambda: bool(b.completed))
        await a.wait(lambda: a.sent == [(ID, 1)])
        assert b.shell.net.reassembly.take(ID) == chunk

    play(story, 2)


def test_send_payload__by_rendezvous_group() -> None:
    plan = MulticastPlan(random.SystemRandom().randbytes(16), 1, 4)
    chunk = random.Random(2).randbytes(30_000)

    async def story(a: Daemon, b: Daemon, c: Daemon) -> None:
        group = Group("rendezvous", 2)
        for one in (b, c):
            assert one.memberships is not None and one.memberships.join_rendezvous(2)
            one.shell.net.reassembly.open(ID, len(chunk), 1024)
        a.shell.send_payload(payload(chunk, group))
        for one in (b, c):
            await one.wait(lambda d=one: bool(d.completed))  # type: ignore[misc]
            assert one.shell.net.reassembly.take(ID) == chunk
        await a.wait(lambda: bool(a.sent))  # counted, too: it may arrive before the thread counts
        a.shell.count_stats()
        assert a.counters.get("datagrams_sent", "payload") == 30

    play(story, 3, plan)


def test_send_payload__nobody_known_is_reported_at_once() -> None:
    async def story(a: Daemon) -> None:
        a.shell.send_payload(payload(b"x" * 600, (999,)))
        assert a.sent == []  # not from inside the call
        await a.wait(lambda: a.sent == [(ID, 1)])

    play(story, 1)


def test_send_payload__more_than_the_thread_takes_waits_in_order() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        for token in range(20):
            a.shell.send_payload(payload(b"x" * 600, (b.id,), token=token))
        await a.wait(lambda: len(a.sent) == 20)
        assert [token for _, token in a.sent] == list(range(20))

    play(story, 2, jobs_max=3)


def test_send_payload__one_that_makes_no_sense_does_not_stop_the_others() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        bad = replace(payload(b"x" * 600, (b.id,)), datagram_bytes=7)
        a.shell.send_payload(bad)
        a.shell.send_payload(payload(b"x" * 600, (b.id,), token=2))
        await a.wait(lambda: len(a.sent) == 2)
        assert sorted(a.sent) == [(ID, 1), (ID, 2)]
        assert a.counters.get("datagrams_dropped", "unsendable") == 1

    play(story, 2)


def test_sealed_payload__a_wrong_key_is_dropped() -> None:
    chunk = random.Random(3).randbytes(600)

    async def story(a: Daemon, b: Daemon) -> None:
        b.shell.net.reassembly.open(ID, len(chunk), 1024, True)
        a.shell.set_keys(KeyRing(b"c" * 16, 1, {1: b"x" * 32}))
        a.shell.send_payload(payload(chunk, (b.id,), True))
        await a.wait(lambda: bool(a.sent))
        a.shell.set_keys(KEYS)
        a.say(query(b.id))
        await b.wait(lambda: bool(b.incoming))
        assert b.completed == []
        assert b.counters.get("datagrams_dropped", "payload_mac") == 1

    play(story, 2)


def test_a_failing_handler_does_not_stop_the_others() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        b.fails = True
        for _ in range(3):
            a.say(query(b.id))
        await b.wait(lambda: len(b.incoming) == 3)
        assert b.counters.get("datagrams_dropped", "handler_failed") >= 2

    play(story, 2)


def test_paths__what_the_kernel_says_of_a_peer_bounds_its_datagrams() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        most = datagram_bytes_for_mtu(PATH_MTU)
        a.path_mtu = NARROW_MTU
        a.say(query(b.id))
        assert a.shell.payload_bytes([b.id], most) == most  # nobody has looked yet
        await b.wait(lambda: bool(b.incoming))
        a.shell._expire_paths(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + SECOND)
        assert a.shell.payload_bytes([b.id, 77], most) == datagram_bytes_for_mtu(NARROW_MTU)
        assert a.shell.payload_bytes([77], most) == most
        assert a.shell.payload_bytes([b.id], 512) == 512
        a.shell.count_stats()
        assert a.counters.get("path_mtu_bytes", "interface") == PATH_MTU
        assert a.counters.get("path_mtu_bytes", "least") == NARROW_MTU
        b.shell.count_stats()
        assert b.counters.get("datagrams_dropped", "payload_unknown_transfer") >= 1  # probes

    play(story, 2)


def test_count_stats__counts_each_datagram_once() -> None:
    async def story(a: Daemon, b: Daemon) -> None:
        a.say(query(b.id))
        await b.wait(lambda: bool(b.incoming))
        b.shell.count_stats()
        before = b.counters.get("datagrams_received", "control")
        assert before >= 1
        b.shell.count_stats()
        assert b.counters.get("datagrams_received", "control") == before

    play(story, 2)


def test_count_stats__tells_what_is_expected() -> None:
    async def story(a: Daemon) -> None:
        a.shell.net.reassembly.open(b"t" * 16, 5000, 1400)
        a.shell.count_stats()
        assert a.counters.get("payload_transfers") == 1
        assert a.counters.get("payload_buffer_bytes") >= 5000
        a.shell.net.reassembly.close(b"t" * 16)
        a.shell.count_stats()
        assert a.counters.get("payload_transfers") == a.counters.get("payload_buffer_bytes") == 0

    play(story, 1)
