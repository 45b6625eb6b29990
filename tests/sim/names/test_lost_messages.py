"""Entries or acknowledgements that are lost between targets: said again soon, and not too often.

Row 0 is that of the name "d": replicas 1, 2, 3, led by 1. Its leader does not ask where a replica
stands within these tests: `resend_ns` is long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from replicast.target.names.follower import AGAIN_NS
from replicast.target.names.members import POLL_NS
from replicast.target.names.store import SendPeer
from replicast.units import MS, SECOND
from replicast.wire.row_messages import RowAppend, RowStatus

from .targets import LIMITS

NAME = "d"
PATIENT = replace(LIMITS, resend_ns=30 * SECOND, silence_ns=60 * SECOND)


@pytest.fixture
def world(sim: Any) -> Any:
    world = sim.World(11, count=3, limits=PATIENT)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    assert world.table.name_replicas(0) == (1, 2, 3) and world.table.row_leader(0) == 1
    return world


def watch(world: Any, loses: Callable[[Any, SendPeer], bool]) -> list[SendPeer]:
    """What targets send each other from now; what `loses` says so does not arrive."""
    sent: list[SendPeer] = []
    peer = world._peer

    def look(node: Any, event: SendPeer) -> None:
        sent.append(event)
        if not loses(node, event):
            peer(node, event)

    world._peer = look
    return sent


def with_entries(event: SendPeer) -> bool:
    items = event.message.items if isinstance(event.message, RowAppend) else ()
    return any(item.entries for item in items)


def test_lost_entries__go_again_the_same_way(world: Any) -> None:
    lost: set[int] = set()

    def loses(_: Any, event: SendPeer) -> bool:
        first = with_entries(event) and event.node_id not in lost
        lost.update([event.node_id] if first else [])
        return first

    sent = watch(world, loses)
    began_ns = world.now_ns
    write = world.put(NAME)
    world.done(write)
    assert write.end_ns - began_ns < AGAIN_NS + 2 * POLL_NS
    world.run_for(SECOND)
    appended = [event for event in sent if with_entries(event)]
    assert [event.node_id for event in appended] == [102, 103, 102, 103]
    assert not any(event.again for event in appended)


def test_lost_entries__that_are_lost_again_go_another_way(world: Any) -> None:
    sent = watch(world, lambda _, event: with_entries(event) and not event.again)
    began_ns = world.now_ns
    write = world.put(NAME)
    world.done(write)
    assert write.end_ns - began_ns < 2 * AGAIN_NS + 2 * POLL_NS
    world.run_for(SECOND)
    assert [event.node_id for event in sent if event.again] == [102, 103]
    world.done(world.put(NAME))
    assert [event.node_id for event in sent if event.again] == [102, 103] * 2, "as the first"


def test_lost_entries__of_which_none_came_for_long_go_another_way(sim: Any) -> None:
    """The usual way may be of no use for good, as where the other one has started anew and knows
    no key; asking where it stands goes another way and says nothing of that one."""
    world = sim.World(11, count=3)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    cut = [True]
    watch(world, lambda _, event: with_entries(event) and (bool(cut) or not event.again))
    write = world.put(NAME)
    world.run_for(5 * LIMITS.resend_ns)
    assert write.end_ns is None
    cut.clear()
    began_ns = world.now_ns
    world.done(write)
    assert world.now_ns - began_ns < 2 * LIMITS.resend_ns


def test_lost_acknowledgement__is_repeated_when_the_entries_come_again(world: Any) -> None:
    lost: list[SendPeer] = []

    def loses(node: Any, event: SendPeer) -> bool:
        if isinstance(event.message, RowStatus) and node.vdev == 3 and not lost:
            lost.append(event)
            return True
        return False

    sent = watch(world, loses)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    assert lost and not any(event.again for event in sent)
    follower = world.nodes[1].service._leaders[0].followers[3]
    assert not follower.flight and follower.flight_bytes == 0
    appended = [event.node_id for event in sent if with_entries(event)]
    assert appended == [102, 103, 103], "the entry was written twice at nobody"


def test_lost_notice__goes_again(sim: Any) -> None:
    world = sim.World(11, count=3, limits=replace(LIMITS, resend_ns=300 * MS))
    world.done(world.put(NAME))
    world.run_for(SECOND)

    def empty(event: SendPeer) -> bool:
        return isinstance(event.message, RowAppend) and not with_entries(event)

    sent = watch(world, lambda _, event: empty(event) and not event.again)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    assert [e.again for e in sent if empty(e) and e.node_id == 102] == [False, True]
    followers = world.nodes[1].service._leaders[0].followers.values()
    assert {f.committed_index for f in followers} == {2}


def test_silence__is_answered_ever_more_rarely(world: Any) -> None:
    """A replica with a slow disk is not sent the same entry all the time."""
    sent = watch(world, lambda node, event: node.vdev == 3 or event.node_id == 103)
    world.put(NAME)
    world.run_for(4 * SECOND)
    again = [event for event in sent if event.again]
    assert 5 <= len(again) <= 8  # after 50, 100, 200, ... ms


def test_slow_acknowledgements__are_what_is_waited_for(world: Any) -> None:
    """Three times what they took lately: entries to a slow disk do not go twice."""
    follower = world.nodes[1].service._leaders[0].followers[3]
    now_ns, index = world.now_ns, follower.acknowledged_index
    for step in range(40):
        follower.flight.append((index + step + 1, 100))
        follower.flight_since_ns = now_ns
        now_ns += 80 * MS
        follower.acknowledge(index + step + 1, now_ns)
    follower.flight.append((index + 41, 100))
    assert not follower.silent(now_ns + 200 * MS)
    assert follower.silent(now_ns + 240 * MS)
    assert not follower.silent(now_ns + 300 * MS), "said just now"
