"""replicast/sim/replicas.py: what the replicas in a row's set have of its log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.sim.checkers import OK, UNKNOWN
from replicast.sim.replicas import Replicas
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.store import EntryRecord

ROW = 1


class Rows(SimpleNamespace):
    """A table with one set for row 1."""

    def name_replicas(self, row: int) -> tuple[int, ...]:
        return self.replicas if row == ROW else ()


def table(generation: int, *replicas: int) -> Any:
    return Rows(generation=generation, replicas=replicas, policy=SimpleNamespace(row_count=2))


def target(vdev: int, entries: int, committed: int, *counted: int) -> Any:
    """One that leads the row for `counted`, when there are any."""
    store = MemoryRowStore()
    store.append([EntryRecord(ROW, 5, index, b"") for index in range(1, entries + 1)])
    store.sync()
    replica = SimpleNamespace(committed_index=committed)
    lead = SimpleNamespace(vdev_index=vdev, replica=replica)
    names = SimpleNamespace(
        _stores={vdev: store},
        _replicas={(ROW, vdev): replica},
        _leaders={ROW: lead} if counted else {},
        context=SimpleNamespace(name_replicas=lambda row: counted),
    )
    daemon = SimpleNamespace(_service=SimpleNamespace(names=names))
    return SimpleNamespace(daemon=daemon, member=SimpleNamespace(name=f"t{vdev}", host=f"h{vdev}"))


def joined(*targets: Any, damaged: str = "") -> Replicas:
    cluster: Any = SimpleNamespace(
        targets=targets, damage=SimpleNamespace(hit=lambda host: host == damaged)
    )
    made = Replicas(cluster)
    assert made.joined(table(7, 1)) is None
    return made


@pytest.mark.parametrize(("entries", "good"), [(9, True), (8, True), (7, False)])
def test_who_joins__has_what_another_knows_to_be_committed(entries: int, good: bool) -> None:
    checker = joined(target(1, 9, committed=8), target(2, entries, committed=3))
    found = checker.joined(table(8, 1, 2))
    assert (found is None) == good
    assert good or "VDEV 2 joins row 1 with entries up to 7" in str(found)


def test_only_additions_are_looked_at__and_each_generation_once() -> None:
    checker = joined(target(1, 9, committed=9), target(2, 1, committed=1))
    assert checker.joined(table(6, 1, 2)) is None, "older than what was seen"
    assert checker.joined(table(8, 1)) is None
    assert checker.joined(table(9, 1, 2)) is not None
    assert checker.joined(table(10, 1, 2)) is None


def test_what_cannot_be_judged__damaged_disks_and_a_set_that_begins_anew() -> None:
    targets = target(1, 9, committed=9), target(2, 1, committed=1)
    assert joined(*targets, damaged="h2").joined(table(8, 1, 2)) is None
    anew = joined(*targets)
    assert anew.joined(table(8)) is None and anew.joined(table(9, 2)) is None
    stopped = joined(targets[0], SimpleNamespace(daemon=None))
    assert stopped.joined(table(8, 1, 2)) is None


@pytest.mark.parametrize(("entries", "good"), [(9, True), (8, True), (7, False)])
def test_a_write_is_answered__all_that_are_counted_have_it(entries: int, good: bool) -> None:
    targets = target(1, 9, 8, 1, 2), target(2, entries, 3), target(3, 1, 1)
    checker = joined(*targets)
    assert checker.verdict()[0] == UNKNOWN
    found = checker.acknowledged("t1", ROW)
    assert (found is None) == good
    assert good or ("entry 8 of row 1" in str(found) and "VDEV 2 " in str(found))
    assert checker.verdict()[0] == OK
    assert joined(*targets, damaged="h2").acknowledged("t1", ROW) is None


def test_an_answer_of_who_does_not_lead__leaders_py_judges_it() -> None:
    assert joined(target(1, 9, 8)).acknowledged("t1", ROW) is None
    assert joined(target(1, 9, 8)).acknowledged("t4", ROW) is None
