"""Endpoints wired to each other by hand: every datagram is seen, dropped, kept or sent again."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from replicast.auth.endpoint import COPIED_GROUP, Endpoint, EndpointLimits
from replicast.auth.gate_pure import PAIR_TYPES
from replicast.auth.keyring import KeyRing, node_tag
from replicast.auth.session import make_session
from replicast.machine import Address, Group, Incoming, Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import ChunkQuery, PayloadDone
from replicast.wire.codec import WireError
from replicast.wire.fragment import FragmentLimits
from replicast.wire.header import HEADER_BYTES, pack_header
from replicast.wire.messages import MESSAGES
from replicast.wire.name_messages import NO_VERSION, NameResult, VersionSummary

CLUSTER = b"c" * 16
KEYS = KeyRing(CLUSTER, 1, {1: b"k" * 32})
GROUP = Group("negotiating", 3)
OPERATION = b"o" * 16
QUERY = ChunkQuery(row=7, chid=b"h" * 32)
A, B, C = 1, 2, 3


def address(node_id: int) -> Address:
    return ("10.0.0.1", 1000 + node_id)


class Node:
    """An endpoint with its counters."""

    def __init__(
        self,
        node_id: int,
        boot: int = 1,
        keys: KeyRing = KEYS,
        datagram_bytes_max: int = 1472,
        limits: EndpointLimits | None = None,
    ) -> None:
        self.node_id, self.counters = node_id, Counters()
        self.endpoint = Endpoint(
            node_id,
            make_session(boot, 100 + boot),
            keys,
            random.Random(node_id * 1000 + boot),
            self.counters,
            datagram_bytes_max,
            limits,
        )
        self.endpoint.set_addresses({n: address(n) for n in (A, B, C)})
        self.got: list[Incoming] = []

    def send(self, to: int | Group, message: object = QUERY, now_ns: int = 0) -> list[bytes]:
        self.endpoint.send(Outgoing(message, to, OPERATION, 5), now_ns)  # type: ignore[arg-type]
        return self.take()

    def take(self) -> list[bytes]:
        return [d.payload for d in self.endpoint.take_datagrams()]

    def hear(
        self, datagram: bytes, sender: int = A, group: Group | None = None, now_ns: int = 0
    ) -> Incoming | None:
        incoming = self.endpoint.receive(datagram, address(sender), group, now_ns)
        if incoming is not None:
            self.got.append(incoming)
        return incoming

    def dropped(self, reason: str) -> float:
        return self.counters.get("datagrams_dropped", reason)


def run(nodes: list[Node], lose: Callable[[int, bytes], bool] = lambda to, d: False) -> int:
    """Deliver unicast datagrams until all is quiet; returns how many travelled."""
    by_address = {address(n.node_id): n for n in nodes}
    travelled = 0
    for _ in range(50):
        moving = [(n, d) for n in nodes for d in n.endpoint.take_datagrams()]
        if not moving:
            return travelled
        for sender, datagram in moving:
            travelled += 1
            assert not isinstance(datagram.to, Group)
            receiver = by_address[datagram.to]
            if not lose(receiver.node_id, datagram.payload):
                receiver.hear(datagram.payload, sender.node_id)
    raise AssertionError("endpoints talk for ever")


def acquainted(**arguments: object) -> tuple[Node, Node]:
    """Two nodes that have confirmed each other."""
    a, b = Node(A, **arguments), Node(B, **arguments)  # type: ignore[arg-type]
    a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
    run([a, b])
    assert [i.message for i in b.got] == [QUERY]
    b.got.clear()
    return a, b


def test_first_contact__costs_one_round_trip() -> None:
    a, b = Node(A), Node(B)
    (first,) = a.send(B)
    assert b.hear(first) is None
    (challenge,) = b.take()
    assert len(challenge) == HEADER_BYTES <= len(first)
    assert a.hear(challenge, B) is None
    answer, again = a.take()
    assert b.hear(answer) is None
    incoming = b.hear(again)
    assert incoming == Incoming(QUERY, A, OPERATION, 5, address(A), None)
    assert b.dropped("unknown_session") == 1


def test_first_contact__makes_both_sides_known() -> None:
    a, b = acquainted()
    (reply,) = b.send(A, PayloadDone(transfer_id=OPERATION))
    assert a.hear(reply, B) is not None
    assert a.dropped("unknown_session") == 0


def test_first_contact__a_burst_arrives_whole() -> None:
    a, b = Node(A), Node(B)
    for row in range(20):
        a.endpoint.send(Outgoing(ChunkQuery(row=row, chid=b"h"), B, OPERATION, 5), 0)
    run([a, b])
    assert [i.message.row for i in b.got] == list(range(20))  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_first_contact__survives_one_lost_datagram(lost: int) -> None:
    """Challenge, answer or the copy is lost: the initiator's retry mends it."""
    a, b = Node(A), Node(B)
    seen = []

    def lose(to: int, datagram: bytes) -> bool:
        seen.append(datagram)
        return len(seen) == lost + 1

    for _ in range(2):
        a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
        run([a, b], lose)
    assert b.got


