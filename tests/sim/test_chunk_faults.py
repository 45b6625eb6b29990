"""Faults aimed at chunks on their way hit their moment; the workload that makes such moments does."""

from __future__ import annotations

import random
from collections import Counter

from replicast.embed import Cluster
from replicast.sim.chunk_faults import hit_power
from replicast.sim.cluster import Shape, SimCluster, Unit
from replicast.sim.faults import Faults
from replicast.sim.run import one_world
from replicast.sim.workload_together import Together
from replicast.sim.workloads import BUCKET, Ledger, Seat, WorkloadPlan
from replicast.sim.world import World
from replicast.units import KIB, SECOND

CHUNK_BYTES = 64 * KIB


def test_hit_power__waits_for_a_chunk_that_several_clients_put() -> None:
    with one_world():
        lose_power()


def lose_power() -> None:
    cluster = SimCluster(World(1), Shape(targets=4, clients=3, rows=4))
    world, ledger = cluster.world, Ledger(cluster.world)
    cluster.start()
    world.run_until(5 * SECOND)
    put_together(cluster, ledger, cluster.clients[0])
    assert world.run_until(20 * SECOND, lambda: ledger.done > 0)
    faults = Faults(cluster, [], random.Random(1))
    hit_power(faults, 30 * SECOND)
    world.run_until(world.time_ns + 3 * SECOND)
    assert ledger.done > 4 and _running(cluster) == 4, "one client alone put it"
    for unit in cluster.clients[1:]:
        put_together(cluster, ledger, unit)
    world.run_until(world.time_ns + 3 * SECOND)
    hit_power(faults, 30 * SECOND)
    world.run_until(world.time_ns + 2 * SECOND)
    assert _running(cluster) == 3
    shared = Counter(value[:CHUNK_BYTES] for value in ledger.values.values())
    assert {1, 3} <= set(shared.values()), "alone, then all the same chunk"
    assert world.failures == []
    cluster.end()


def put_together(cluster: SimCluster, ledger: Ledger, unit: Unit) -> None:
    """Start a client with this workload."""

    async def work(client: Cluster) -> None:
        seat = Seat(
            number=cluster.clients.index(unit),
            client=client,
            ledger=ledger,
            rng=random.Random(1),
            chunk_size_bytes=CHUNK_BYTES,
            admins=0,
            stopped=lambda: False,
            kill=lambda: None,
        )
        if unit is cluster.clients[0]:
            await client.create_bucket(BUCKET)
        await Together(seat, WorkloadPlan(kind="together", think_ms=100)).run()

    cluster.run_client(unit, work)


def _running(cluster: SimCluster) -> int:
    return sum(unit.process.running for unit in cluster.targets)
