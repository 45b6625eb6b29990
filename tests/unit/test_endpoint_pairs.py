"""What only one node may say: MACed with the key that its receiver gave it, and with no other."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from replicast.auth.endpoint import Endpoint
from replicast.auth.gate_pure import PAIR_TYPES
from replicast.auth.keyring import KeyRing, mac_of, node_tag
from replicast.auth.session import make_session
from replicast.auth.voice_pure import PAIR_EPOCH
from replicast.machine import Address, Group, Incoming, Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.codec import encode
from replicast.wire.header import MACED_BYTES, PAIR, pack_header, parse_header
from replicast.wire.row_messages import AppendItem, RowAppend, RowEntry, RowPosition, RowStatus
from replicast.wire.schema import Message

KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
A, B, C = 1, 2, 3
KEY, OTHER_KEY = b"p" * 32, b"q" * 32
NO_OPERATION = bytes(16)


def append(data: bytes = b"entry") -> RowAppend:
    item = AppendItem(
        row=1, leader=2, replica=3, epoch=4, tenure=5, open_count=6, committed_index=7,
        previous=RowPosition(epoch=4, tenure=5, index=8),
        entries=(RowEntry(epoch=4, index=9, data=data),),
    )  # fmt: skip
    return RowAppend(items=(item,))


def address(node_id: int) -> Address:
    return ("10.0.0.1", 1000 + node_id)


class Node:
    def __init__(self, node_id: int, boot: int = 1, datagram_bytes_max: int = 1472) -> None:
        self.node_id, self.counters = node_id, Counters()
        rng = random.Random(node_id * 1000 + boot)
        session = make_session(boot, 100 + boot)
        self.endpoint = Endpoint(node_id, session, KEYS, rng, self.counters, datagram_bytes_max)
        self.endpoint.set_addresses({n: address(n) for n in (A, B, C)})
        self.got: list[Incoming] = []

    def say(self, to: int, message: Message) -> list[bytes]:
        self.endpoint.send(Outgoing(message, to, NO_OPERATION, 0), 0)
        return self.take()

    def take(self) -> list[bytes]:
        return [datagram.payload for datagram in self.endpoint.take_datagrams()]

    def hear(self, datagram: bytes, sender: int = A, now_ns: int = 0) -> None:
        incoming = self.endpoint.receive(datagram, address(sender), None, now_ns)
        if incoming is not None:
            self.got.append(incoming)

    def dropped(self, reason: str) -> float:
        return self.counters.get("datagrams_dropped", reason)


def exchange(a: Node, b: Node, lose: Callable[[bytes], bool] = lambda datagram: False) -> None:
    """Deliver until all is quiet."""
    while True:
        moved = [(b, d, a.node_id) for d in a.take()] + [(a, d, b.node_id) for d in b.take()]
        if not moved:
            return
        for to, datagram, sender in moved:
            if not lose(datagram):
                to.hear(datagram, sender)


def acquainted() -> tuple[Node, Node]:
    """B has given A a key, and they know each other's sessions."""
    a, b = Node(A), Node(B)
    a.endpoint.send(Outgoing(ChunkQuery(row=7, chid=b"h" * 32), B, NO_OPERATION, 0), 0)
    exchange(a, b)
    assert len(b.got) == 1
    b.got.clear()
    b.endpoint.set_heard_key(A, KEY)
    a.endpoint.set_spoken_key(B, b.endpoint.session, KEY)
    return a, b


def forged(
    of: Node, message: Message, key: bytes, flags: int = PAIR, epoch: int = PAIR_EPOCH
) -> bytes:
    """To B, under any key."""
    body, session = encode(message), of.endpoint.session
    head = pack_header(
        message.TYPE, flags, epoch, 0, NO_OPERATION, of.node_id, session, 1000, 0, 1, len(body)
    )
    return head + mac_of(key, head, node_tag(B), body) + body


@pytest.mark.parametrize("message", [append(), RowStatus(items=())])
def test_pair__heard_by_whom_it_is_for(message: Message) -> None:
    a, b = acquainted()
    (datagram,) = a.say(B, message)
    header = parse_header(datagram)
    assert (header.flags, header.key_epoch) == (PAIR, PAIR_EPOCH)
    b.hear(datagram)
    assert [(i.message, i.sender) for i in b.got] == [(message, A)]
    b.hear(datagram)
    assert len(b.got) == 1 and b.dropped("replay") == 1


def test_pair__nothing_is_said_without_a_key() -> None:
    a, _ = acquainted()
    assert a.say(C, append()) == []
    assert a.dropped("no_pair_key") == 1


def test_pair__is_not_said_to_a_group() -> None:
    a, _ = acquainted()
    with pytest.raises(ValueError, match="does not travel"):
        a.endpoint.send(Outgoing(append(), Group("negotiating", 3), NO_OPERATION, 0), 0)


