"""Faults that are aimed at leaders and busy rows hit them."""

from __future__ import annotations

import random

import pytest

from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.faults import Faults
from replicast.sim.leader_faults import LEADER_KINDS, leader
from replicast.sim.row_faults import one_left, one_stuck, rotten_left
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.units import SECOND

LATER = ("leader_late", "leader_deaf", "leader_lag")  # they wait for their moment


def started() -> SimCluster:
    cluster = SimCluster(World(1), Shape(targets=3, rows=4))
    cluster.start()
    cluster.world.run_until(5 * SECOND)
    return cluster


async def put(client) -> None:
    await client.create_bucket("bucket")
    await client.put("bucket", "name", b"value")


def test_leader__is_who_leads_a_row_with_names() -> None:
    with one_world():
        look_for_the_leader()


def look_for_the_leader() -> None:
    cluster = started()
    faults = Faults(cluster, [], random.Random(1))
    assert leader(faults) is None  # no row has a name
    cluster.run_client(cluster.clients[0], put)
    cluster.world.run_until(10 * SECOND)
    unit = leader(faults)
    assert unit is not None
    led = unit.daemon._service.names._leaders.values()
    assert any(leadership.replica.log.last.index == 1 for leadership in led)
    cluster.end()


@pytest.mark.parametrize("kind", LEADER_KINDS)
def test_kind__harms_the_leader_and_the_cluster_stays_whole(kind: str) -> None:
    with one_world():
        harm_the_leader(kind)


def harm_the_leader(kind: str) -> None:
    cluster = started()
    faults = Faults(cluster, [], random.Random(1))
    cluster.run_client(cluster.clients[0], put)
    cluster.world.run_until(10 * SECOND)
    victim = leader(faults)
    LEADER_KINDS[kind](faults, 30 * SECOND)
    assert _harmed(cluster, victim) or kind in LATER
    cluster.world.run_until(12 * SECOND)
    assert cluster.world.failures == []
    assert kind != "leader_alone" or not victim.process.running
    cluster.end()


def test_one_left__all_other_replicas_of_the_row_lose_their_power() -> None:
    with one_world():
        leave_one()


def leave_one() -> None:
    cluster = started()
    faults = Faults(cluster, [], random.Random(1))
    cluster.run_client(cluster.clients[0], put)
    cluster.world.run_until(10 * SECOND)
    one_left(faults, 30 * SECOND)
    cluster.world.run_until(12 * SECOND)
    left = [unit for unit in cluster.targets if unit.process.running]
    assert len(left) == 1 and not _harmed(cluster, left[0])
    faults.stop()
    cluster.calm()
    cluster.world.run_until(40 * SECOND)
    assert all(unit.process.running for unit in cluster.targets)
    assert cluster.world.failures == []
    cluster.end()


def test_one_stuck__one_drive_at_a_time_hangs() -> None:
    with one_world():
        hang_one()


def hang_one() -> None:
    cluster = started()
    faults = Faults(cluster, [], random.Random(1))
    cluster.run_client(cluster.clients[0], put)
    cluster.world.run_until(10 * SECOND)
    drives = [drive for unit in cluster.targets for drive in unit.drives]
    one_stuck(faults, 20 * SECOND)
    one_stuck(faults, 20 * SECOND)
    (hung,) = (drive for drive in drives if drive.stuck)
    cluster.world.run_until(19 * SECOND)
    assert hung.stuck, "long enough"
    cluster.world.run_until(32 * SECOND)
    assert not hung.stuck
    one_stuck(faults, 20 * SECOND)
    assert sum(drive.stuck for drive in drives) == 1, "the cluster has recovered"
    assert cluster.world.failures == []
    cluster.end()


async def put_often(client) -> None:
    await put(client)
    for _ in range(20):
        await client.put("bucket", "name", b"value")


def test_rotten_left__one_is_back_first_with_its_log_damaged() -> None:
    with one_world():
        leave_one_damaged()


def leave_one_damaged() -> None:
    cluster = started()
    faults = Faults(cluster, [], random.Random(1))
    cluster.run_client(cluster.clients[0], put_often)
    cluster.world.run_until(10 * SECOND)
    rotten_left(faults, 30 * SECOND)
    assert not any(unit.process.running for unit in cluster.targets)
    cluster.world.run_until(13 * SECOND)
    (left,) = (unit for unit in cluster.targets if unit.process.running)
    assert cluster.damage.hit(left.member.host)
    assert any(drive.found_damage for drive in left.drives)
    cluster.end()


def _harmed(cluster: SimCluster, victim) -> bool:
    others = [unit for unit in cluster.targets if unit is not victim]
    cut = [
        cluster.wires.network.weather(victim.process.host, other.process.host).cut
        for other in others
    ]
    return any(cut) or victim.process.loop.paused or not victim.process.running
