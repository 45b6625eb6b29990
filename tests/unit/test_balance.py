"""flexhash/balance.py: who is given the lead of its rows, and when not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.flexhash.balance import SPACING_NS, STEADY_NS, Balancer
from replicast.flexhash.build import build
from replicast.flexhash.commands import EditKind
from replicast.flexhash.entries import (
    Policy,
    RowChange,
    RowChangeKind,
    TargetEntry,
    VdevEntry,
    VdevState,
)
from replicast.flexhash.table import Table

POLICY = Policy(row_count=64, group_size=4, copies=3, min_copies=2)
PLACE = ("127.0.0.1", 1)
TARGETS = [
    TargetEntry(n, f"t{n}", f"h{n}", "z", PLACE, PLACE, PLACE, "k" * 40, PLACE)
    for n in (1, 2, 3, 4)
]
VDEVS = [VdevEntry(n, bytes([n]) * 16, n, 1, VdevState.UP, 5) for n in (1, 2, 3, 4)]
FIT = (1, 2, 3, 4)
BACK = 2  # the VDEV that was removed everywhere and is back


def following(table: Table, kind: RowChangeKind, vdevs: list[VdevEntry] = VDEVS) -> Table:
    rows = [r for r in range(64) if BACK in table.name_candidates(r)]
    changes = [RowChange(row, BACK, kind, table.names_since(row)) for row in rows]
    return build(table, TARGETS, vdevs, POLICY, changes, table.generation + 1)


@pytest.fixture
def table() -> Table:
    first = build(None, TARGETS, VDEVS, POLICY, (), 1)
    return following(following(first, RowChangeKind.REMOVE), RowChangeKind.ADD)


def test_next_change__rows_of_one_leader_at_a_time_once_steady(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    assert balancer.next_change(table, 0, FIT) is None
    now_ns, moved = STEADY_NS, 0
    while (change := balancer.next_change(table, now_ns, FIT)) is not None:
        assert balancer.next_change(table, now_ns + SPACING_NS - 1, FIT) is None
        assert (change.kind, change.vdev, change.seen) == (EditKind.LEAD, BACK, table.generation)
        assert {table.row_leader(row) for row in change.rows} == {change.by}
        lead = RowChangeKind.LEAD
        changes = [RowChange(r, BACK, lead, table.names_since(r)) for r in change.rows]
        table = build(table, TARGETS, VDEVS, POLICY, changes, table.generation + 1)
        balancer.look(table, now_ns)
        moved += len(change.rows)
        now_ns += SPACING_NS
    wanted = [r for r in range(64) if table.members(r)[0] == BACK]
    assert moved == len(wanted) and list(table.rows_led_by(BACK)) == wanted
    assert all(len(table.name_replicas(r)) == 3 for r in range(64))


def test_next_change__removed_restarted_or_down_begins_anew(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    removed = following(table, RowChangeKind.REMOVE)
    balancer.look(removed, STEADY_NS // 2)
    back = following(removed, RowChangeKind.ADD)
    balancer.look(back, STEADY_NS // 2)
    assert balancer.next_change(back, STEADY_NS, FIT) is None
    for number, change in enumerate(({"open_count": 6}, {"state": VdevState.DOWN}), 2):
        vdevs = [replace(v, **change) if v.index == BACK else v for v in VDEVS]
        other = build(back, TARGETS, vdevs, POLICY, (), back.generation + number)
        balancer.look(other, number * STEADY_NS)
        assert balancer.next_change(other, number * STEADY_NS + STEADY_NS // 2, FIT) is None


def test_next_change__steady_counts_from_coming_back(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    down = [replace(v, state=VdevState.DOWN) if v.index == BACK else v for v in VDEVS]
    gone = build(table, TARGETS, down, POLICY, (), table.generation + 1)
    balancer.look(gone, 1)
    back = build(gone, TARGETS, VDEVS, POLICY, (), gone.generation + 1)
    came_ns = 2 * STEADY_NS
    balancer.look(back, came_ns)
    assert balancer.next_change(back, came_ns + SPACING_NS, FIT) is None
    assert balancer.next_change(back, came_ns + STEADY_NS, FIT) is not None


def test_next_change__not_to_a_target_that_may_not_lead(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    assert balancer.next_change(table, STEADY_NS, (1, 3, 4)) is None
    assert balancer.next_change(table, STEADY_NS + SPACING_NS, FIT) is not None


def test_next_change__each_time_it_has_to_be_steady_for_longer(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    now_ns = STEADY_NS
    while balancer.next_change(table, now_ns, FIT) is not None and now_ns < 2 * STEADY_NS:
        table = following(table, RowChangeKind.LEAD)
        balancer.look(table, now_ns)
        now_ns += SPACING_NS
    again = following(following(table, RowChangeKind.REMOVE), RowChangeKind.ADD)
    balancer.look(following(table, RowChangeKind.REMOVE), now_ns)
    balancer.look(again, now_ns)
    assert balancer.next_change(again, now_ns + STEADY_NS, FIT) is None
    assert balancer.next_change(again, now_ns + 2 * STEADY_NS, FIT) is not None


def test_next_change__nothing_to_move() -> None:
    first = build(None, TARGETS, VDEVS, POLICY, (), 1)
    balancer = Balancer()
    balancer.look(first, 0)
    assert balancer.next_change(first, 10 * STEADY_NS, FIT) is None


def test_lead__only_a_replica_that_is_in_sync_and_up(table: Table) -> None:
    row = next(r for r in range(64) if BACK in table.name_replicas(r))
    outside = next(v for v in (1, 2, 3, 4) if v not in table.name_replicas(row))
    change = RowChange(row, outside, RowChangeKind.LEAD, table.names_since(row))
    same = build(table, TARGETS, VDEVS, POLICY, [change], table.generation + 1)
    assert same.name_replicas(row) == table.name_replicas(row)
    down = [replace(v, state=VdevState.DOWN) if v.index == BACK else v for v in VDEVS]
    change = RowChange(row, BACK, RowChangeKind.LEAD, table.names_since(row))
    same = build(table, TARGETS, down, POLICY, [change], table.generation + 1)
    assert same.name_replicas(row) == table.name_replicas(row)


def test_next_change__away_from_a_wrong_clock_at_once_and_back_when_it_was_right_for_long(
    table: Table,
) -> None:
    balancer, wrong = Balancer(), 3
    balancer.look(table, 0)
    now_ns, others = STEADY_NS - 1, tuple(n for n in FIT if n != wrong)
    led = set(table.rows_led_by(wrong))
    assert led
    moved: set[int] = set()
    while (change := balancer.next_change(table, now_ns, others, (wrong,))) is not None:
        assert (change.kind, change.by) == (EditKind.LEAD, wrong)
        assert all(change.vdev in table.name_replicas(row) for row in change.rows)
        lead = RowChangeKind.LEAD
        changes = [RowChange(r, change.vdev, lead, table.names_since(r)) for r in change.rows]
        table = build(table, TARGETS, VDEVS, POLICY, changes, table.generation + 1)
        balancer.look(table, now_ns)
        moved |= set(change.rows)
    assert moved == led and not table.rows_led_by(wrong)
    right_ns = now_ns + SPACING_NS
    while right_ns < now_ns + STEADY_NS:  # what went elsewhere before may go back meanwhile
        change = balancer.next_change(table, right_ns, FIT)
        assert change is None or change.vdev != wrong
        right_ns += SPACING_NS
    back = balancer.next_change(table, right_ns, (wrong,))
    assert back is not None and back.vdev == wrong


def test_next_change__nowhere_when_all_clocks_are_wrong(table: Table) -> None:
    balancer = Balancer()
    balancer.look(table, 0)
    assert balancer.next_change(table, STEADY_NS - 1, (), FIT) is None
