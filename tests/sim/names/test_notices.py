"""When replicas of idle rows hear what is committed: on one beat for all rows, in one message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from replicast.target.names.leader import Leadership
from replicast.target.names.store import SendPeer
from replicast.units import MS, SECOND
from replicast.wire.row_messages import RowAppend

from .targets import LIMITS

BEAT_NS = 50 * MS
NAMES = ["d", "e", "f", "g"]  # of different rows


@pytest.fixture
def world(sim: Any) -> Any:
    world = sim.World(11, count=3, limits=replace(LIMITS, commit_notice_ns=BEAT_NS))
    world.done(*(world.put(name) for name in NAMES))
    world.run_for(SECOND)
    return world


def rows_led(world: Any) -> tuple[int, list[str]]:
    """A target and the names of the rows that it leads, two or more."""
    for vdev in world.nodes:
        names = [n for row, n in enumerate(NAMES) if world.table.row_leader(row) == vdev]
        if len(names) > 1:
            return vdev, names
    raise AssertionError("four rows on three targets")


@pytest.fixture
def notices(world: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """(when, to whom, of how many rows), of each message that brings no entry."""
    sent: list[tuple[int, int, int]] = []
    peer = world._peer

    def look(node: Any, event: SendPeer) -> None:
        if isinstance(event.message, RowAppend) and not any(
            item.entries for item in event.message.items
        ):
            sent.append((world.now_ns, event.node_id, len(event.message.items)))
        peer(node, event)

    monkeypatch.setattr(world, "_peer", look)
    yield sent


def test_notices__of_two_rows_go_in_one_message(world: Any, notices: list[Any]) -> None:
    _, names = rows_led(world)
    world.run((world.now_ns // BEAT_NS + 1) * BEAT_NS + MS)
    writes = []
    for name in names[:2]:
        writes.append(world.put(name))
        world.run_for(17 * MS)
    world.done(*writes)
    decided_ns = [write.end_ns for write in writes]
    assert decided_ns[0] // BEAT_NS == decided_ns[1] // BEAT_NS
    world.run_for(SECOND)
    due_ns = (decided_ns[0] // BEAT_NS + 2) * BEAT_NS
    assert [(when, rows) for when, _, rows in notices] == [(due_ns, 2), (due_ns, 2)]
    assert len({node_id for _, node_id, _ in notices}) == 2


def test_notices__a_row_that_waits_for_its_own_is_left_alone(
    world: Any, notices: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    vdev, (name, *_) = rows_led(world)
    lead = world.nodes[vdev].service._leaders[NAMES.index(name)]
    steps: list[int] = []
    step = Leadership.step

    def count(self: Leadership, now_ns: int) -> int | None:
        if self is lead:
            steps.append(now_ns)
        return step(self, now_ns)

    monkeypatch.setattr(Leadership, "step", count)
    world.done(world.put(name))
    world.run_for(SECOND)
    assert notices[0][0] == notices[1][0]
    due_ns = notices[0][0]
    decided_ns = max(when for when in steps if when < due_ns)
    assert due_ns - decided_ns >= BEAT_NS  # not looked after meanwhile
    assert len([when for when in steps if when > due_ns]) == 1  # both have heard it
    assert all(f.committed_index == lead.replica.committed_index for f in lead.followers.values())


def test_notices__of_a_busy_row_are_spared(world: Any, notices: list[Any]) -> None:
    """What is sent anyway tells it."""
    name = NAMES[0]
    for _ in range(30):
        world.done(world.put(name))
    assert not notices
    last_ns = world.now_ns
    world.run_for(SECOND)
    assert len(notices) == 2
    assert all(when <= last_ns + 2 * BEAT_NS for when, _, _ in notices)


def test_notices__are_repeated_until_they_are_heard(world: Any, notices: list[Any]) -> None:
    vdev, (name, *_) = rows_led(world)
    world.done(world.put(name))
    row, other = NAMES.index(name), next(v for v in world.nodes if v != vdev)
    lead = world.nodes[vdev].service._leaders[row]
    world.nodes[other].cut = True
    world.run_for(140 * MS)  # silence that is no reason to remove it
    assert lead.followers[other].committed_index < lead.replica.committed_index
    world.nodes[other].cut = False
    world.run_for(3 * BEAT_NS)
    assert lead.followers[other].committed_index == lead.replica.committed_index


def test_notices__without_a_beat_go_at_once(sim: Any) -> None:
    world = sim.World(11, count=3, limits=replace(LIMITS, commit_notice_ns=0))
    world.done(world.put(NAMES[0]))
    world.run_for(MS * 100)
    (lead,) = (n.service._leaders[0] for n in world.nodes.values() if 0 in n.service._leaders)
    assert all(f.committed_index == lead.replica.committed_index for f in lead.followers.values())
