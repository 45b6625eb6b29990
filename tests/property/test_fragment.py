"""Fragments in any order give the message back; what is held stays within its limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.machine import Address
from replicast.wire.codec import WireError
from replicast.wire.fragment import (
    Assembler,
    FragmentLimits,
    Key,
    Meta,
    fragment_count,
    missing_runs,
    piece_of,
)

OPERATION = b"o" * 16
HERE: Address = ("10.0.0.1", 1)


def meta(count: int) -> Meta:
    return (40, OPERATION, 5, count)


@given(
    st.binary(max_size=300),
    st.integers(1, 50),
    st.sampled_from([b"", b"head"]),
    st.randoms(use_true_random=False),
)
def test_pieces_and_add__any_order(
    body: bytes, room_bytes: int, head: bytes, rng: random.Random
) -> None:
    count = fragment_count(len(body), room_bytes)
    pieces = [piece_of(body, room_bytes, index) for index in range(count)]
    assert b"".join(pieces) == body and all(len(p) == room_bytes for p in pieces[:-1])
    assert pieces[-1] or not body
    assembler = Assembler(FragmentLimits(), len(head))
    order = [(index, head + piece) for index, piece in enumerate(pieces)]
    rng.shuffle(order)
    key, what = (1, 1, 1), meta(len(pieces))
    outcomes = []
    for index, datagram in order:
        held_bytes = assembler.held_bytes
        outcomes.append(assembler.add(key, index, what, datagram, HERE, 0))
        if outcomes[-1] is None:
            assert assembler.held_bytes == held_bytes + len(datagram) - len(head)
    assert outcomes[-1] == [head + piece for piece in pieces] and not any(outcomes[:-1])
    assert (len(assembler), assembler.held_bytes) == (0, 0)


@settings(max_examples=50)
@given(st.integers(0, 1 << 30))
def test_add__never_holds_more_than_its_limits(seed: int) -> None:
    rng = random.Random(seed)
    limits = FragmentLimits(
        message_bytes_max=400, messages_max=8, messages_per_sender_max=3, total_bytes_max=1500
    )
    assembler = Assembler(limits)
    now_ns = 0
    for _ in range(300):
        now_ns += rng.randrange(20_000_000)
        sender, counter, count = rng.randrange(5), rng.randrange(5), rng.randrange(2, 6)
        key: Key = (sender, 1, counter)
        try:
            assembler.add(key, rng.randrange(count), meta(count), rng.randbytes(100), HERE, now_ns)
        except WireError as error:
            assert error.reason in ("fragment", "fragment_limit")
        if rng.random() < 0.1:
            assembler.expire(now_ns)
            assembler.take_gaps(now_ns, 4)
        assert len(assembler) <= 8 and assembler.held_bytes <= 1500
    assembler.expire(now_ns + limits.age_max_ns)
    assert (len(assembler), assembler.held_bytes, assembler.deadline_ns()) == (0, 0, None)


def test_add__a_fragment_that_disagrees_is_refused() -> None:
    assembler = Assembler(FragmentLimits())
    assembler.add((1, 1, 1), 0, meta(3), b"a", HERE, 0)
    for wrong in (meta(4), (41, OPERATION, 5, 3), (40, b"p" * 16, 5, 3), (40, OPERATION, 6, 3)):
        with pytest.raises(WireError, match="fragment"):
            assembler.add((1, 1, 1), 1, wrong, b"b", HERE, 0)
    with pytest.raises(WireError, match="fragment"):
        assembler.add((1, 1, 1), 0, meta(3), b"a", HERE, 0)


@given(st.sets(st.integers(0, 40)), st.integers(1, 50), st.integers(1, 5))
def test_missing_runs__against_the_obvious(present: set[int], count: int, runs_max: int) -> None:
    present = {index for index in present if index < count}
    runs = missing_runs(present, count, 100)
    covered = [index for start, end in runs for index in range(start, end)]
    assert covered == [index for index in range(count) if index not in present]
    assert missing_runs(present, count, runs_max) == runs[:runs_max]


def test_take_gaps__asks_with_growing_patience_and_then_gives_up() -> None:
    limits = FragmentLimits(gap_wait_ns=10, gap_asks_max=3, age_max_ns=1000)
    assembler = Assembler(limits)
    assembler.add((1, 1, 7), 1, meta(4), b"b", HERE, 0)
    times = []
    while len(assembler):
        now_ns = assembler.deadline_ns()
        assert now_ns is not None
        assembler.expire(now_ns)
        for gaps in assembler.take_gaps(now_ns, 5):
            assert (gaps.key, gaps.runs) == ((1, 1, 7), ((0, 1), (2, 4)))
            times.append(now_ns)
    assert times == [10, 30, 70]
