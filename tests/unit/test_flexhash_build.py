"""What states of VDEVs and changes of rows do to members, in-sync sets and leaders."""

import dataclasses
from collections.abc import Sequence

import pytest

from replicast.flexhash.build import build
from replicast.flexhash.table import (
    Policy,
    RowChange,
    RowChangeKind,
    Table,
    TargetEntry,
    VdevEntry,
    VdevState,
)

POLICY = Policy(row_count=256, group_size=5)
ADDRESS = ("127.0.0.1", 1)
ADD, REMOVE = RowChangeKind.ADD, RowChangeKind.REMOVE


class Cluster:
    """Eight hosts with one VDEV each, and the latest table."""

    def __init__(self) -> None:
        self.targets = [
            TargetEntry(n + 1, f"t{n}", f"h{n}", "", ADDRESS, ADDRESS, ADDRESS, "", ADDRESS)
            for n in range(8)
        ]
        self.vdevs = [
            VdevEntry(n, n.to_bytes(16, "big"), n + 1, 10, VdevState.UP, 1) for n in range(8)
        ]
        self.table = build(None, self.targets, self.vdevs, POLICY, (), 1)

    def set_state(self, index: int, state: VdevState) -> None:
        self.vdevs[index] = dataclasses.replace(self.vdevs[index], state=state)

    def next(
        self,
        *changes: RowChange,
        emptied: Sequence[tuple[int, int]] = (),
        damaged: Sequence[int] = (),
    ) -> Table:
        self.table = build(
            self.table,
            self.targets,
            self.vdevs,
            POLICY,
            changes,
            self.table.generation + 1,
            emptied=emptied,
            damaged=damaged,
        )
        return self.table

    def change(self, row: int, index: int, kind: RowChangeKind) -> RowChange:
        return RowChange(row, index, kind, self.table.names_since(row))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_down__moves_leaders_only(cluster: Cluster) -> None:
    before = cluster.table
    cluster.set_state(0, VdevState.DOWN)
    after = cluster.next()
    assert (after.rows.members == before.rows.members).all()
    assert (after.rows.names == before.rows.names).all()
    for row in range(256):
        led = before.row_leader(row) == 0
        assert after.row_leader(row) == (
            before.name_replicas(row)[1] if led else before.row_leader(row)
        )
        assert after.leader_since(row) == after.names_since(row) == (2 if led else 1)
        assert after.members_since(row) == 1
    cluster.set_state(0, VdevState.UP)
    back = cluster.next()
    assert all(back.row_leader(row) == before.row_leader(row) for row in range(256))


def test_all_replicas_down__no_leader(cluster: Cluster) -> None:
    for index in cluster.table.name_replicas(9):
        cluster.set_state(index, VdevState.DOWN)
    assert cluster.next().row_leader(9) is None


def test_draining__stays_listed_until_emptied(cluster: Cluster) -> None:
    before = cluster.table
    rows = [row for row in range(256) if 3 in before.members(row)]
    cluster.set_state(3, VdevState.DRAINING)
    after = cluster.next()
    for row in range(256):
        assert 3 not in after.members(row) and len(after.members(row)) == 5
        assert after.draining(row) == ((3,) if row in rows else ())
        assert after.name_replicas(row) == before.name_replicas(row)
    emptied = cluster.next(emptied=[(rows[0], 3), (rows[1], 5), (9999, 3)])
    assert emptied.draining(rows[0]) == () and emptied.members_since(rows[0]) == 3
    assert emptied.draining(rows[1]) == (3,) and emptied.members_since(rows[1]) == 2


def test_draining__taken_back_returns_to_its_rows(cluster: Cluster) -> None:
    before = cluster.table
    cluster.set_state(3, VdevState.DRAINING)
    cluster.next()
    cluster.set_state(3, VdevState.UP)
    after = cluster.next()
    returned = [row for row in range(256) if 3 in after.members(row)]
    assert len(returned) == sum(3 in before.members(row) for row in range(256))
    home = [row for row in returned if 3 in before.members(row)]
    assert len(home) >= len(returned) * 9 // 10


