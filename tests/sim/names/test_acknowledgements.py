"""Acknowledgements that decide nothing cost their row no step, and never keep it waiting.

Row 0 is that of the name "d": replicas 1, 2, 3, led by 1.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.entries import VdevState
from replicast.target.names.follower import Role
from replicast.target.names.leader import Leadership, Phase
from replicast.target.names.members import POLL_NS
from replicast.units import MS, SECOND
from replicast.wire.row_messages import RowStatus

from .targets import LIMITS

NAME = "d"


def listen(world: Any) -> list[bool]:
    """Of each acknowledgement that the leader hears: does a step of the row follow?"""
    service, heard = world.nodes[1].service, []
    receive = service.receive_peer

    def receive_peer(message: Any, sender: int, now_ns: int) -> None:
        receive(message, sender, now_ns)
        if isinstance(message, RowStatus):
            heard.append((0, 1) in service._dirty)

    service.receive_peer = receive_peer
    return heard


def test_acknowledgement__the_last_one_alone_is_followed_by_a_step(sim: Any) -> None:
    world = sim.World(11)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    assert world.table.name_replicas(0) == (1, 2, 3) and world.table.row_leader(0) == 1
    service = world.nodes[1].service
    assert 0 not in service._due.rows
    heard = listen(world)
    write = world.put(NAME)
    world.run_for(SECOND)
    assert write.end_ns is not None
    # Both have the entry; and then, both know that it is committed.
    assert heard == [False, True, False, True]
    assert 0 not in service._due.rows  # nothing is left to do


def idle_or_due(world: Any, node: Any) -> None:
    """At the end of a wake-up nothing is left lying that could be done, and what cannot is due."""
    service = node.service
    for row, lead in service._leaders.items():
        acting = lead.acting(world.now_ns) and not lead.replica.rebuilding
        if not acting or lead.phase != Phase.LEADING or lead.replica.finishing:
            continue
        due_ns = service._due.rows.get(row)
        if due_ns is not None and due_ns <= world.now_ns:
            continue  # more rows were due than a wake-up steps
        table = service.context.table
        enough = lead.copies >= table.policy.min_copies
        committed_index = lead.replica.committed_index
        assert not enough or reached(lead) <= committed_index
        waited_for = [f for f in lead.followers.values() if f.role == Role.IN_SYNC]
        for follower in waited_for:
            up = table.vdevs[follower.vdev_index].state == VdevState.UP
            unsent = follower.sent_index < lead.replica.log.last.index
            if follower.matched and up and unsent:
                assert follower.flight_bytes >= world.limits.replica_bytes_max
            if follower.flight or unsent:
                assert due_ns is not None and due_ns <= world.now_ns + POLL_NS
            if follower.committed_index < committed_index:
                assert due_ns is not None


def reached(lead: Leadership) -> int:
    followers = lead.followers.values()
    joining = [f.vdev_index for f in followers if f.role == Role.JOINING]
    indices = [lead.replica.log.durable_index]
    for vdev in {*lead._context.required(lead.row), *joining} - {lead.vdev_index}:
        follower = lead.followers.get(vdev)
        indices.append(0 if follower is None else follower.acknowledged_index)
    return min(indices)


@pytest.mark.parametrize("seed", range(12))
def test_rows__have_nothing_left_to_do_at_the_end_of_a_wake_up(
    sim: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    limits = replace(LIMITS, replica_bytes_max=rng.choice((1, 400, 1 << 20)))
    drain, checks = sim.World.drain, [0]

    def drain_and_look(world: Any, node: Any) -> None:
        drain(world, node)
        idle_or_due(world, node)
        checks[0] += 1

    monkeypatch.setattr(sim.World, "drain", drain_and_look)
    world = sim.World(seed, loss=rng.choice((0.0, 0.03)), limits=limits)
    for _ in range(40):
        world.run_for(rng.randrange(1, 30) * MS)
        for _ in range(rng.randrange(1, 6)):
            world.put(NAME, body=rng.randbytes(rng.choice((8, 300))))
        if rng.random() < 0.1:
            world.crash(rng.choice((1, 2, 3)), rng.choice((10, 400)) * MS)
    world.settle()
    sim.check(world, [NAME])
    assert checks[0] > 300


def test_wake_ups__an_acknowledgement_and_a_write_that_decide_nothing_are_none(sim: Any) -> None:
    """The leader of three replicas is told of its own write and of two acknowledgements; one of
    them decides."""
    world = sim.World(11)
    world.done(world.put(NAME))
    world.run_for(SECOND)
    service, told = world.nodes[1].service, []
    receive, stored = service.receive_peer, service.stored

    def receive_peer(message: Any, *rest: Any) -> None:
        receive(message, *rest)
        if isinstance(message, RowStatus):
            told.append(service.told)

    def store_ended(*arguments: Any) -> None:
        stored(*arguments)
        told.append(service.told)

    service.receive_peer, service.stored = receive_peer, store_ended
    write = world.put(NAME)
    world.until(lambda: write.end_ns is not None)
    assert told == [False, False, True]
