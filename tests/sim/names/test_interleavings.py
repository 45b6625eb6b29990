"""Orders of events that lose or falsify data in protocols that are almost right.

Each test arranges one of them; conftest.py checks on every acknowledgement that all in-sync
replicas have the write on disk, and check() that one order explains all answers. Row 0 is
that of the name "d": replicas 1, 2, 3, led by 1; VDEV 4 is a member outside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.entries import NO_VDEV, VdevState
from replicast.target.names.leader import Leadership
from replicast.target.names.store import StoreOutcome
from replicast.units import MS, SECOND
from replicast.wire.name_messages import IF_ABSENT, NO_VERSION, Condition
from replicast.wire.reasons import Reason

from .targets import LIMITS

NAME = "d"
ABSENT = Condition(kind=IF_ABSENT, version=NO_VERSION, etag="")


@pytest.fixture
def world(sim: Any) -> Any:
    made = sim.World(11)
    first = made.put(NAME)
    made.done(first)
    assert made.table.name_replicas(0) == (1, 2, 3) and made.table.row_leader(0) == 1
    return made


def puts(world: Any, count: int) -> list[Any]:
    made = [world.put(NAME, body=bytes([i])) for i in range(count)]
    world.done(*made)
    return made


def finish(sim: Any, world: Any) -> None:
    world.settle()
    sim.check(world, [NAME])
    for operation in world.operations:
        if operation.version is not None and operation.kind == "put":
            world.assert_durable(operation)


def test_a_live_old_leader_that_has_not_heard__nobody_else_commits_before_its_lease_ends(
    sim: Any, world: Any
) -> None:
    # A planned move: 1 acknowledges the new table, and hears nothing any more, lease valid.
    world.nodes[1].deaf = True
    world.states[1], world.dirty = VdevState.DOWN, True
    world.until(lambda: world.prepared is not None)
    world.acks.add(1)
    world.until(lambda: world.table.row_leader(0) == 2)
    old = world.nodes[1].lease
    late = world.put(NAME, body=b"new leader's")
    while old.valid(world.now_ns):
        reader = world.operate("get", NAME, world.get(NAME).message)
        world.ask(1, reader)
        world.run_for(20 * MS)
        assert late.end_ns is None or not old.valid(late.end_ns)
    world.done(late)
    finish(sim, world)


def test_all_lose_their_leases__the_set_does_not_shrink_below_min_copies(
    sim: Any, world: Any
) -> None:
    for vdev in (1, 2, 3, 4):
        world.nodes[vdev].deaf = True
    world.run_for(3 * SECOND)
    assert len(world.table.name_replicas(0)) >= 2
    finish(sim, world)


def test_one_replica_left__readable_and_not_writable(sim: Any) -> None:
    world = sim.World(12, count=3)
    world.done(world.put(NAME))
    world.run_for(200 * MS)  # 3 hears that it is committed
    world.crash(1)
    world.crash(2)
    world.until(lambda: world.table.row_leader(0) == 3)
    read = world.get(NAME)
    world.done(read)
    assert read.version is not None
    write = world.put(NAME)
    world.run_for(2 * SECOND)
    assert write.end_ns is None
    assert len(world.table.name_replicas(0)) == 2
    world.start(1)
    world.done(write)
    finish(sim, world)


def test_one_of_three_left__a_fresh_replica_makes_the_row_writable_again(
    sim: Any, world: Any
) -> None:
    world.crash(2)
    world.crash(3)
    write = world.put(NAME)
    world.done(write)
    assert 4 in world.table.name_replicas(0)
    finish(sim, world)


def submit_late_addition(world: Any) -> None:
    """3 was away and is back; 1 has brought it up to date and asked for it; no answer yet."""
    world.crash(3)
    world.until(lambda: world.table.name_replicas(0) == (1, 2))
    puts(world, 2)
    world.hold_commands = True
    world.start(3)
    lead = world.nodes[1].service._leaders[0]
    world.until(lambda: 3 in lead.followers and lead.followers[3].role.name == "JOINING")


def test_an_addition_that_is_undecided__is_waited_for(sim: Any, world: Any) -> None:
    submit_late_addition(world)
    world.nodes[3].cut = True
    write = world.put(NAME)
    world.run_for(SECOND)
    assert write.end_ns is None
    finish(sim, world)


def test_an_addition_that_comes_late__does_not_apply_to_the_next_leaders_world(
    sim: Any, world: Any
) -> None:
    submit_late_addition(world)
    world.nodes[3].cut = True
    world.crash(1)
    world.until(lambda: world.table.row_leader(0) == 2)
    world.run_for(300 * MS)
    world.start(1)
    write = world.put(NAME)
    world.run_for(SECOND)
    world.hold_commands = False
    world.run_for(500 * MS)
    assert 3 not in world.table.name_replicas(0)
    world.done(write)
    finish(sim, world)


def test_an_addition_from_a_leaders_earlier_life__is_void(sim: Any, world: Any) -> None:
    submit_late_addition(world)
    world.nodes[3].cut = True
    world.crash(1)
    world.start(1)  # within its lease: still the leader by the same table
    write = world.put(NAME)
    world.run_for(500 * MS)
    world.hold_commands = False
    world.done(write)
    assert 3 not in world.table.name_replicas(0)
    finish(sim, world)


def test_an_addition_without_outcome__is_not_waited_for_once_the_candidate_was_opened_again(
    sim: Any, world: Any
) -> None:
    """It may be refused for certain as often as it is asked for again: one answer is missing. And the
    candidate, which is open again, dies before its leader hears it: nobody acknowledges for it."""
    command, lost = world._command, [True]

    def submit(change: Any) -> None:
        node = world.nodes[change.by]
        if not change.add:
            command(change)
        elif not lost and world.opens[change.vdev_index] != change.open_count:
            node.service.change_refused(change, world.now_ns)
            world.drain(node)

    world._command = submit
    world.crash(3)
    world.until(lambda: world.table.name_replicas(0) == (1, 2))
    world.start(3)
    lead = world.nodes[1].service._leaders[0]
    world.until(lambda: 3 in lead.followers and lead.followers[3].commands > 1)
    lost.clear()
    world.nodes[3].cut = True
    world.crash(3)
    world.start(3)
    world.until(lambda: world.nodes[1].table.vdevs[3].open_count == world.opens[3])
    world.crash(3)
    world.done(world.put(NAME))
    world._command = command
    finish(sim, world)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_leader_that_lost_the_end_of_its_log_unknowingly__takes_it_from_the_others(
    sim: Any, world: Any, checkpoint: bool
) -> None:
    puts(world, 9)
    if checkpoint:
        world.nodes[1].store.checkpoint()
    world.crash(1)
    world.nodes[1].store.damage(0, 4)
    world.start(1)
    world.done(world.get(NAME))
    assert world.table.row_leader(0) == 1
    assert len(world.versions(NAME)) == 10
    finish(sim, world)
    assert world.nodes[1].store.span(0, 0)[0] == world.nodes[2].store.span(0, 0)[0]


def test_power_loss_of_all__and_the_leader_lost_its_end(sim: Any, world: Any) -> None:
    puts(world, 9)
    for vdev in (1, 2, 3, 4):
        world.crash(vdev)
    world.nodes[1].store.damage(0, 6)
    for vdev in (1, 2, 3, 4):
        world.start(vdev)
    world.done(world.get(NAME))
    assert len(world.versions(NAME)) == 10
    finish(sim, world)


def test_a_retry_at_the_next_leader__gets_the_first_answer(sim: Any, world: Any) -> None:
    first = world.put(NAME)
    world.done(first)
    world.crash(1)
    world.until(lambda: world.table.row_leader(0) == 2)
    again = world.operate("put", NAME, first.message)
    world.waiting.pop(again.operation_id)
    again.operation_id = first.operation_id
    world.waiting[first.operation_id] = (again, world.now_ns + 5 * SECOND)
    world._attempt(again)
    world.done(again)
    assert again.version == first.version
    world.operations.remove(again)
    finish(sim, world)


def test_two_conditional_puts_at_once__one_wins(sim: Any, world: Any) -> None:
    rivals = [world.put("h", ABSENT, body=bytes([i])) for i in range(6)]
    world.done(*rivals)
    assert [o.reason for o in rivals].count(0) == 1
    assert {o.reason for o in rivals} == {0, int(Reason.CONDITION_FAILED)}
    assert len(world.versions("h")) == 1


def test_a_refusal_that_rests_on_an_undecided_write__is_not_told(sim: Any, world: Any) -> None:
    world.nodes[1].cut = True  # it orders, and nobody else hears of it
    lost = world.put("h", ABSENT)
    world.run_for(10 * MS)
    rival = world.put("h", ABSENT)
    world.run_for(50 * MS)
    assert rival.end_ns is None and lost.end_ns is None
    world.crash(1)
    world.done(lost, rival)
    assert sorted([lost.reason, rival.reason]) == [0, int(Reason.CONDITION_FAILED)]
    sim.check(world, ["h"])


def test_a_write_that_an_old_leader_may_have_answered__is_not_read_around(
    sim: Any, world: Any
) -> None:
    # 3 does not hear that the write is committed, and ends as the only one who can tell.
    lead: Leadership = world.nodes[1].service._leaders[0]
    write = world.put(NAME)
    world.until(lambda: lead.replica.committed_index == 2)
    world.done(write)
    for vdev in (1, 2):
        world.crash(vdev)
    for vdev in (1, 2, 4):
        world.nodes[vdev].deaf = True
    world.until(lambda: world.table.row_leader(0) == 3)
    read = world.get(NAME)
    world.run_for(SECOND)
    assert read.version in (None, write.version)
    finish(sim, world)


def test_a_replica_that_restarts_with_a_hole__acknowledges_nothing_behind_it(
    sim: Any, world: Any
) -> None:
    replica = world.nodes[3]
    for round_number in range(8):
        made = [world.put(NAME, body=bytes([round_number, i])) for i in range(4)]
        world.run_for((3 + round_number) * MS)
        world.crash(3, 5 * MS)
        made += [world.put(NAME) for _ in range(2)]
        world.done(*made)
        gapless, highest = replica.store.span(0, 0)
        assert gapless == highest
    finish(sim, world)


def test_a_replica_that_is_silent__is_removed_and_comes_back_by_itself(
    sim: Any, world: Any
) -> None:
    world.nodes[2].cut = True
    write = world.put(NAME)
    world.done(write)
    assert world.table.name_replicas(0) == (1, 3)
    finish(sim, world)
    assert sorted(world.table.name_replicas(0)) == [1, 2, 3]


def test_a_leader_that_lost_its_end_and_reaches_nobody__orders_nothing_over_what_was_committed(
    sim: Any, world: Any
) -> None:
    made = puts(world, 9)
    world.crash(1)
    world.nodes[1].store.damage(0, 4)
    for vdev in (2, 3):
        world.nodes[vdev].cut = True
    world.start(1)  # within its lease: leads by the same table, and believes in three entries
    leaders = world.nodes[1].service._leaders
    world.until(lambda: 0 in leaders and leaders[0].readable)
    tenure = leaders[0].tenure
    late = [world.put(NAME, body=bytes([i])) for i in range(30)]
    world.run_for(60 * MS)
    for vdev in (2, 3):
        world.nodes[vdev].cut = False
    world.done(*late)
    assert leaders[0].tenure > tenure, "what it sent before it heard them has no part in this"
    for operation in made:
        world.assert_durable(operation)
    finish(sim, world)


def test_a_replica_that_answers_and_stores_nothing__is_removed(sim: Any, world: Any) -> None:
    """Its disk is full: alive, vouched for, and in the way of every write (design-review 3.6)."""
    write_to_disk = world._write
    full = world.nodes[2]

    def write(node: Any, event: Any) -> None:
        if node is not full or not full.store.full:
            write_to_disk(node, event)
            return
        node.service.stored(event.vdev_index, event.token, StoreOutcome.AGAIN, world.now_ns)

    world._write = write
    full.store.full = True
    made = puts(world, 3)
    assert 2 not in world.table.name_replicas(0)
    full.store.full = False
    made += puts(world, 3)
    finish(sim, world)
    assert sorted(world.table.name_replicas(0)) == [1, 2, 3]


def test_damage_leaves_one_replica__what_is_undecided_waits_for_min_copies(
    sim: Any, world: Any
) -> None:
    """Contract C1: no acknowledgement counts fewer than min_copies, however the set shrank."""
    for vdev in (2, 3, 4):
        world.nodes[vdev].cut = True
    write = world.put(NAME)
    world.run_for(20 * MS)
    old = world.table
    cells = old.rows.names.copy()
    cells[0] = NO_VDEV
    cells[0, 0] = 1  # 2 and 3 came back damaged
    since = old.rows.names_since.copy()
    since[0] = old.generation + 1
    world.table = world._make(
        old.generation + 1, old.rows.members, cells, since, old.rows.leader_since.copy()
    )
    world.until(lambda: world.nodes[1].table.generation > old.generation)
    world.run_for(500 * MS)
    assert write.end_ns is None
    for vdev in (2, 3, 4):
        world.nodes[vdev].cut = False
    world.done(write)
    finish(sim, world)


def test_planned_moves_of_leadership__no_operation_fails(sim: Any, world: Any) -> None:
    made: list[Any] = []
    for leader in (2, 3, 1, 3, 2, 1):
        world.lead(0, leader)
        for i in range(40):
            made.append(world.put(NAME, body=bytes([i])) if i % 2 else world.get(NAME))
            world.run_for(8 * MS)
        world.until(lambda leader=leader: world.table.row_leader(0) == leader)
    world.done(*made)
    assert all(o.reason == 0 for o in made)
    assert max(o.end_ns - o.start_ns for o in made) < SECOND
    finish(sim, world)


def test_a_replica_that_is_up_and_not_heard__bounds_what_all_rows_keep_together(sim: Any) -> None:
    """At min_copies it cannot be removed, so nothing of the rows that it has part in is decided."""
    limits = replace(LIMITS, rows_bytes_max=60_000, row_share_bytes=10_000)
    world = sim.World(12, count=3, limits=limits)
    world.done(*(world.put(name) for name in ("d", "g")))  # of rows 0 and 3, which 1 leads later
    world.crash(3)
    names = ["d", "g"]
    world.lead(3, 1)
    world.until(lambda: all(world.table.name_replicas(row) == (1, 2) for row in (0, 3)))
    world.nodes[2].cut = True
    for i in range(40):
        world.put(names[i % 2], body=bytes(4000))
    world.run_for(SECOND)
    service = world.nodes[1].service
    kept = [service._leaders[row].undecided.bytes for row in (0, 3)]
    assert sum(kept) == service.context.undecided.bytes
    assert 60_000 <= sum(kept) < 70_000
    world.nodes[2].cut = False
    world.until(lambda: not world.waiting)
    assert service.context.undecided.bytes == 0
    sim.check(world, names)
