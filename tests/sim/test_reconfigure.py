"""What simulated operators do: one target at a time, and capacities that move rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from replicast.embed import Cluster
from replicast.flexhash.balance import Balancer
from replicast.flexhash.entries import VdevState
from replicast.flexhash.table import Table
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.faults import FaultPlan, Faults
from replicast.sim.reconfigure import healthy
from replicast.sim.run import one_world
from replicast.sim.workload_administer import Administer
from replicast.sim.workloads import Ledger, Seat, WorkloadPlan
from replicast.sim.world import World
from replicast.units import GIB, SECOND

from .whole import run


def in_one_world(look: Callable[[SimCluster], None]) -> Callable[[], None]:
    """A test of a formed cluster, of which nothing is left when its world ends."""

    def test() -> None:
        with one_world():
            formed(look)

    return test


def formed(look: Callable[[SimCluster], None]) -> None:
    shape = Shape(targets=4, vdevs=1, rows=16, clients=1, admins=1)
    cluster = SimCluster(World(1), shape)
    cluster.start()
    assert cluster.world.run_until(60 * SECOND, lambda: healthy(cluster))
    look(cluster)
    cluster.end()


def operate(cluster: SimCluster, kind: str, until: Callable[[], bool]) -> None:
    faults = Faults(cluster, [FaultPlan(kind=kind, every_seconds=1, seconds=20)], random.Random(5))
    assert cluster.world.run_until(cluster.world.time_ns + 60 * SECOND, until)
    faults.stop()


def table_of(cluster: SimCluster) -> Table:
    tables = [unit.daemon._client.table for unit in cluster.targets if unit.daemon is not None]
    return max((t for t in tables if t is not None), key=lambda t: t.generation)


@in_one_world
def test_healthy__not_while_a_target_is_gone_or_not_back_in_its_rows(cluster: SimCluster) -> None:
    world, unit = cluster.world, cluster.targets[0]
    cluster.kill_target(unit)
    assert not healthy(cluster)
    world.run_until(world.time_ns + 15 * SECOND)
    cluster.start_target(unit)
    assert world.run_until(world.time_ns + 20 * SECOND, lambda: unit.process.running)
    assert not healthy(cluster)
    assert world.run_until(world.time_ns + 60 * SECOND, lambda: healthy(cluster))


@in_one_world
def test_rolling__one_after_the_other_all_of_them(cluster: SimCluster) -> None:
    down: list[int] = []

    def all_restarted() -> bool:
        down.append(sum(not unit.process.running for unit in cluster.targets))
        return all(unit.process.starts == 2 for unit in cluster.targets) and healthy(cluster)

    operate(cluster, "rolling", all_restarted)
    assert max(down) == 1
    assert cluster.world.failures == []


@in_one_world
def test_resize__the_weight_follows_and_rows_move(cluster: SimCluster) -> None:
    before = table_of(cluster)

    def resized() -> bool:
        return any(unit.process.starts == 2 for unit in cluster.targets) and healthy(cluster)

    operate(cluster, "resize", resized)
    after = table_of(cluster)
    unit = next(unit for unit in cluster.targets if unit.process.starts == 2)
    (index,) = after.vdevs_of(unit.member.node_id)
    assert after.vdevs[index].weight == unit.drives[0].capacity_bytes // GIB
    assert after.vdevs[index].weight != before.vdevs[index].weight
    assert [after.members(row) for row in range(16)] != [before.members(row) for row in range(16)]


@in_one_world
def test_faults__none_begins_later_than_said(cluster: SimCluster) -> None:
    plan = FaultPlan(kind="clog", every_seconds=1, seconds=1, until_seconds=4)
    faults = Faults(cluster, [plan], random.Random(5))
    cluster.world.run_until(cluster.world.time_ns + 6 * SECOND)
    count = faults.count
    cluster.world.run_until(cluster.world.time_ns + 10 * SECOND)
    assert faults.count == count > 1


@pytest.mark.slow
def test_balance__leadership_moves_back_to_who_should_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    next_change, moved = Balancer.next_change, []

    def counted(self: Balancer, *given: Any) -> Any:
        change = next_change(self, *given)
        if change is not None:
            moved.append(len(change.rows))
        return change

    monkeypatch.setattr(Balancer, "next_change", counted)
    assert run("balance", 1).verdict == "ok"
    assert sum(moved) > 3


@in_one_world
def test_administer__drained_vdevs_leave_their_rows_and_all_come_back(cluster: SimCluster) -> None:
    world, drained = cluster.world, []
    stopped: list[bool] = []

    async def work(client: Cluster) -> None:
        seat = Seat(
            number=0,
            client=client,
            ledger=Ledger(world),
            rng=random.Random(1),
            chunk_size_bytes=65536,
            admins=1,
            stopped=lambda: bool(stopped),
            kill=lambda: None,
        )
        await Administer(seat, WorkloadPlan(kind="administer", think_ms=1000)).run()

    def one_drains() -> bool:
        table = table_of(cluster)
        drained[:] = [i for i, v in table.vdevs.items() if v.state == VdevState.DRAINING]
        return bool(drained)

    cluster.run_client(cluster.clients[0], work)
    assert world.run_until(world.time_ns + 30 * SECOND, one_drains)
    table = table_of(cluster)
    assert len(drained) == 1, "three hosts must be left for three copies"
    assert not any(drained[0] in table.members(row) for row in range(16))
    stopped.append(True)
    client = cluster.clients[0].process
    assert world.run_until(world.time_ns + 30 * SECOND, lambda: not client.running)
    assert not one_drains()
    assert world.failures == []