def test_replay__is_dropped() -> None:
    a, b = acquainted()
    (datagram,) = a.send(B)
    assert b.hear(datagram) is not None
    assert b.hear(datagram) is None
    assert b.dropped("replay") == 1


def test_replay__of_what_a_receiver_heard_before_its_restart() -> None:
    a, b = acquainted()
    (old,) = a.send(B)
    assert b.hear(old) is not None
    b = Node(B, boot=2)
    a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
    run([a, b])
    assert len(b.got) == 1
    assert b.hear(old) is None
    assert b.dropped("replay") == 1


def test_restart_of_the_receiver__nothing_is_lost() -> None:
    a, b = acquainted()
    b = Node(B, boot=2)
    a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
    run([a, b])
    assert len(b.got) == 1


def test_restart_of_the_sender__retires_its_old_session() -> None:
    a, b = acquainted()
    (old,) = a.send(B)
    a = Node(A, boot=2)
    a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
    run([a, b])
    assert len(b.got) == 1
    assert b.hear(old) is None
    assert b.dropped("old_session") == 1
    assert b.take() == []


def test_answer__of_an_old_session_cannot_be_replayed() -> None:
    a, b = Node(A), Node(B)
    (first,) = a.send(B)
    b.hear(first)
    (challenge,) = b.take()
    a.hear(challenge, B)
    answer, _ = a.take()
    b.hear(answer)
    b.hear(answer)
    assert b.dropped("unexpected_answer") == 1


def test_challenge__of_an_earlier_start_is_not_answered() -> None:
    a, b = Node(A), Node(B)
    b.hear(a.send(B)[0])
    (challenge,) = b.take()
    restarted = Node(A, boot=2)
    restarted.hear(challenge, B)
    assert restarted.take() == []
    assert restarted.dropped("challenge") == 1


def test_challenge__replayed_sends_nothing_twice() -> None:
    a, b = Node(A), Node(B)
    b.hear(a.send(B)[0])
    (challenge,) = b.take()
    a.hear(challenge, B)
    assert len(a.take()) == 2
    a.hear(challenge, B)
    (answer,) = a.take()
    assert len(answer) == len(challenge)


def test_reflection__to_the_sender_or_to_a_third_node() -> None:
    a, _ = acquainted()
    c = Node(C)
    (datagram,) = a.send(B)
    for node in (a, c):
        assert node.hear(datagram) is None
        assert node.dropped("mac") == 1
        assert node.take() == []


def test_group__reaches_members_of_that_group_only() -> None:
    a, b = acquainted()
    (datagram,) = a.send(GROUP)
    assert b.hear(datagram, group=Group("negotiating", 4)) is None
    assert b.hear(datagram, group=Group("rendezvous", 3)) is None
    assert b.hear(datagram) is None
    assert (b.dropped("mac"), b.dropped("receiver")) == (1, 2)
    incoming = b.hear(datagram, group=GROUP)
    assert incoming is not None and incoming.group == GROUP


def test_group__unknown_session_is_challenged_by_unicast_and_gets_a_copy() -> None:
    a, b, c = Node(A), Node(B), Node(C)
    (datagram,) = a.send(GROUP)
    for node in (b, c):
        assert node.hear(datagram, group=GROUP) is None
    run([a, b, c])
    for node in (b, c):
        (incoming,) = node.got
        assert incoming.group == Group("negotiating", COPIED_GROUP)


def test_group__overtaken_by_unicast_is_not_a_replay() -> None:
    a, b = acquainted()
    (to_group,) = a.send(GROUP)
    for _ in range(5000):
        (unicast,) = a.send(B)
    assert b.hear(unicast) is not None
    assert b.hear(to_group, group=GROUP) is not None


def test_send_many__each_node_gets_its_own() -> None:
    a, b, c = Node(A), Node(B), Node(C)
    a.endpoint.send_many(Outgoing(QUERY, GROUP, OPERATION, 5), [B, C], 0)
    run([a, b, c])
    assert [len(b.got), len(c.got)] == [1, 1]
    assert b.got[0].group is None


