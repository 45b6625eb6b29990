"""Logs that are cut early, and replicas that were away for too long: random histories under faults.

Replay one seed: SIM_SEED=7 pytest tests/sim/names/test_installs.py
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import pytest

from replicast.target.names.base import read_base
from replicast.units import MS
from replicast.wire.name_messages import IF_ABSENT, NO_VERSION, Condition

from .targets import LIMITS
from .test_histories import client

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(60))
SHORT = replace(
    LIMITS, retry_window_ns=400 * MS, max_skew_ns=20 * MS, cut_entries_min=4,
    piece_bytes_max=2000, rebuild_batch=2, install_idle_ns=300 * MS,
)  # fmt: skip
NAMES = ["a", "b", "bb"]
LITTER = {"a": "e", "b": "f", "bb": "d"}  # names of the same rows, whose versions are removed


def run_random(sim: Any, seed: int) -> Any:
    """Some names whose versions stay, others whose versions go, faults for a while; then peace."""
    rng = random.Random(seed + 2_000_003)
    world = sim.World(
        seed, count=rng.choice((3, 4, 4, 5)), loss=rng.choice((0.0, 0.02, 0.1)), limits=SHORT
    )
    world.until(lambda: world.table.generation > 0 and world.nodes[1].table is not None)
    removed: set[Any] = set()
    for _ in range(rng.randrange(60, 160)):
        world.run_for(rng.randrange(1, 60) * MS)
        name = rng.choice(NAMES)
        if rng.random() < 0.5:
            litter(world, rng, LITTER[name], removed)
        else:
            client(world, rng, name)
        if rng.random() < 0.12:
            disturb(world, rng)
    world.settle()
    sim.check(world, NAMES)
    check_litter(world, removed)
    return world


def litter(world: Any, rng: random.Random, name: str, removed: set[Any]) -> None:
    """Puts, removals of what was put, and puts that are refused."""
    there = [
        o.version
        for o in world.operations
        if o.name == name and o.kind == "put" and o.version is not None and o.version not in removed
    ]
    dice = rng.random()
    if there and dice < 0.5:
        version = rng.choice(there)
        removed.add(version)
        world.delete(name, version)
    elif there and dice < 0.7:
        world.put(name, Condition(kind=IF_ABSENT, version=NO_VERSION, etag=""))
    else:
        world.put(name, body=rng.randbytes(rng.choice((8, 1500))))


def check_litter(world: Any, removed: set[Any]) -> None:
    for name in LITTER.values():
        mine = [o for o in world.operations if o.name == name]
        gone = {o.message.version for o in mine if o.kind == "remove" and o.end_ns is not None}
        found = [summary.version for summary in world.versions(name)]
        assert len(set(found)) == len(found) and not gone & set(found)
        asked = {o.operation_id for o in mine if o.kind == "put"}
        assert all(s.operation_id in asked for s in world.versions(name))
        for o in mine:
            if o.kind == "put" and o.version is not None and o.version not in removed:
                assert o.version in found, "an acknowledged version is lost"


def disturb(world: Any, rng: random.Random) -> None:
    node = world.nodes[rng.choice(list(world.nodes))]
    dice = rng.random()
    if dice < 0.1:
        rotten = world.nodes[1]  # all damage is on one host
        row = rng.randrange(world.policy.row_count)
        held = rotten.store.held(row, 0, 8)
        for index in rng.sample(held, k=min(2, len(held))):
            rotten.store.rot(row, index)
        world.crash(1, rng.choice((10, 100, 1500)) * MS, lose_index=rng.random() < 0.7)
    elif dice < 0.6:
        down_ns = rng.choice((10, 100, 1500, 3000)) * MS
        world.crash(node.vdev, down_ns, lose_index=rng.random() < 0.3)
    elif dice < 0.75:
        node.cut = not node.cut
    elif dice < 0.85:
        node.deaf = not node.deaf
    elif dice < 0.93:
        world.lead(rng.randrange(world.policy.row_count), node.vdev)
    else:
        node.store.checkpoint()


def counted(world: Any, name: str) -> int:
    return int(sum(node.counters.get(name) for node in world.nodes.values()))


@pytest.mark.parametrize("seed", SEEDS)
def test_cut_logs__names_are_linearizable_and_durable(sim: Any, seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/names/test_installs.py")
    run_random(sim, seed)


def test_cut_logs__cuts_and_installs_happen(sim: Any) -> None:
    worlds = [run_random(sim, seed) for seed in range(8)]
    assert sum(counted(world, "row_cuts") for world in worlds) >= 20
    assert sum(counted(world, "row_installs") for world in worlds) >= 3


# -- stories; row 0 is that of "d" and "bb": replicas 1, 2, 3, led by 1 ----------------------


@pytest.fixture
def world(sim: Any) -> Any:
    """Row 0 has eight versions that stay."""
    made = sim.World(31, limits=SHORT)
    made.done(*(made.put("bb", body=bytes([i]) * 900) for i in range(8)))
    assert made.table.name_replicas(0) == (1, 2, 3) and made.table.row_leader(0) == 1
    return made


def base_of(world: Any, vdev: int) -> int:
    return read_base(world.nodes[vdev].store.base(0)).index


def litter_until(world: Any, wanted: Any) -> None:
    """Versions come and go until something is so."""
    for _ in range(200):
        if wanted():
            return
        put = world.put("d")
        world.done(put)
        world.done(world.delete("d", put.version))
        world.run_for(20 * MS)
    raise AssertionError("never happened")


def leave_until_cut(world: Any, vdev: int) -> None:
    """It is gone until its row's log begins behind the end of its own."""
    world.crash(vdev)
    end = max(world.nodes[vdev].store.held(0, 0, 1 << 20))
    litter_until(world, lambda: base_of(world, 1) > end)


