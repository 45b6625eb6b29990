"""target/names/fence.py: who may act for a row, asked again and again while everything changes."""

from __future__ import annotations

import numpy as np
import pytest

from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.metrics import Counters
from replicast.target.names.context import RowContext
from replicast.target.names.fence import Fence
from replicast.target.names.limits import NameLimits
from replicast.units import SECOND

NOW_NS = SECOND
OPEN_COUNT = 7


class Lease:
    floor = 5

    def __init__(self) -> None:
        self.until_ns = 2 * NOW_NS

    def valid(self, now_ns: int) -> bool:
        return now_ns < self.until_ns


def table(generation: int, first: int = 1, since: int = 5, open_count: int = OPEN_COUNT) -> Table:
    """One row of VDEVs 1 and 2, led by `first`."""
    cells = np.array([[first, 3 - first]], dtype=np.uint16)
    changed = np.full(1, since, dtype=np.uint64)
    rows = Rows(
        members=cells, draining=np.full_like(cells, 0xFFFF), names=cells.copy(),
        members_since=changed, names_since=changed, leader_since=changed,
    )  # fmt: skip
    at = ("127.0.0.1", 1)
    target = TargetEntry(500, "t", "h", "z", at, at, at, "k" * 40, at)
    vdevs = {v: VdevEntry(v, bytes([v]) * 16, 500, 1, VdevState.UP, open_count) for v in (1, 2)}
    policy = Policy(row_count=1, group_size=2, copies=2, min_copies=1)
    return Table(generation, policy, {500: target}, vdevs, rows)


class Desk:
    def __init__(self) -> None:
        self.lease = Lease()
        self.context = RowContext(500, 9, self.lease, {}, NameLimits(), Counters())
        self.context.open_counts[1] = OPEN_COUNT
        self.fence = Fence(self.context, 0, 1)

    def open(self) -> bool:
        return self.fence.open(NOW_NS)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_fence__without_a_table_is_closed(desk: Desk) -> None:
    assert not desk.open()
    desk.context.adopt(table(5))
    assert desk.open()


def test_fence__asks_every_table_who_leads(desk: Desk) -> None:
    desk.context.adopt(table(5))
    assert desk.open()
    desk.context.adopt(table(6, first=2, since=6))
    assert not desk.open()
    desk.context.adopt(table(7, since=5))
    assert desk.open()


def test_fence__waits_until_all_have_the_table_that_made_it_leader(desk: Desk) -> None:
    desk.context.adopt(table(6, since=6))
    assert not desk.open()
    desk.lease.floor = 6
    assert desk.open()


def test_fence__asks_lease_and_clock_every_time(desk: Desk) -> None:
    desk.context.adopt(table(5))
    assert desk.open() and not desk.fence.open(desk.lease.until_ns)
    for error_ns, agrees in ((10 * SECOND, False), (-10 * SECOND, False), (SECOND, True)):
        desk.context.clock_error_ns = error_ns
        assert desk.open() == agrees == desk.context.clock_agrees


def test_fence__is_closed_for_another_life_of_the_vdev(desk: Desk) -> None:
    """Of a table from before our last start, of one from after it, and without the VDEV."""
    desk.context.adopt(table(5))
    for life in (OPEN_COUNT - 1, OPEN_COUNT + 1, None):
        desk.context.open_counts.clear()
        if life is not None:
            desk.context.open_counts[1] = life
        assert not desk.open()
    desk.context.open_counts[1] = OPEN_COUNT + 1
    desk.context.adopt(table(6, open_count=OPEN_COUNT + 1))
    assert desk.open()