def test_pair__a_holder_of_the_cluster_key_cannot_say_it() -> None:
    """Neither as a pair nor as one of the messages that everybody may say."""
    a, b = acquainted()
    for flags, epoch, reason in (
        (0, 1, "unknown_type"),
        (PAIR, PAIR_EPOCH, "mac"),
        (PAIR, 1, "key_epoch"),
    ):
        b.hear(forged(a, append(), KEYS.mac_keys[1], flags, epoch))
        assert (b.dropped(reason), b.got) == (1, [])


def test_pair__another_nodes_key_is_of_no_use() -> None:
    a, b = acquainted()
    b.endpoint.set_heard_key(C, OTHER_KEY)
    b.hear(forged(a, append(), OTHER_KEY), C)
    assert (b.dropped("mac"), b.got) == (1, [])
    (for_b,) = a.say(B, append())
    c = Node(C)
    c.endpoint.set_heard_key(A, KEY)  # even with the same key it is not for C
    c.hear(for_b)
    assert (c.dropped("mac"), c.got) == (1, [])


def test_pair__its_key_is_for_row_messages_alone() -> None:
    a, b = acquainted()
    b.hear(forged(a, ChunkQuery(row=7, chid=b"h" * 32), KEY))
    assert (b.dropped("unknown_type"), b.got) == (1, [])
    assert ChunkQuery.TYPE not in PAIR_TYPES


def test_pair__cut_short_or_of_strangers() -> None:
    a, b = acquainted()
    (datagram,) = a.say(B, append())
    stranger = bytearray(datagram)
    stranger[32:40] = (77).to_bytes(8, "little")
    b.hear(bytes(stranger))
    for length in (0, 7, 40, MACED_BYTES):
        b.hear(datagram[:length])
    assert (b.dropped("key_epoch"), b.dropped("short"), b.got) == (1, 4, [])


def test_pair__forgotten_both_ways() -> None:
    a, b = acquainted()
    (datagram,) = a.say(B, append())
    b.endpoint.forget_pairs({C})
    a.endpoint.forget_pairs({C})
    b.hear(datagram)
    assert (b.dropped("key_epoch"), b.got) == (1, [])
    assert a.say(B, append()) == []


def test_pair__a_new_key_takes_the_place_of_the_old_one() -> None:
    a, b = acquainted()
    (before,) = a.say(B, append())
    b.endpoint.set_heard_key(A, OTHER_KEY)
    b.hear(before)
    a.endpoint.set_spoken_key(B, b.endpoint.session, OTHER_KEY)
    b.hear(*a.say(B, append()))
    assert (b.dropped("mac"), len(b.got)) == (1, 1)


def test_pair__after_a_restart_it_is_said_again_in_the_new_session() -> None:
    """The challenge names what was dropped, which goes again as a pair."""
    _, b = acquainted()
    again = Node(A, boot=2)
    again.endpoint.set_spoken_key(B, b.endpoint.session, KEY)
    again.endpoint.send(Outgoing(append(), B, NO_OPERATION, 0), 0)
    exchange(again, b)
    assert [i.message for i in b.got] == [append()]
    assert again.counters.get("sessions", "resent") == 1


def test_pair__a_key_ends_with_the_session_of_who_gave_it() -> None:
    a, _ = acquainted()
    again = Node(B, boot=2)
    again.endpoint.send(Outgoing(ChunkQuery(row=7, chid=b"h" * 32), A, NO_OPERATION, 0), 0)
    exchange(a, again)
    assert not a.endpoint.speaks_to(B)
    assert a.say(B, append()) == []


def test_pair__a_key_that_came_before_its_session_is_kept() -> None:
    a, _ = acquainted()
    again = Node(B, boot=2)
    a.endpoint.set_spoken_key(B, again.endpoint.session, OTHER_KEY)
    again.endpoint.set_heard_key(A, OTHER_KEY)
    again.endpoint.send(Outgoing(ChunkQuery(row=7, chid=b"h" * 32), A, NO_OPERATION, 0), 0)
    exchange(a, again)
    assert a.endpoint.speaks_to(B)
    a.endpoint.send(Outgoing(append(), B, NO_OPERATION, 0), 0)
    exchange(a, again)
    assert [i.message for i in again.got] == [append()]


def test_pair__lost_fragments_are_asked_for() -> None:
    a, b = acquainted()
    message = append(random.Random(1).randbytes(20_000))
    pieces = a.say(B, message)
    assert len(pieces) > 10
    for piece in pieces[:3] + pieces[5:]:
        b.hear(piece)
    assert b.got == []
    due_ns = b.endpoint.deadline_ns()
    assert due_ns is not None
    b.endpoint.expire(due_ns)
    exchange(b, a)
    assert [i.message for i in b.got] == [message]
    assert a.counters.get("fragments_resent") == 2
