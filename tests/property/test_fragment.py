"""Fragments in any order give the message back; what is held stays within its limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.wire.codec import WireError
from replicast.wire.fragment import Assembler, FragmentLimits, Key, Meta, split

OPERATION = b"o" * 16


def meta(count: int) -> Meta:
    return (40, OPERATION, 5, count)


@settings(deadline=None, database=None)
@given(st.binary(max_size=300), st.integers(1, 50), st.randoms(use_true_random=False))
def test_split_and_add__any_order(body: bytes, room_bytes: int, rng: random.Random) -> None:
    pieces = split(body, room_bytes)
    assert b"".join(pieces) == body and all(len(p) <= room_bytes for p in pieces)
    assembler = Assembler(FragmentLimits())
    order = list(enumerate(pieces))
    rng.shuffle(order)
    key, what = (1, 1, 1), meta(len(pieces))
    outcomes = [assembler.add(key, index, what, piece, 0) for index, piece in order]
    assert outcomes[-1] == body and not any(outcomes[:-1])
    assert (len(assembler), assembler.held_bytes) == (0, 0)


@settings(deadline=None, database=None, max_examples=50)
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
            assembler.add(key, rng.randrange(count), meta(count), rng.randbytes(100), now_ns)
        except WireError as error:
            assert error.reason in ("fragment", "fragment_limit")
        if rng.random() < 0.1:
            assembler.expire(now_ns)
        assert len(assembler) <= 8 and assembler.held_bytes <= 1500
    assembler.expire(now_ns + limits.age_max_ns)
    assert (len(assembler), assembler.held_bytes, assembler.deadline_ns()) == (0, 0, None)


def test_add__a_fragment_that_disagrees_is_refused() -> None:
    assembler = Assembler(FragmentLimits())
    assembler.add((1, 1, 1), 0, meta(3), b"a", 0)
    for wrong in (meta(4), (41, OPERATION, 5, 3), (40, b"p" * 16, 5, 3), (40, OPERATION, 6, 3)):
        with pytest.raises(WireError, match="fragment"):
            assembler.add((1, 1, 1), 1, wrong, b"b", 0)
    with pytest.raises(WireError, match="fragment"):
        assembler.add((1, 1, 1), 0, meta(3), b"a", 0)
