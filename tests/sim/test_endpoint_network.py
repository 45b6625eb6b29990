"""Endpoints on a bad network with an attacker who records everything and plays it again.

Nodes restart, forget each other, lose, duplicate and reorder datagrams.
Safety: no datagram is delivered twice at a node, over all its starts; nothing
is delivered that was not sent to it. Liveness: when the faults stop, every
message arrives, without a timer.
"""

from __future__ import annotations

import os
import random

import pytest

from replicast.auth.endpoint import Endpoint, EndpointLimits
from replicast.auth.keyring import KeyRing
from replicast.auth.session import Peer, Sessions, Windows, make_session
from replicast.auth.window import ReplayWindow
from replicast.machine import Address, Group, Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.name_messages import NO_VERSION, NameGet, NameKey

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(60))
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
NODES = (1, 2, 3, 4)
GROUP = Group("negotiating", 0)
MEMBERS = (2, 3, 4)
LIMITS = EndpointLimits(peers_max=3, challenges_max=4)
Flight = tuple[int, int, Group | None, bytes]  # from, to, group, datagram


class Network:
    """All nodes, what is in the air, and what the attacker has recorded."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.faults = True
        self.now_ns = 0
        self.boots = dict.fromkeys(NODES, 0)
        self.nodes: dict[int, Endpoint] = {}
        self.air: list[Flight] = []
        self.recorded: list[Flight] = []
        self.sent: dict[bytes, tuple[int, ...]] = {}
        self.delivered: dict[tuple[int, bytes], bytes] = {}
        self.trace: list[tuple[int, int, bytes]] = []
        for node_id in NODES:
            self.start(node_id)

    @staticmethod
    def address(node_id: int) -> Address:
        return ("10.0.0.1", node_id)

    def start(self, node_id: int) -> None:
        self.boots[node_id] += 1
        session = make_session(self.boots[node_id], self.rng.getrandbits(32))
        endpoint = Endpoint(node_id, session, KEYS, self.rng, Counters(), 512, LIMITS)
        endpoint.set_addresses({n: self.address(n) for n in NODES})
        self.nodes[node_id] = endpoint

    def send(self, sender: int, to: int | Group, *, large: bool) -> bytes:
        operation_id = self.rng.randbytes(16)
        self.sent[operation_id] = MEMBERS if isinstance(to, Group) else (to,)
        name = "n" * (1000 if large else 1)
        key = NameKey(row=1, tenant="t", bucket="b", bucket_incarnation=1, name=name)
        get = NameGet(key=key, version=NO_VERSION, want_body=True)
        message = ChunkQuery(row=1, chid=operation_id) if isinstance(to, Group) else get
        self.nodes[sender].send(Outgoing(message, to, operation_id, 1), self.now_ns)
        self.collect(sender)
        return operation_id

    def collect(self, sender: int) -> None:
        for datagram in self.nodes[sender].take_datagrams():
            if isinstance(datagram.to, Group):
                flights: list[Flight] = [(sender, n, GROUP, datagram.payload) for n in MEMBERS]
            else:
                flights = [(sender, datagram.to[1], None, datagram.payload)]
            self.recorded += flights
            self.air += flights

    def step(self) -> None:
        """Move one datagram; with faults perhaps not that one, or not once."""
        self.now_ns += 100_000
        at = self.rng.randrange(min(len(self.air), 8)) if self.faults else 0
        flight = self.air.pop(at)
        if self.faults and self.rng.random() < 0.1:
            return
        if self.faults and self.rng.random() < 0.1:
            self.air.append(flight)
        self.hear(flight)

    def hear(self, flight: Flight) -> None:
        sender, to, group, datagram = flight
        incoming = self.nodes[to].receive(datagram, self.address(sender), group, self.now_ns)
        if incoming is not None:
            assert to in self.sent[incoming.operation_id]
            assert (to, datagram) not in self.delivered, "replayed"
            self.delivered[(to, datagram)] = incoming.operation_id
            self.trace.append((self.now_ns, to, incoming.operation_id))
        self.collect(to)

    def attack(self) -> None:
        """Play anything again, perhaps to somebody else or at another socket."""
        sender, to, group, datagram = self.rng.choice(self.recorded)
        if self.rng.random() < 0.3:
            to = self.rng.choice(NODES)
            group = self.rng.choice((None, GROUP)) if to in MEMBERS else None
        self.hear((sender, to, group, datagram))

    def quiet(self) -> None:
        for _ in range(20_000):
            if not self.air:
                return
            self.step()
        raise AssertionError("endpoints talk for ever")

    def arrived(self, to: int, operation_id: bytes) -> bool:
        return any(n == to and o == operation_id for (n, _), o in self.delivered.items())


def run(seed: int) -> Network:
    network = Network(seed)
    rng = network.rng
    for _ in range(300):
        dice = rng.random()
        if dice < 0.4 or not network.recorded:
            to: int | Group = GROUP if rng.random() < 0.3 else rng.choice(NODES[1:])
            network.send(rng.choice(NODES), to, large=rng.random() < 0.3)
        elif dice < 0.45:
            network.start(rng.choice(NODES))
        elif dice < 0.7:
            network.attack()
        for _ in range(rng.randrange(10)):
            if network.air:
                network.step()
        network.nodes[rng.choice(NODES)].expire(network.now_ns)
    return network


def test_same_seed_same_trace() -> None:
    trace = run(7).trace
    assert trace and trace == run(7).trace


@pytest.mark.parametrize("seed", SEEDS)
def test_bad_network_and_replay(seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/test_endpoint_network.py")
    network = run(seed)
    network.faults = False
    network.quiet()
    for sender in NODES:
        for to in NODES[1:]:
            operation_id = network.send(sender, to, large=sender == 2)
            network.quiet()
            assert network.arrived(to, operation_id)
        operation_id = network.send(sender, GROUP, large=False)
        network.quiet()
        assert all(network.arrived(to, operation_id) for to in MEMBERS)


def test_canary__a_session_without_a_floor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded before a receiver's restart would count again."""

    def accept(peer: Peer, group: Group | None, counter: int) -> bool:
        return peer.windows.setdefault(group, ReplayWindow(0)).accept(counter)

    monkeypatch.setattr(Peer, "accept", accept)
    with pytest.raises(AssertionError, match="replayed"):
        for seed in range(100):
            run(seed)


def test_canary__an_answer_that_is_not_checked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any session would be believed, also one that ended long ago."""

    def believe(
        self: Sessions, node_id: int, session: int, nonce: int, counter: int, source: Address
    ) -> bool:
        self._peers[node_id] = Peer(session, Windows(counter))
        return True

    monkeypatch.setattr(Sessions, "confirm", believe)
    monkeypatch.setattr(Sessions, "retired", lambda self, node_id, session: False)
    with pytest.raises(AssertionError, match="replayed"):
        for seed in range(100):
            run(seed)
