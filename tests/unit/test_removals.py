"""VDEVs that are down are asked out of all rows at once, by whoever may act for the row."""

from __future__ import annotations

import pytest

from replicast.flexhash.build import build
from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.metrics import Counters
from replicast.target.names.context import RowContext
from replicast.target.names.limits import NameLimits
from replicast.target.names.outbox import Outbox
from replicast.target.names.removals import Removals
from replicast.target.names.store import RowsChange
from replicast.units import MS, SECOND
from replicast.wire.control_messages import ROWS_PER_COMMAND_MAX

POLICY = Policy(row_count=64, group_size=4, copies=3, min_copies=2, algorithm=1)


class Lease:
    def __init__(self) -> None:
        self.floor = 0

    def valid(self, now_ns: int) -> bool:
        return True


def targets() -> list[TargetEntry]:
    place = ("127.0.0.1", 1)
    return [
        TargetEntry(n, f"t{n}", f"h{n}", "z", place, place, place, "k" * 40, place)
        for n in (1, 2, 3, 4)
    ]


def vdevs(*down: int) -> list[VdevEntry]:
    return [
        VdevEntry(n, bytes([n]) * 16, n, 1, VdevState.DOWN if n in down else VdevState.UP, 5)
        for n in (1, 2, 3, 4)
    ]


@pytest.fixture
def desk():
    lease = Lease()
    context = RowContext(1, 9, lease, {}, NameLimits(), Counters())
    context.open_counts[1] = 5
    outbox = Outbox(1, 1 << 20, Counters())
    return lease, context, outbox, Removals(context, outbox)


def tables(*down: int):
    first = build(None, targets(), vdevs(), POLICY, (), 1)
    return first, build(first, targets(), vdevs(*down), POLICY, (), 2)


def changes(outbox: Outbox, now_ns: int) -> list[RowsChange]:
    return [event for event in outbox.take_events(now_ns) if isinstance(event, RowsChange)]


def led_by_us(table) -> list[int]:
    return [int(row) for row in table.rows_led_by(1)]


def test_sweep__all_rows_of_the_dead_in_one_command(desk):
    lease, context, outbox, removals = desk
    _, table = tables(3)
    context.adopt(table)
    lease.floor = 2
    removals.plan(led_by_us(table), 0)
    removals.sweep(0)
    wanted = [row for row in led_by_us(table) if 3 in table.name_replicas(row)]
    (change,) = changes(outbox, 0)
    assert wanted and sorted(change.rows) == wanted
    assert (change.add, change.vdev_index, change.by, change.seen) == (False, 3, 1, 2)


def test_sweep__rows_taken_over_wait_for_the_fence(desk):
    lease, context, outbox, removals = desk
    _, table = tables(3)
    context.adopt(table)
    lease.floor = 1  # somebody may still act by the old table
    removals.plan(led_by_us(table), 0)
    removals.sweep(0)
    asked = [row for change in changes(outbox, 0) for row in change.rows]
    assert all(table.leader_since(row) <= 1 for row in asked)
    lease.floor = 2
    due_ns = removals.due_ns
    assert due_ns is not None and due_ns < 100 * MS
    removals.sweep(due_ns)
    later = [row for change in changes(outbox, due_ns) for row in change.rows]
    assert later and not set(asked) & set(later)
    assert all(3 in table.name_replicas(row) for row in later)


def test_sweep__again_until_a_table_shows_it(desk):
    lease, context, outbox, removals = desk
    _, table = tables(3)
    context.adopt(table)
    lease.floor = 2
    removals.plan(led_by_us(table), 0)
    removals.sweep(0)
    first = changes(outbox, 0)
    removals.sweep(10 * MS)
    assert not changes(outbox, 10 * MS)
    removals.sweep(SECOND)
    assert changes(outbox, SECOND) == first
    removals.plan([], SECOND)
    assert removals.due_ns is None


def test_plan__nobody_down(desk):
    _, context, _, removals = desk
    first, _ = tables()
    context.adopt(first)
    removals.plan(led_by_us(first), 0)
    assert removals.due_ns is None


def test_outbox__one_event_is_one_command_of_raft(desk):
    """Else a refusal of one part would be taken for a refusal of all."""
    _, _, outbox, _ = desk
    for row in range(2 * ROWS_PER_COMMAND_MAX + 1):
        outbox.change((True, 2, 5, 1, 5, 1), row)
    parts = [event.rows for event in changes(outbox, 0)]
    assert [len(part) for part in parts] == [ROWS_PER_COMMAND_MAX, ROWS_PER_COMMAND_MAX, 1]
    assert [row for part in parts for row in part] == list(range(2 * ROWS_PER_COMMAND_MAX + 1))
