"""Messages in fragments between endpoints: any order, losses, bounds; too little room, many others, a slow link."""

from __future__ import annotations

import random

import pytest

from replicast.auth.endpoint import EndpointLimits
from replicast.auth.window import WINDOW
from replicast.machine import Outgoing
from replicast.units import SECOND
from replicast.wire.fragment import FragmentLimits
from replicast.wire.header import parse_header
from replicast.wire.session_messages import FragmentGaps, IndexRun
from tests.unit.test_endpoint import OPERATION, QUERY, A, B, C, Node, acquainted, result, run


def test_fragments__any_order() -> None:
    a, b = acquainted()
    message = result(20_000)
    datagrams = a.send(B, message)
    assert len(datagrams) == 15 and max(map(len, datagrams)) == 1472
    random.Random(1).shuffle(datagrams)
    *rest, last = datagrams
    assert all(b.hear(d) is None for d in rest)
    incoming = b.hear(last)
    assert incoming is not None and incoming.message == message
    assert b.endpoint.deadline_ns() is None


def test_fragments__first_contact_sends_the_whole_message_again_once() -> None:
    a, b = Node(A), Node(B)
    message = result(20_000)
    a.endpoint.send(Outgoing(message, B, OPERATION, 5), 0)
    run([a, b])
    assert [i.message for i in b.got] == [message]
    assert a.counters.get("sessions", "resent") == 1


def quiet(a: Node, b: Node) -> int:
    """Fire b's timers until it waits for nothing; returns the number of rounds."""
    for rounds in range(100):
        deadline_ns = b.endpoint.deadline_ns()
        if deadline_ns is None:
            return rounds
        b.endpoint.expire(deadline_ns)
        run([a, b])
    raise AssertionError("timers for ever")


def test_fragments__lost_ones_are_asked_for() -> None:
    a, b = acquainted()
    message = result(300_000)
    rng = random.Random(7)
    sent = a.send(B, message)
    for datagram in sent:
        if rng.random() < 0.7:
            b.hear(datagram)
    assert quiet(a, b) <= 3
    assert [i.message for i in b.got] == [message]
    resent = a.counters.get("fragments_resent")
    assert 0.2 * len(sent) < resent < 0.4 * len(sent)
    assert b.dropped("replay") == 0


def test_fragments__gaps_that_are_lost_are_asked_for_again() -> None:
    a, b = acquainted()
    message = result(20_000)
    for datagram in a.send(B, message)[1:]:
        b.hear(datagram)
    deadline_ns = b.endpoint.deadline_ns()
    assert deadline_ns is not None
    b.endpoint.expire(deadline_ns)
    assert len(b.take()) == 1  # the question is lost
    quiet(a, b)
    assert [i.message for i in b.got] == [message]


def test_fragments__the_first_one_lost_of_many_messages() -> None:
    a, b = acquainted()
    messages = [result(3000 + i) for i in range(20)]
    for message in messages:
        for datagram in a.send(B, message)[1:]:
            b.hear(datagram)
    quiet(a, b)
    assert [i.message for i in b.got] == messages


def test_fragments__a_silent_sender_costs_nothing_for_ever() -> None:
    a, b = acquainted()
    for datagram in a.send(B, result(20_000))[1:]:
        assert b.hear(datagram, now_ns=10) is None
    asked = 0
    while (deadline_ns := b.endpoint.deadline_ns()) is not None:
        b.endpoint.expire(deadline_ns)
        asked += len(b.take())
    assert (asked, b.dropped("fragment_age")) == (5, 1)


def test_fragment_gaps__for_a_message_to_somebody_else_get_nothing() -> None:
    a, b = acquainted()
    c = Node(C)
    c.endpoint.send(Outgoing(QUERY, A, OPERATION, 5), 0)
    run([a, b, c])
    counter = parse_header(a.send(B, result(20_000))[0]).counter
    runs = (IndexRun(start=0, end=0xFFFF),)
    gaps = FragmentGaps(session=a.endpoint.session, counter=counter, runs=runs)
    a.hear(c.send(A, gaps)[0], C)
    assert (a.take(), a.dropped("fragment_gone")) == ([], 1)


def test_fragments__are_bounded_in_count_and_bytes() -> None:
    limits = EndpointLimits(
        fragments=FragmentLimits(messages_per_sender_max=2, total_bytes_max=20_000)
    )
    a, b = acquainted(limits=limits)
    for _ in range(3):
        b.hear(a.send(B, result(3000))[0])
    assert b.dropped("fragment_limit") == 1
    for datagram in a.send(B, result(3000)):
        assert b.hear(datagram) is None
    assert b.dropped("fragment_limit") == 4


def test_fragments__refused_for_want_of_room_are_asked_for_when_there_is_room() -> None:
    limits = EndpointLimits(fragments=FragmentLimits(messages_per_sender_max=1))
    a, b = acquainted(limits=limits)
    messages = [result(5000), result(6000)]
    first, second = (a.send(B, message) for message in messages)
    b.hear(first[1])
    b.hear(second[0])  # its counter is used up
    for datagram in (first[0], *first[2:], *second[1:]):
        b.hear(datagram)
    assert b.dropped("fragment_limit") == 1
    quiet(a, b)
    assert [i.message for i in b.got] == messages
    assert b.dropped("fragment_age") == 0


def test_fragments__lost_before_more_than_a_window_of_others() -> None:
    a, b = acquainted(datagram_bytes_max=512)
    messages = [result(300_000 + i) for i in range(8)]
    first, *others = (a.send(B, message) for message in messages)
    for datagrams in (first[1:], *others):
        for datagram in datagrams:
            b.hear(datagram)
    assert sum(map(len, others)) > WINDOW
    quiet(a, b)
    assert [i.message for i in b.got] == [*messages[1:], messages[0]]


def test_fragments__lost_ones_are_there_after_many_small_messages() -> None:
    a, b = acquainted()
    message = result(20_000)
    datagrams = a.send(B, message)
    for datagram in (*datagrams[1:], *(d for _ in range(1000) for d in a.send(B))):
        b.hear(datagram)
    quiet(a, b)
    assert b.got[-1].message == message


@pytest.mark.parametrize("datagram_bytes_max", [512, 1472])
def test_fragments__replayed_make_no_second_message(datagram_bytes_max: int) -> None:
    """Before the last one came they are there already, and then nothing is under way."""
    a, b = acquainted(datagram_bytes_max=datagram_bytes_max)
    datagrams = a.send(B, result(20_000))
    for datagram in (*datagrams[:-1], *datagrams[:-1], datagrams[-1]):
        b.hear(datagram)
    assert len(b.got) == 1
    for datagram in datagrams:
        b.hear(datagram)
    assert len(b.got) == 1 and b.endpoint.deadline_ns() is None
    assert b.dropped("replay") == 2 * len(datagrams) - 1


def test_fragments__that_take_long_make_a_message_as_long_as_they_come() -> None:
    a, b = acquainted()
    message = result(250_000)
    datagrams = a.send(B, message)
    step_ns = 5 * SECOND // len(datagrams)
    for number, datagram in enumerate(datagrams):
        b.endpoint.expire(number * step_ns)
        b.hear(datagram, now_ns=number * step_ns)
    assert [i.message for i in b.got] == [message]


def test_fragments__that_come_for_ever_are_forgotten_in_the_end() -> None:
    a, b = acquainted()
    for number, datagram in enumerate(a.send(B, result(250_000))):
        b.endpoint.expire(number * SECOND)
        b.hear(datagram, now_ns=number * SECOND)
    assert b.got == [] and b.dropped("fragment_age") > 0
