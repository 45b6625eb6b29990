"""Fragments under hard conditions: too little room, many others sent since, a slow link."""

from __future__ import annotations

import pytest

from replicast.auth.endpoint import EndpointLimits
from replicast.auth.window import WINDOW
from replicast.units import SECOND
from replicast.wire.fragment import FragmentLimits
from tests.unit.test_endpoint import B, acquainted, quiet, result


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
