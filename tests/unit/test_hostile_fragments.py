"""Fragments as no endpoint makes them, signed by a holder of the key: dropped, and nothing is kept."""

from __future__ import annotations

import random

import pytest

from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing, node_tag
from replicast.machine import Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.header import pack_header
from replicast.wire.name_messages import NameResult

KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
OPERATION = b"o" * 16
A, B = 1, 2
HERE = {A: ("10.0.0.1", 1), B: ("10.0.0.1", 2)}
SESSION = {A: 11, B: 12}


def receiver() -> tuple[Endpoint, Counters]:
    """B, which has confirmed A's session."""
    counters = Counters()
    a, b = (
        Endpoint(n, SESSION[n], KEYS, random.Random(n), counters if n == B else Counters(), 1472)
        for n in (A, B)
    )
    for one in (a, b):
        one.set_addresses(HERE)
    a.send(Outgoing(ChunkQuery(row=7, chid=b"h" * 32), B, OPERATION, 5), 0)
    for _ in range(4):
        for sender, hearer in ((a, b), (b, a)):
            for datagram in sender.take_datagrams():
                hearer.receive(datagram.payload, HERE[sender.node_id], None, 0)
    return b, counters


def fragment(counter: int, index: int, count: int, piece: bytes) -> bytes:
    head = pack_header(
        NameResult.TYPE, 0, 1, 5, OPERATION, A, SESSION[A], counter, index, count, len(piece)
    )
    return head + KEYS.mac(1, head, node_tag(B), piece) + piece


@pytest.mark.parametrize(
    ("counter", "index", "count", "size_bytes"),
    [
        (8, 8, 20, 1000),  # the message would have a counter below the first
        (8, 15, 20, 1000),
        (100, 0, 60_000, 1),  # kept, each byte would cost a hundred
        (100, 3, 5, 431),
        (100, 4, 5, 0),
    ],
)
def test_fragment__that_no_endpoint_sends_is_dropped(
    counter: int, index: int, count: int, size_bytes: int
) -> None:
    b, counters = receiver()
    assert b.receive(fragment(counter, index, count, bytes(size_bytes)), HERE[A], None, 0) is None
    assert counters.get("datagrams_dropped", "fragment") == 1
    assert b.deadline_ns() is None
    b.expire(10_000_000_000)
    assert b.take_datagrams() == []


@pytest.mark.parametrize(("index", "size_bytes"), [(3, 432), (4, 1)])
def test_fragment__of_the_smallest_size_is_kept_and_the_others_are_asked_for(
    index: int, size_bytes: int
) -> None:
    b, _ = receiver()
    assert b.receive(fragment(100, index, 5, bytes(size_bytes)), HERE[A], None, 0) is None
    deadline_ns = b.deadline_ns()
    assert deadline_ns is not None
    b.expire(deadline_ns)
    assert len(b.take_datagrams()) == 1
