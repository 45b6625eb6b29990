"""Log entries that a disk does not give back any more come back from another replica.

Row 0 is that of the name "d": replicas 1, 2, 3, led by 1; VDEV 4 is a member outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicast.units import SECOND
from replicast.wire.name_messages import NameGet

NAME = "d"
COUNT = 150  # more than a log keeps in memory


def damage(world: Any, vdev: int, *indexes: int) -> dict[int, tuple[int, bytes]]:
    """These entries cannot be read on this VDEV until they are written anew; what they were."""
    store = world.nodes[vdev].store
    written: dict[int, tuple[int, bytes]] = store._log[0]
    lost = {index: written[index] for index in indexes}
    read: Callable[[int, int], tuple[int, bytes] | None] = store.entry

    def entry(row: int, index: int) -> tuple[int, bytes] | None:
        found = read(row, index)
        return None if row == 0 and found is not None and found is lost.get(index) else found

    store.entry = entry
    return lost


@pytest.fixture
def world(sim: Any) -> Any:
    made = sim.World(21)
    made.done(*(made.put(NAME, body=bytes([i])) for i in range(COUNT)))
    made.settle()
    assert made.table.name_replicas(0) == (1, 2, 3) and made.table.row_leader(0) == 1
    return made


def read(world: Any, version: Any) -> Any:
    first = world.put(NAME).message
    operation = world.operate("get", NAME, NameGet(key=first.key, version=version, want_body=True))
    world.done(operation)
    return operation


def test_the_leader_cannot_read_a_version__it_gets_it_from_another_replica(world: Any) -> None:
    oldest = world.versions(NAME)[-1]
    damage(world, 1, 1, 2, 3)
    got = read(world, oldest.version)
    assert got.version == oldest.version and got.reason == 0
    world.settle()
    assert world.nodes[1].store.entry(0, 1) is not None, "stored anew"
    assert world.nodes[1].store.entry(0, 2) is None, "nobody asked for that one"


def test_the_next_replica_is_asked__when_one_cannot_read_it_either(world: Any) -> None:
    oldest = world.versions(NAME)[-1]
    damage(world, 1, 1)
    damage(world, 2, 1)
    assert read(world, oldest.version).version == oldest.version


def test_no_replica_can_read_it__no_answer_and_everything_else_goes_on(world: Any) -> None:
    oldest = world.versions(NAME)[-1]
    for vdev in (1, 2, 3):
        damage(world, vdev, 1)
    key = world.put(NAME).message.key
    get = NameGet(key=key, version=oldest.version, want_body=True)
    operation = world.operate("get", NAME, get)
    world.run_for(10 * SECOND)
    assert operation.end_ns is None
    world.done(world.put(NAME), world.get(NAME))


def test_a_leader_cannot_read_what_a_replica_needs__it_heals_and_goes_on(
    sim: Any, world: Any
) -> None:
    damage(world, 1, 5, 6, 70)
    world.crash(3)
    empty = world.nodes[3].store
    empty._log.clear()
    empty.replace({})
    world.start(3)
    world.done(world.put(NAME))
    world.settle()
    assert all(empty.entry(0, index) is not None for index in range(1, COUNT + 2))
    sim.check(world, [NAME])


def test_a_restart_with_the_last_applied_entry_damaged__the_log_is_not_taken_for_empty(
    sim: Any, world: Any
) -> None:
    for vdev in (1, 2):
        store = world.nodes[vdev].store
        store.checkpoint()
        damage(world, vdev, max(store._log[0]))
        world.crash(vdev)
        world.start(vdev)
    world.settle()
    done = world.put(NAME)
    world.done(done)
    world.assert_durable(done)
    assert len(world.versions(NAME)) == COUNT + 1
    sim.check(world, [NAME])


@pytest.mark.parametrize("wanted", ["read", "write"])
def test_the_only_replica_left_lost_what_was_committed__it_waits_for_another(
    sim: Any, wanted: str
) -> None:
    """disks.toml, seed 90632: it led with the log that it could read, and dropped the rest."""
    world = sim.World(22, count=3)
    world.done(*(world.put(NAME, body=bytes([i])) for i in range(5)))
    world.settle()
    for vdev in (3, 1, 2):
        world.crash(vdev)
    store = world.nodes[3].store
    store.rot(0, 3)  # its view was not in a checkpoint: it has to read this entry
    world.start(3)
    world.until(lambda: world.table.row_leader(0) == 3)
    waits = world.get(NAME) if wanted == "read" else world.put(NAME)
    world.run_for(4 * SECOND)
    assert waits.end_ns is None
    assert store.span(0, 0) == (5, 5), "what is behind the hole may be committed, and stays"
    world.start(1)
    world.done(waits)
    world.start(2)
    world.settle()
    assert len(world.versions(NAME)) == 5 + (wanted == "write")
    sim.check(world, [NAME])


def test_all_others_have_not_got_what_is_behind_a_hole__it_is_dropped(sim: Any) -> None:
    world = sim.World(23, count=3)
    world.done(*(world.put(NAME, body=bytes([i])) for i in range(3)))
    world.settle()
    world.nodes[1].cut = True
    undone = world.put(NAME)
    world.until(lambda: world.nodes[1].store.span(0, 0) == (4, 4))  # prepared on the leader alone
    for vdev in (1, 2, 3):
        world.crash(vdev)
    world.nodes[1].store.rot(0, 2)
    world.nodes[1].cut = False
    for vdev in (1, 2, 3):
        world.start(vdev)
    world.done(undone, world.put(NAME))
    world.settle()
    assert len(world.versions(NAME)) == 5
    sim.check(world, [NAME])
