"""target/names/due.py: whose turn it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from replicast.target.names.due import first_due

DUE = {5: 10, 2: 30, 9: 20, 7: 15, 1: 12}


def take(most: int, now_ns: int = 20, busy: tuple[int, ...] = (), parked: int = -1) -> list[int]:
    leaders = {
        row: SimpleNamespace(undecided=SimpleNamespace(entries={1: 1} if row in busy else {}))
        for row in DUE
    }
    parking = SimpleNamespace(waits=lambda row: row == parked)
    return first_due(DUE, now_ns, cast(Any, leaders), cast(Any, parking), most)


def test_first_due__all_that_are_due_in_order() -> None:
    assert take(4) == [5, 9, 7, 1]
    assert take(4, now_ns=9) == []


def test_first_due__those_first_that_somebody_waits_for() -> None:
    assert take(2) == [5, 9]
    assert take(2, busy=(1,)) == [1, 5]
    assert take(2, busy=(1,), parked=7) == [7, 1]
    assert take(1, busy=(1, 9)) == [9]
