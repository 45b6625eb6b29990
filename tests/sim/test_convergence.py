"""The checker of convergence sees copies of a row that differ, in real clusters too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.embed import Cluster
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.convergence import Copy, copies_of, differences
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.target.names.state import META
from replicast.units import SECOND

ONE = Copy(3, "t1/1", 7, b"s", {1: b"a", 2: b"b"})
TWO = replace(ONE, replica="t2/2")


def test_equal_copies__do_not_differ() -> None:
    assert differences([ONE, TWO, replace(ONE, row=4, applied_index=9)]) == []
    assert differences([ONE, replace(TWO, log={1: None, 2: b"b"})]) == []
    assert differences([ONE, replace(TWO, log={2: b"b"}, base_index=1)]) == []


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(TWO, applied_index=6), "applied_index"),
        (replace(TWO, state=b"other"), "state"),
        (replace(TWO, log={1: b"a", 2: b"x"}), "entry 2"),
        (replace(TWO, log={1: b"a"}, lacks=(2,)), "t2/2 lacks entry 2"),
    ],
)
def test_copies_that_differ__are_named(other: Copy, what: str) -> None:
    (problem,) = differences([ONE, other])
    assert what in problem and "t1/1" in problem and "t2/2" in problem


def test_state_changed_behind_the_back_of_a_replica__is_seen() -> None:
    with one_world():
        look_at_replicas()


def look_at_replicas() -> None:
    world = World(3)
    cluster = SimCluster(world, Shape(targets=3, vdevs=1, clients=1, rows=16))
    cluster.start()
    done: list[bool] = []

    async def work(client: Cluster) -> None:
        await client.create_bucket("sim")
        for number in range(20):
            await client.put("sim", f"n{number}", b"value")
        done.append(True)

    cluster.run_client(cluster.clients[0], work)
    assert world.run_until(60 * SECOND, lambda: bool(done or world.failures))
    assert world.failures == []
    world.run_until(world.time_ns + SECOND)
    copies = copies_of(cluster)
    assert len(copies) == 48 and any(copy.applied_index for copy in copies)
    assert differences(copies) == []

    copy = next(copy for copy in copies if copy.applied_index)
    daemon = cluster.targets[0].daemon
    assert daemon is not None
    (vdev,) = daemon._service._vdevs.by_id.values()
    vdev.view_put(copy.row.to_bytes(4, "big") + META + b"R" + bytes(16), b"planted")
    assert [d for d in differences(copies_of(cluster)) if f"row {copy.row}: state" in d]
    cluster.end()
