"""Replay windows against the obvious model; sessions stay within their bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.auth import window_pure
from replicast.auth.session import Sessions, make_session
from replicast.auth.window import WINDOW, ReplayWindow
from replicast.machine import Address

HERE: Address = ("10.0.0.1", 1)
U64_MAX = (1 << 64) - 1
steps = st.one_of(
    st.integers(-WINDOW - 2, WINDOW + 2), st.integers(-3, 3), st.integers(-U64_MAX, U64_MAX)
)


@given(st.integers(0, 5000), st.lists(st.integers(0, 10_000), max_size=200))
def test_replay_window__each_new_counter_once(floor: int, counters: list[int]) -> None:
    twins = ReplayWindow(floor), window_pure.ReplayWindow(floor)
    seen: set[int] = set()
    highest = floor
    for counter in counters:
        fresh = counter > floor and counter > highest - WINDOW and counter not in seen
        assert [window.accept(counter) for window in twins] == [fresh, fresh]
        if fresh:
            seen.add(counter)
            highest = max(highest, counter)


@given(st.integers(0, U64_MAX), st.lists(steps, max_size=200))
def test_replay_window__twins_agree_about_any_counters(floor: int, moves: list[int]) -> None:
    twins = ReplayWindow(floor), window_pure.ReplayWindow(floor)
    counter = floor
    for move in moves:
        counter = max(0, min(U64_MAX, counter + move))
        native, pure = (window.accept(counter) for window in twins)
        assert native == pure


def test_replay_window__a_jump_to_the_end_and_back() -> None:
    window = ReplayWindow(0)
    assert window.accept((1 << 64) - 1)
    assert not window.accept((1 << 64) - 1)
    assert not window.accept(1)


def test_make_session__boot_numbers_order_sessions() -> None:
    assert make_session(2, 0) > make_session(1, 0xFFFFFFFF)
    with pytest.raises(ValueError, match="boot number"):
        make_session(1 << 32, 0)


def test_sessions__an_answer_counts_once_and_for_its_session_only() -> None:
    sessions = Sessions(random.Random(1), 10, 10)
    nonce = sessions.ask(5, 100, 0)
    assert sessions.ask(5, 100, 1) == nonce
    assert not sessions.confirm(5, 101, nonce, 1, HERE)
    assert not sessions.confirm(6, 100, nonce, 1, HERE)
    assert not sessions.confirm(5, 100, nonce ^ 2, 1, HERE)
    assert sessions.confirm(5, 100, nonce, 1, HERE)
    assert not sessions.confirm(5, 100, nonce, 1, HERE)


def test_sessions__an_answer_that_comes_after_a_newer_session_is_late() -> None:
    sessions = Sessions(random.Random(1), 10, 10)
    old, new = make_session(1, 1), make_session(2, 1)
    nonces = {session: sessions.ask(5, session, 0) for session in (old, new)}
    assert sessions.confirm(5, new, nonces[new], 1, HERE)
    assert sessions.retired(5, old)
    assert not sessions.confirm(5, old, nonces[old], 1, HERE)
    peer = sessions.peer(5)
    assert peer is not None and peer.session == new


def test_sessions__bounded() -> None:
    sessions = Sessions(random.Random(1), 3, 4)
    for node_id in range(10):
        nonce = sessions.ask(node_id, 1, 0)
        assert sessions.confirm(node_id, 1, nonce, 0, HERE)
    assert [n for n in range(10) if sessions.peer(n)] == [7, 8, 9]
    assert set(sessions.addresses) == {7, 8, 9}
    first = sessions.ask(20, 1, 0)
    for node_id in range(21, 26):
        sessions.ask(node_id, 1, 0)
    assert not sessions.confirm(20, 1, first, 0, HERE)