def test_wrong_key__no_reply() -> None:
    a, b = Node(A, keys=KeyRing(CLUSTER, 1, {1: b"x" * 32})), Node(B)
    assert b.hear(a.send(B)[0]) is None
    assert b.dropped("mac") == 1
    assert b.take() == []


def test_wrong_cluster__no_reply() -> None:
    a, b = Node(A, keys=KeyRing(b"d" * 16, 1, {1: b"k" * 32})), Node(B)
    assert b.hear(a.send(B)[0]) is None
    assert (b.dropped("mac"), b.take()) == (1, [])


def test_rotation__both_epochs_then_only_the_new_one() -> None:
    a, b = acquainted()
    (old,) = a.send(B)
    (older,) = a.send(B)
    rotated = KEYS.rotated(2, b"n" * 32)
    b.endpoint.set_keys(rotated)
    assert b.hear(old) is not None
    a.endpoint.set_keys(rotated)
    assert b.hear(a.send(B)[0]) is not None
    b.endpoint.set_keys(rotated.without_old())
    assert b.hear(older) is None
    assert b.dropped("key_epoch") == 1


def test_newer_version__is_refused_by_name() -> None:
    a, b = acquainted()
    (datagram,) = a.send(B)
    assert b.hear(datagram[:4] + b"\x02" + datagram[5:]) is None
    assert (b.dropped("bad_version"), b.take()) == (1, [])


def test_truncated_and_longer__are_dropped() -> None:
    a, b = acquainted()
    (datagram,) = a.send(B)
    for size in range(len(datagram)):
        assert b.hear(datagram[:size]) is None
    assert b.dropped("short") == HEADER_BYTES
    assert b.dropped("truncated") == len(datagram) - HEADER_BYTES
    assert b.hear(datagram + b"x") is None
    assert b.dropped("trailing") == 1
    assert b.take() == []


CURVE_TYPE = next(n for n in sorted(MESSAGES) if n > 59 and n not in PAIR_TYPES)


def test_control_plane_message__is_not_sent() -> None:
    a, _ = acquainted()
    with pytest.raises(ValueError, match="does not travel"):
        a.send(B, object.__new__(MESSAGES[CURVE_TYPE]))


@pytest.mark.parametrize("number", [9, CURVE_TYPE, 255])
def test_control_plane_or_unknown_message__is_dropped(number: int) -> None:
    """Even when it is signed with the cluster key."""
    a, b = acquainted()
    head = pack_header(number, 0, 1, 5, OPERATION, A, a.endpoint.session, 1000, 0, 1, 0)
    assert b.hear(head + KEYS.mac(1, head, node_tag(B), b"")) is None
    assert (b.dropped("unknown_type"), b.take()) == (1, [])


# -- fragments --------------------------------------------------------------------


def result(size: int) -> NameResult:
    summary = VersionSummary(
        version=NO_VERSION,
        replaces=NO_VERSION,
        kind=1,
        null=False,
        logical_size=size,
        etag="",
        operation_id=OPERATION,
        body_hash=b"h",
        short_chunks=0,
    )
    return NameResult(
        summary=summary, copies=2, holders=(), body=random.Random(size).randbytes(size)
    )


def test_send__oversize_raises() -> None:
    limits = EndpointLimits(fragments=FragmentLimits(message_bytes_max=10_000))
    a, _ = acquainted(limits=limits)
    with pytest.raises(WireError, match="oversize"):
        a.send(B, result(20_000))


def test_send__without_an_address_is_counted() -> None:
    a = Node(A)
    assert a.send(99) == []
    assert a.dropped("no_address") == 1


def test_address__is_learned_from_authenticated_datagrams() -> None:
    a, b = Node(A), Node(B)
    b.endpoint.set_addresses({})
    a.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
    run([a, b])
    assert b.endpoint.address_of(A) == address(A)


def test_challenges__are_bounded() -> None:
    b = Node(B, limits=EndpointLimits(challenges_max=4, peers_max=4))
    for node_id in range(10, 30):
        b.hear(Node(node_id).send(B)[0], node_id)
    assert len(b.take()) == 20
    deadline_ns = b.endpoint.deadline_ns()
    assert deadline_ns is not None
    b.endpoint.expire(deadline_ns)
    assert b.endpoint.deadline_ns() is None


def test_peers__a_forgotten_one_is_challenged_again() -> None:
    b = Node(B, limits=EndpointLimits(peers_max=1))
    a, c = Node(A), Node(C)
    for node in (a, c, a):
        node.endpoint.send(Outgoing(QUERY, B, OPERATION, 5), 0)
        run([a, b, c])
    assert len(b.got) == 3
