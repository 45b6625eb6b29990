"""gateway/put_turns.py: how many bytes of large chunks are put at a time."""

from __future__ import annotations

from replicast.gateway.put_turns import LEAST_BYTES, MOST_BYTES, START_BYTES, PutTurns
from replicast.units import MIB


def fill(turns: PutTurns, now_ns: int = 0, size_bytes: int = MIB) -> list[bytes]:
    """Begin as many as there is room for, and leave one waiting; all of them, that one last."""
    found = []
    while True:
        found.append(len(found).to_bytes(4, "big") + now_ns.to_bytes(8, "big"))
        if not turns.take(found[-1], size_bytes, now_ns):
            return found


def test_take__as_many_as_the_window_has_room_for_then_first_come_first_served() -> None:
    turns = PutTurns()
    *begun, first = fill(turns)
    assert len(begun) * MIB == turns.under_way_bytes == START_BYTES
    assert not turns.take(b"next", MIB, 0)
    turns.end(begun[0], True, 5)  # less room than before
    turns.end(begun[1], True, 5)
    assert turns.take_ready(5) == []
    assert not turns.take(b"small", 1, 5)
    for operation in begun[2:22]:
        turns.end(operation, True, 5)
    assert turns.take_ready(6) == [first, b"next", b"small"]


def test_one_larger_than_the_window__goes_alone() -> None:
    turns = PutTurns()
    turns.window_bytes = LEAST_BYTES
    assert turns.take(b"large", 16 * MIB, 0)
    assert not turns.take(b"next", 16 * MIB, 0) and turns.take_ready(0) == []
    turns.end(b"large", False, 1)
    assert turns.take_ready(1) == [b"next"]


def test_busy__cuts_once_for_all_that_were_under_way() -> None:
    turns = PutTurns()
    for operation in fill(turns):
        turns.end(operation, True, 10)
    assert turns.window_bytes == START_BYTES * 7 // 10
    later = fill(turns, 20)
    turns.end(later[0], True, 30)
    assert turns.window_bytes == START_BYTES * 7 // 10 * 7 // 10


def test_busy__never_below_the_least() -> None:
    turns = PutTurns()
    for now_ns in range(1, 200, 2):
        turns.take(b"one", MIB, now_ns)
        turns.end(b"one", True, now_ns + 1)
    assert turns.window_bytes == LEAST_BYTES


def test_growth__one_chunk_a_window_and_only_while_somebody_waits() -> None:
    turns = PutTurns()
    turns.take(b"alone", MIB, 0)
    turns.end(b"alone", False, 1)
    assert turns.window_bytes == START_BYTES
    *begun, _ = fill(turns, 2)
    for operation in begun:
        turns.end(operation, False, 3)
    assert START_BYTES + MIB * 9 // 10 < turns.window_bytes <= START_BYTES + MIB


def test_growth__has_an_end() -> None:
    turns = PutTurns()
    turns.window_bytes = MOST_BYTES
    turns.take(b"a", MOST_BYTES, 0)
    turns.take(b"b", MIB, 0)
    turns.end(b"a", False, 1)
    assert turns.window_bytes == MOST_BYTES


def test_end__of_one_that_waits_or_is_not_known() -> None:
    turns = PutTurns()
    *begun, waiting = fill(turns)
    turns.end(waiting, False, 1)
    turns.end(b"unknown", True, 1)
    assert turns.window_bytes == START_BYTES
    turns.end(begun[0], False, 2)
    assert turns.take_ready(2) == []