def test_away__is_installed_and_follows(sim: Any, world: Any) -> None:
    leave_until_cut(world, 3)
    world.start(3)
    world.until(lambda: counted(world, "row_installs") == 1)
    world.settle()
    assert base_of(world, 3) >= base_of(world, 1) > 8
    assert len(world.nodes[3].store.held(0, 0, 8)) == 8, "what stays"
    sim.check(world, ["bb"])


def test_install__the_leader_dies_in_the_middle(sim: Any, world: Any) -> None:
    leave_until_cut(world, 3)
    world.start(3)

    def under_way() -> bool:
        replica = world.nodes[3].service._replicas.get((0, 3))
        found = replica is not None and replica.installation
        return bool(found) and found.durable_index > 0 and not found.finishing

    world.until(under_way)
    world.crash(1, 100 * MS)
    world.done(world.put("bb"))
    world.settle()
    assert counted(world, "row_installs") >= 1
    sim.check(world, ["bb"])


@pytest.mark.parametrize("times", [1, 3])
def test_install__who_is_installed_dies_in_the_middle(sim: Any, world: Any, times: int) -> None:
    leave_until_cut(world, 3)
    world.start(3)
    for _ in range(times):
        world.until(lambda: bool(world.nodes[3].store._staged.get(0)))
        world.crash(3)
        world.start(3)
    world.settle()
    assert counted(world, "row_installs") == 1
    sim.check(world, ["bb"])


def test_view_lost__an_entry_that_cannot_be_read_comes_from_another(sim: Any, world: Any) -> None:
    litter_until(world, lambda: base_of(world, 1) > 8)
    world.settle()
    world.nodes[1].store.rot(0, 5)
    world.crash(1, lose_index=True)
    world.start(1)
    world.settle()
    assert world.nodes[1].store.entry(0, 5) is not None
    assert counted(world, "row_installs") == 0
    sim.check(world, ["bb"])


def test_view_lost__nobody_has_the_entry_any_more__it_is_installed(sim: Any, world: Any) -> None:
    litter_until(world, lambda: min(base_of(world, v) for v in (1, 2, 3)) > 8)
    gone = world.versions("bb")[-1].version
    world.crash(3)
    world.done(world.delete("bb", gone))
    before = base_of(world, 1)
    litter_until(world, lambda: base_of(world, 1) > before and base_of(world, 2) > before)
    assert 1 not in world.nodes[1].store.held(0, 0, 1)
    world.nodes[3].store.rot(0, 1)
    world.nodes[3].store.checkpoint()
    world.nodes[3].store.crash(lose_index=True)
    world.start(3)
    world.settle()
    assert counted(world, "row_installs") >= 1
    assert gone not in [summary.version for summary in world.versions("bb")]
