"""Mutated datagrams into an endpoint: nothing raises, grows or is answered with more than came.

Once as a stranger sends them (the MAC no longer fits) and once as a holder of
the key with a bug would (MACed anew).
"""

from __future__ import annotations

import os
import random

import pytest

from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing, node_tag
from replicast.machine import Incoming, Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import ChunkQuery, PutPropose
from replicast.wire.header import HEADER_BYTES, MACED_BYTES
from replicast.wire.name_messages import NO_VERSION, NameGet, NameKey

FUZZ_COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "20000"))
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
HERE = {1: ("10.0.0.1", 1), 2: ("10.0.0.1", 2)}
KEY = NameKey(row=1, tenant="t", bucket="b", bucket_incarnation=1, name="n" * 900)
MESSAGES = [
    ChunkQuery(row=7, chid=b"h" * 32),
    PutPropose(row=1, chid=b"h", hash_algorithm=1, size_bytes=9, copies=3, excluded=(1, 2)),
    NameGet(key=KEY, version=NO_VERSION, want_body=True),
]


def make(node_id: int) -> tuple[Endpoint, Counters]:
    counters = Counters()
    endpoint = Endpoint(node_id, node_id, KEYS, random.Random(node_id), counters, 512)
    endpoint.set_addresses(HERE)
    return endpoint, counters


def acquainted() -> tuple[Endpoint, Endpoint, Counters]:
    a, _ = make(1)
    b, counters = make(2)
    a.send(Outgoing(MESSAGES[0], 2, b"o" * 16, 5), 0)
    for _ in range(4):
        for sender, receiver in ((a, b), (b, a)):
            for datagram in sender.take_datagrams():
                receiver.receive(datagram.payload, HERE[sender.node_id], None, 0)
    return a, b, counters


def harmed(datagram: bytes, rng: random.Random) -> bytes:
    out = bytearray(datagram)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out))
        out[at] = rng.choice((0, 0xFF, out[at] ^ 1 << rng.randrange(8), rng.getrandbits(8)))
    if rng.random() < 0.2:
        del out[rng.randrange(len(out)) :]
    return bytes(out)


def signed(datagram: bytes) -> bytes:
    head, body = datagram[:MACED_BYTES], datagram[HEADER_BYTES:]
    head = head[:60] + len(body).to_bytes(4, "little")
    return head + KEYS.mac(1, head, node_tag(2), body) + body


@pytest.mark.parametrize("by", ["stranger", "holder of the key"])
def test_mutated_datagrams__are_dropped_with_a_reason(by: str) -> None:
    a, b, counters = acquainted()
    rng = random.Random(3)
    delivered = 0
    for number in range(FUZZ_COUNT):
        a.send(Outgoing(MESSAGES[number % 3], 2, b"o" * 16, 5), 0)
        good = [d.payload for d in a.take_datagrams()]
        bad = harmed(rng.choice(good), rng)
        if by != "stranger" and len(bad) >= HEADER_BYTES:
            bad = signed(bad)
        incoming = b.receive(bad, HERE[1], None, number * 1_000_000)
        answers = b.take_datagrams()
        assert sum(len(d.payload) for d in answers) <= len(bad)
        if incoming is not None:
            delivered += 1
            assert isinstance(incoming, Incoming)
        if by == "stranger" and bad not in good:
            assert incoming is None and not answers
        b.expire(number * 1_000_000)
        asked = b.take_datagrams()  # for fragments, each message a few times
        assert sum(len(d.payload) for d in asked) <= 100_000
    dropped = counters.total("datagrams_dropped") - 1  # the first contact above
    assert dropped > FUZZ_COUNT // 3
    if by == "stranger":
        assert dropped + delivered <= FUZZ_COUNT + 1
