"""The checker of memory and messages reports what is planted, and what real daemons hold is seen."""

from __future__ import annotations

import asyncio

from replicast.embed import Cluster
from replicast.sim.bounds import IDLE_MESSAGES, PROCESS_MESSAGES_MAX, Bounds
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.gauges import Gauge
from replicast.sim.meter import Meter, gauges_of
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.units import SECOND

PUTS = Gauge("puts", 3, 10, empties=True)
CACHE = Gauge("answers", 10, 10)


def test_sizes_within_their_bounds__are_ok() -> None:
    bounds = Bounds(10.0)
    assert bounds.looked("t1", [PUTS, CACHE], IDLE_MESSAGES + 50) is None
    assert bounds.largest == {"puts": 3, "answers": 10}
    assert bounds.verdict(5, 0) == ("ok", [])


def test_nothing_looked_at__is_unknown() -> None:
    assert Bounds().verdict(5, 0)[0] == "unknown"


def test_size_beyond_its_bound__is_bad() -> None:
    bounds = Bounds()
    assert "answers: 11, at most 10" in str(bounds.looked("t1", [CACHE._replace(size=11)], 0))
    assert bounds.verdict(1, 0)[0] == "bad"


def test_storm_of_one_process__is_bad() -> None:
    bounds = Bounds()
    assert "in a second" in str(bounds.looked("t1", [], PROCESS_MESSAGES_MAX + 1))


def test_messages_beyond_the_factor__are_bad() -> None:
    bounds = Bounds(10.0)
    bounds.looked("t1", [], IDLE_MESSAGES + 51)
    assert bounds.verdict(5, 1_000)[0] == "ok"  # they make rows change hands
    verdict, problems = bounds.verdict(5, 0)
    assert verdict == "bad" and "messages an operation" in problems[0]


def test_leftovers__are_told_of_what_should_be_empty_only() -> None:
    bounds = Bounds()
    assert bounds.left("t1", [CACHE]) is None
    assert bounds.left("t1", [CACHE, PUTS]) == "t1: 3 left of puts"


def test_daemons__hold_nothing_when_idle_and_planted_leaks_are_seen() -> None:
    with one_world():
        look_at_cluster()


def look_at_cluster() -> None:
    world = World(4)
    cluster = SimCluster(world, Shape(targets=3, vdevs=1, clients=1, rows=16))
    meter = Meter(cluster, 100.0)
    cluster.start()
    done: list[bool] = []

    async def work(client: Cluster) -> None:
        await client.create_bucket("sim")
        meter.start()
        for number in range(10):
            await client.put("sim", f"n{number}", bytes([number]) * 100_000)
            await client.read("sim", f"n{number}")
        done.append(True)
        await asyncio.sleep(600)  # with the program its memory would go

    cluster.run_client(cluster.clients[0], work)
    assert world.run_until(60 * SECOND, lambda: bool(done or world.failures))
    world.run_until(world.time_ns + 5 * SECOND)
    assert world.failures == [] and meter.left() == []
    assert meter.verdict(20, 0) == ("ok", []) and meter.bounds.messages > 200
    assert meter.bounds.largest["payload buffer bytes"] > 0
    names = {gauge.name for unit in cluster.targets for gauge in gauges_of(unit)}
    assert {"parked names", "puts", "sends", "commands of clients", "transfers"} <= names
    assert "chunk operations" in {gauge.name for gauge in gauges_of(cluster.clients[0])}

    daemon = cluster.targets[0].daemon
    assert daemon is not None
    daemon._service.names._parking._count = 5
    assert meter.left() == ["t1: 5 left of parked names"]
    daemon._service.names._parking._count = 1 << 30
    world.run_until(world.time_ns + SECOND)
    assert "t1: parked names" in world.failures[0]
    cluster.end()
