"""Whole clusters on virtual time: the same seed is the same run, and no run breaks the contract."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from replicast.curve import CurveHub
from replicast.gateway.objects import Objects
from replicast.native import PURE
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.target.chunks import ChunkService
from replicast.target.daemon import TargetDaemon
from replicast.target.names.service import NameService
from replicast.target.service import TargetService
from replicast.target.store.engine import StoreEngine
from replicast.transport.net import Reassembly
from replicast.transport.shell import UdpShell
from replicast.units import SECOND

from .canaries import CANARIES
from .whole import FOLDER, TESTS, run

SLOW = pytest.mark.slow


def fingerprint(hash_seed: str, folder: str) -> str:
    command = [sys.executable, "-m", "replicast.cli", "sim", "--test", FOLDER / "clog.toml"]
    done = subprocess.run(
        [*command, "--seed", "42"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[0]


def test_same_seed_same_trace__whatever_process_hash_seed_and_folder(tmp_path) -> None:
    assert fingerprint("1", str(tmp_path)) == fingerprint("77", "/")


def test_another_seed_another_trace() -> None:
    assert run("clog", 1, 2).fingerprint != run("clog", 2, 2).fingerprint


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, 1) for name in TESTS]
    + [pytest.param(name, seed, marks=SLOW) for name in TESTS for seed in range(2, 4)],
)
def test_run__keeps_the_contract(name: str, seed: int) -> None:
    result = run(name, seed)
    assert result.verdict == "ok", result.problems
    assert result.operations > 100 and result.faults > 0


def test_fault_points__change_what_happens_and_not_the_cluster() -> None:
    odd, plain = run("clog", 42, 1, buggify=True), run("clog", 42, 1, buggify=False)
    assert len(odd.points) > 5 and not plain.points
    assert odd.fingerprint != plain.fingerprint and odd.shape == plain.shape


def test_repair__puts_again_what_came_to_too_few_copies() -> None:
    """Members that were late for a moment left chunks short after `repair`."""
    result = run("attrition", 310, 4, buggify=True)
    assert result.verdict == "ok", result.problems


def test_client__is_open_when_its_first_operation_can_be_done() -> None:
    """A voter that had no grant yet gave it its table: everything was refused for a while."""
    assert run("clog", 202, 2, buggify=False).refused == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canary", "name", "seeds"),
    [
        ("acknowledge_before_fdatasync", "attrition", 3),
        ("take_over_without_asking", "attrition", 8),
        ("forgotten_answers", "clog", 8),
        ("listing_forgets_rows", "clog", 3),
    ],
)
def test_canary__is_seen(
    canary: str, name: str, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seeds are good without it: test_run__keeps_the_contract."""
    CANARIES[canary](monkeypatch)
    assert any(run(name, seed, buggify=False).verdict == "bad" for seed in range(1, seeds + 1))


def test_simulated_daemons_are_the_daemons() -> None:
    """Only clock, network, disk, chance and process life are simulated."""
    with one_world():
        look_at_daemons()
    assert Objects.__module__ == "replicast.gateway.objects"


def look_at_daemons() -> None:
    world = World(1)
    cluster = SimCluster(world, Shape(targets=3))
    cluster.start()
    world.run_until(5 * SECOND)
    for unit in cluster.targets:
        daemon = unit.daemon
        assert type(daemon) is TargetDaemon
        assert type(daemon._service) is TargetService
        assert type(daemon._service.names) is NameService
        assert type(daemon._service.chunks) is ChunkService
        assert type(daemon._udp) is UdpShell
        assert type(daemon._hub) is CurveHub
        assert type(daemon._buffers) is Reassembly
        assert (type(daemon._buffers).__module__ != "replicast.native._reassembly") == PURE
        for vdev in daemon._vdevs.by_id.values():
            assert type(vdev._engine) is StoreEngine
    assert world.failures == []
    cluster.end()
