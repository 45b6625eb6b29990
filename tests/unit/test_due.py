"""target/names/due.py: whose turn it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from replicast.target.names.due import NEVER_NS, Due

DUE = {5: 10, 2: 30, 9: 20, 7: 15, 1: 12}


def made() -> Due:
    due = Due()
    for row, due_ns in DUE.items():
        due.set(row, due_ns)
    return due


def take(
    most: int,
    now_ns: int = 20,
    busy: tuple[int, ...] = (),
    parked: int = -1,
    due: Due | None = None,
) -> list[int]:
    leaders = {
        row: SimpleNamespace(undecided=SimpleNamespace(entries={1: 1} if row in busy else {}))
        for row in DUE
    }
    parking = SimpleNamespace(waits=lambda row: row == parked)
    return (due or made()).take(now_ns, cast(Any, leaders), cast(Any, parking), most)


def test_due__all_that_are_due_in_order() -> None:
    assert take(4) == [5, 9, 7, 1]
    assert take(4, now_ns=9) == []


def test_due__those_first_that_somebody_waits_for() -> None:
    assert take(2) == [5, 9]
    assert take(2, busy=(1,)) == [1, 5]
    assert take(2, busy=(1,), parked=7) == [7, 1]
    assert take(1, busy=(1, 9)) == [9]


def test_due__what_was_not_taken_stays_due() -> None:
    due = made()
    assert take(3, due=due) == [5, 9, 7] and due.rows == {2: 30, 1: 12} and due.first_ns == 12
    assert take(3, due=due) == [1] and due.first_ns == 30
    assert take(3, now_ns=30, due=due) == [2] and not due.rows and due.first_ns == NEVER_NS


def test_due__no_row_is_due_before_the_first() -> None:
    due = made()
    assert due.first_ns == 10
    due.set(5, 40)
    due.drop(1)
    assert due.first_ns == 10  # too early does no harm: it is put right by the next look
    assert take(9, now_ns=10, due=due) == [] and due.first_ns == 15
    due.set(3, 11)
    assert due.first_ns == 11
