"""replicast/sim/joined.py: replicas that join a row's set, and what they have of its log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.sim.joined import Joined
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.store import EntryRecord

ROW = 1


class Rows(SimpleNamespace):
    """A table with one set for row 1."""

    def name_replicas(self, row: int) -> tuple[int, ...]:
        return self.replicas if row == ROW else ()


def table(generation: int, *replicas: int) -> Any:
    return Rows(generation=generation, replicas=replicas, policy=SimpleNamespace(row_count=2))


def target(vdev: int, entries: int, committed: int) -> Any:
    store = MemoryRowStore()
    store.append([EntryRecord(ROW, 5, index, b"") for index in range(1, entries + 1)])
    store.sync()
    replica = SimpleNamespace(committed_index=committed)
    names = SimpleNamespace(_stores={vdev: store}, _replicas={(ROW, vdev): replica})
    daemon = SimpleNamespace(_service=SimpleNamespace(names=names))
    return SimpleNamespace(daemon=daemon, member=SimpleNamespace(host=f"h{vdev}"))


def joined(*targets: Any, damaged: str = "") -> Joined:
    cluster: Any = SimpleNamespace(
        targets=targets, damage=SimpleNamespace(hit=lambda host: host == damaged)
    )
    made = Joined(cluster)
    assert made.seen(table(7, 1)) is None
    return made


@pytest.mark.parametrize(("entries", "good"), [(9, True), (8, True), (7, False)])
def test_who_joins__has_what_another_knows_to_be_committed(entries: int, good: bool) -> None:
    checker = joined(target(1, 9, committed=8), target(2, entries, committed=3))
    found = checker.seen(table(8, 1, 2))
    assert (found is None) == good
    assert good or "VDEV 2 joins row 1 with entries up to 7" in str(found)


def test_only_additions_are_looked_at__and_each_generation_once() -> None:
    checker = joined(target(1, 9, committed=9), target(2, 1, committed=1))
    assert checker.seen(table(6, 1, 2)) is None, "older than what was seen"
    assert checker.seen(table(8, 1)) is None
    assert checker.seen(table(9, 1, 2)) is not None
    assert checker.seen(table(10, 1, 2)) is None


def test_what_cannot_be_judged__damaged_disks_and_a_set_that_begins_anew() -> None:
    targets = target(1, 9, committed=9), target(2, 1, committed=1)
    assert joined(*targets, damaged="h2").seen(table(8, 1, 2)) is None
    anew = joined(*targets)
    assert anew.seen(table(8)) is None and anew.seen(table(9, 2)) is None
    stopped = joined(targets[0], SimpleNamespace(daemon=None))
    assert stopped.seen(table(8, 1, 2)) is None