def test_full_draining_list__keeps_the_member(cluster: Cluster) -> None:
    """Nobody who may hold chunks drops out of sight, however often membership changes."""
    seen: list[set[int]] = [set(cluster.table.members(row)) for row in range(256)]
    for index in range(5):
        cluster.set_state(index, VdevState.DRAINING)
        table = cluster.next()
        for row in range(256):
            listed = {*table.members(row), *table.draining(row)}
            assert len(table.draining(row)) <= POLICY.group_size
            assert seen[row] <= listed
            seen[row] |= listed


def test_out__leaves_everything_but_the_last_name(cluster: Cluster) -> None:
    before = cluster.table
    first, second, third = before.name_replicas(17)
    for index in (first, second):
        cluster.set_state(index, VdevState.OUT)
    after = cluster.next()
    assert after.name_replicas(17) == (third,)
    assert all(
        index not in (first, second)
        for row in range(256)
        for index in (*after.members(row), *after.draining(row))
    )
    cluster.set_state(third, VdevState.OUT)
    last = cluster.next()
    assert last.name_replicas(17) == (third,) and last.row_leader(17) is None


def test_damaged__is_in_sync_nowhere(cluster: Cluster) -> None:
    table = cluster.next(damaged=[2])
    assert not any(2 in table.name_replicas(row) for row in range(256))
    assert any(2 in table.members(row) for row in range(256))


def test_row_changes__add_appends_and_remove_keeps_min_copies(cluster: Cluster) -> None:
    first, second, third = cluster.table.name_replicas(40)
    table = cluster.next(cluster.change(40, first, REMOVE))
    assert table.name_replicas(40) == (second, third)
    assert table.row_leader(40) == second
    assert table.names_since(40) == table.leader_since(40) == 2
    table = cluster.next(cluster.change(40, second, REMOVE))
    assert table.name_replicas(40) == (second, third)
    assert table.names_since(40) == 2
    table = cluster.next(cluster.change(40, first, ADD))
    assert table.name_replicas(40) == (second, third, first)
    assert table.row_leader(40) == second
    assert table.leader_since(40) == 2 and table.names_since(40) == 3 + 1
    assert table.members_since(40) == 1


def test_row_changes__stale_or_senseless_are_ignored(cluster: Cluster) -> None:
    replicas = cluster.table.name_replicas(40)
    outsider = next(index for index in range(8) if index not in replicas)
    cluster.next(
        RowChange(40, replicas[0], REMOVE, 0),
        RowChange(40, replicas[0], ADD, 1),
        RowChange(40, outsider, REMOVE, 1),
        RowChange(40, 99, ADD, 1),
        RowChange(999, 0, REMOVE, 1),
        RowChange(-1, 0, REMOVE, 1),
    )
    assert cluster.table.name_replicas(40) == replicas
    assert cluster.table.names_since(40) == 1


def test_trim__old_replicas_leave_when_all_candidates_are_in_sync(cluster: Cluster) -> None:
    index = cluster.table.row_leader(40)
    assert index is not None
    cluster.set_state(index, VdevState.DRAINING)
    table = cluster.next()
    old = table.name_replicas(40)
    missing = [c for c in table.name_candidates(40) if c not in old]
    assert index in old and len(missing) == 1
    table = cluster.next(cluster.change(40, missing[0], ADD))
    assert set(table.name_replicas(40)) == set(table.name_candidates(40))
    assert table.row_leader(40) not in (index, None)


def test_trim__waits_for_candidates_that_are_down(cluster: Cluster) -> None:
    index = cluster.table.row_leader(40)
    assert index is not None
    cluster.set_state(index, VdevState.DRAINING)
    table = cluster.next()
    missing = next(c for c in table.name_candidates(40) if c not in table.name_replicas(40))
    cluster.set_state(missing, VdevState.DOWN)
    table = cluster.next(cluster.change(40, missing, ADD))
    assert index in table.name_replicas(40) and missing in table.name_replicas(40)
    cluster.set_state(missing, VdevState.UP)
    assert index not in cluster.next().name_replicas(40)


