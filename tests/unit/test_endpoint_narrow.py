"""The endpoint and peers that can be sent shorter datagrams than the others."""

from __future__ import annotations

import random

from replicast.auth.endpoint import DATAGRAM_BYTES_MIN, Endpoint
from replicast.auth.keyring import KeyRing
from replicast.auth.voice_pure import Datagram
from replicast.machine import Address, Incoming, Outgoing
from replicast.metrics import Counters
from tests.unit.test_endpoint import result

KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
A, B, C = 1, 2, 3
PLACES: dict[int, Address] = {n: (f"10.0.0.{n}", 7000) for n in (A, B, C)}
OPERATION = b"o" * 16
WIDE, NARROW = 1472, 1252


def make(node_id: int) -> Endpoint:
    rng = random.Random(node_id)
    endpoint = Endpoint(node_id, node_id << 32, KEYS, rng, Counters(), WIDE)
    endpoint.set_addresses(PLACES)
    return endpoint


def run(a: Endpoint, b: Endpoint, lose: set[int], now_ns: int = 0) -> list[Incoming]:
    """All datagrams between them until nobody has any; `lose` counts those of `a`."""
    heard: list[Incoming] = []
    count = 0
    while queued := [(a, b, A, d) for d in a.take_datagrams()] + [
        (b, a, B, d) for d in b.take_datagrams()
    ]:
        for sender, receiver, node, datagram in queued:
            count += sender is a
            if sender is a and count in lose:
                continue
            incoming = receiver.receive(datagram.payload, PLACES[node], None, now_ns)
            heard += [incoming] if incoming is not None else []
    return heard


def lengths(datagrams: list[Datagram], to: int) -> list[int]:
    return [len(d.payload) for d in datagrams if d.to == PLACES[to]]


def test_narrow__only_its_datagrams_are_short() -> None:
    a = make(A)
    a.set_narrow({PLACES[B]: NARROW})
    for node in (B, C):
        a.send(Outgoing(result(5000), node, OPERATION, 5), 0)
    queued = a.take_datagrams()
    assert max(lengths(queued, B)) == NARROW and max(lengths(queued, C)) == WIDE
    a.set_narrow({})
    a.send(Outgoing(result(5000), B, OPERATION, 5), 0)
    assert max(lengths(a.take_datagrams(), B)) == WIDE


def test_narrow__never_below_what_a_receiver_takes() -> None:
    a, b = make(A), make(B)
    a.set_narrow({PLACES[B]: 300})
    sent = result(3000)
    a.send(Outgoing(sent, B, OPERATION, 5), 0)
    assert [each.message for each in run(a, b, set())] == [sent]
    a.send(Outgoing(sent, B, OPERATION, 5), 0)
    assert max(lengths(a.take_datagrams(), B)) == DATAGRAM_BYTES_MIN


def test_narrow__learned_between_a_message_and_its_repair() -> None:
    """Fragments that are asked for are cut as they were: the receiver keeps the others."""
    a, b = make(A), make(B)
    first, second = result(1), result(9000)
    a.send(Outgoing(first, B, OPERATION, 5), 0)
    assert len(run(a, b, set())) == 1
    a.send(Outgoing(second, B, OPERATION, 5), 0)
    heard = run(a, b, {2, 3})
    a.set_narrow({PLACES[B]: NARROW})
    while not heard:
        due_ns = b.deadline_ns()
        assert due_ns is not None
        b.expire(due_ns)
        heard = run(a, b, set(), due_ns)
    assert [each.message for each in heard] == [second]