def test_policy_of_few_hosts() -> None:
    cluster = Cluster()
    table = build(None, cluster.targets[:2], cluster.vdevs[:2], POLICY, (), 1)
    assert sorted(table.members(0)) == [0, 1]
    assert table.name_candidates(0) == table.members(0) == table.name_replicas(0)


def test_stopping__leaves_sets_that_can_do_without_and_keeps_its_cells(cluster: Cluster) -> None:
    before = cluster.table
    cluster.set_state(0, VdevState.STOPPING)
    after = cluster.next()
    assert (after.rows.members == before.rows.members).all()
    assert (after.rows.draining == before.rows.draining).all()
    for row in range(256):
        left = tuple(index for index in before.name_replicas(row) if index != 0)
        assert after.name_replicas(row) == left  # in the order of the candidates
        assert after.row_leader(row) == left[0]
        changed = 0 in before.name_replicas(row)
        assert after.names_since(row) == (after.generation if changed else before.generation)


def test_stopping__stays_where_too_few_are_left_or_none_of_them_is_up(cluster: Cluster) -> None:
    first, second, third = cluster.table.name_replicas(40)
    cluster.next(cluster.change(40, third, REMOVE))
    cluster.set_state(first, VdevState.STOPPING)
    assert cluster.next().name_replicas(40) == (second, first)  # min_copies
    assert cluster.table.row_leader(40) == second
    cluster = Cluster()
    for index in (second, third):
        cluster.set_state(index, VdevState.DOWN)
    cluster.set_state(first, VdevState.STOPPING)
    assert cluster.next().name_replicas(40) == (first, second, third)
    assert cluster.table.row_leader(40) is None


def test_stopping__two_at_once_leave_no_set_below_min_copies(cluster: Cluster) -> None:
    for index in (0, 1):
        cluster.set_state(index, VdevState.STOPPING)
    table = cluster.next()
    assert {len(table.name_replicas(row)) for row in range(256)} == {2, 3}


def test_stopping__an_addition_under_way_is_shown_and_undone(cluster: Cluster) -> None:
    """Its leader commits nothing without it before a table has told the outcome."""
    index = cluster.table.name_replicas(40)[2]
    cluster.next(cluster.change(40, index, REMOVE))
    cluster.set_state(index, VdevState.STOPPING)
    assert cluster.next(cluster.change(40, index, ADD)).name_replicas(40)[-1] == index
    assert cluster.table.names_since(40) == cluster.table.generation
    assert index not in cluster.next().name_replicas(40)


def test_moved__rows_that_a_generation_changed_or_all_when_the_world_has(cluster: Cluster) -> None:
    before, rows = cluster.table, range(30, 50)
    second = before.name_replicas(40)[1]
    after = cluster.next(cluster.change(40, second, REMOVE))
    assert after.moved(rows, before) == [40] and after.moved(range(30), before) == []
    later = cluster.next()
    assert later.moved(rows, after) == [] and later.moved(rows, before) == [40]
    cluster.set_state(0, VdevState.DOWN)
    assert cluster.next().moved(rows, later) == list(rows)
    assert before.moved(rows, None) == list(rows)


def test_stopping__in_turn_leaves_no_leader_of_everything(cluster: Cluster) -> None:
    for index in range(8):
        before = cluster.table
        cluster.set_state(index, VdevState.STOPPING)
        after = cluster.next()
        led = [after.row_leader(row) for row in range(256)]
        assert None not in led and index not in led
        assert max(led.count(each) for each in range(8)) <= 2 * 256 // 7
        for row in range(256):
            if before.row_leader(row) != index:
                assert after.row_leader(row) == before.row_leader(row)
        cluster.set_state(index, VdevState.UP)
        cluster.next()
        gone = [r for r in range(256) if index in cluster.table.name_candidates(r)]
        cluster.next(*(cluster.change(row, index, ADD) for row in gone))
        assert all(len(cluster.table.name_replicas(row)) == 3 for row in range(256))
