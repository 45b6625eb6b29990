"""What runs in the simulator is what runs in production, and a seed is a run.

Three real targets and a real client are started once and compared, attribute by attribute, with
simulated ones: a class that is not the same must be a stand-in named here.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from replicast.embed import Cluster
from replicast.native import PURE
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.cores import places_of
from replicast.sim.run import one_world, run_test
from replicast.sim.world import World
from replicast.target.names.service import NameService
from replicast.units import KIB, SECOND

from .real import CHUNK_BYTES, ROWS, TARGETS, Places, exercise, real_places
from .whole import FOLDER, TESTS, named

# The class in production -> what stands in for it.
STAND_INS = {
    "replicast.runtime.Runtime": "replicast.sim.process.SimRuntime",
    "replicast.native._net.NetThread": "replicast.sim.sockets.SimNet",
    "replicast.transport.net_pure.NetThread": "replicast.sim.sockets.SimNet",
    "replicast.observe.Observatory": "replicast.sim.process.NoObservatory",
    "replicast.target.store.vdev.Vdev": "replicast.sim.vdev.SimVdev",
    "replicast.disks.RealDisk": "replicast.memory_disk.MemoryDisk",
    "replicast.disks.RealFile": "replicast.memory_disk.MemoryFile",
    "replicast.disks.DirectoryLock": "replicast.memory_disk.MemoryLock",
    "replicast.target.store.lmdb_checkpoint.LmdbCheckpoint": (
        "replicast.target.store.overlay.MemoryCheckpoint"
    ),
}
# For classes of Python, asyncio and ZeroMQ, and the parts of those above.
OTHERS = (
    "replicast.sim.answers.Answers",  # the witness: only looks
    "replicast.sim.channels.SimContext",
    "replicast.sim.channels.SimZmqSocket",
    "replicast.sim.loop.SimLoop",
    "replicast.native._simworld.SimTimer",
    "replicast.sim.turns_pure.SimTimer",
    "replicast.sim.sockets.SimSocket",
    "replicast.sim.vdev.Drive",
    "replicast.sim.vdev.DriveCheckpoint",  # of LMDB, on the drive
    "replicast.memory_disk.Inode",
    "replicast.memory_disk.Content",
)
STAND_IN_MODULES = ("replicast.sim.", "replicast.memory_disk.", "replicast.target.store.memory.")


def foreign(simulated: Places, real: Places) -> list[str]:
    """What is in the simulated process and neither the same nor a stand-in."""
    allowed = {*STAND_INS.values(), *OTHERS}
    found = []
    for path, kinds in sorted(simulated.items()):
        for kind in sorted(kinds):
            if kind in allowed:
                same = path not in real or any(STAND_INS.get(k) == kind for k in real[path])
            elif kind.startswith(STAND_IN_MODULES):
                same = False
            else:
                same = path not in real or kind in real[path]
            if not same:
                found.append(f"{path}: {kind}, really {sorted(real.get(path, ()))}")
    return found


def union(each: Iterable[Places]) -> Places:
    found: Places = {}
    for places in each:
        for path, kinds in places.items():
            found.setdefault(path, set()).update(kinds)
    return found


def simulated_places() -> tuple[Places, Places]:
    world = World(1)
    shape = Shape(
        targets=TARGETS,
        vdevs=1,
        clients=1,
        rows=ROWS,
        chunk_size_bytes=CHUNK_BYTES,
        negotiate_above_bytes=8 * KIB,
    )
    cluster = SimCluster(world, shape)
    cluster.start()
    done: list[bool] = []

    async def work(client: Cluster) -> None:
        await exercise(client)
        done.append(True)
        await asyncio.sleep(60)

    cluster.run_client(cluster.clients[0], work)
    assert world.run_until(60 * SECOND, lambda: bool(done or world.failures))
    assert world.failures == []
    places = union(places_of(unit.daemon) for unit in cluster.targets)
    client = places_of(cluster.clients[0].opened)
    cluster.end()
    return places, client


@pytest.fixture(scope="module")
def simulated() -> tuple[Places, Places]:
    with one_world():
        return simulated_places()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, Places]:
    return asyncio.run(real_places(tmp_path_factory.mktemp("real")))


def test_simulated_daemons_are_the_daemons(
    simulated: tuple[Places, Places], real: tuple[Places, Places]
) -> None:
    for here, there in zip(simulated, real, strict=True):
        assert foreign(here, there) == []
        common = set(here) & set(there)
        assert len(common) > 40 and len(common) > len(set(there)) * 3 // 4


def test_another_class_in_a_simulated_daemon__is_found(
    real: tuple[Places, Places], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherService(NameService):
        """Not the daemon's."""

    monkeypatch.setattr("replicast.target.daemon.NameService", OtherService)
    OtherService.__module__ = "replicast.target.other"
    with one_world():
        places, _ = simulated_places()
    assert any("OtherService" in line for line in foreign(places, real[0]))


def test_stand_in_at_the_wrong_place_or_unknown__is_found() -> None:
    real = {"._disk": {"replicast.disks.RealDisk"}}
    assert foreign({"._disk": {"replicast.memory_disk.MemoryDisk"}}, real) == []
    assert foreign({"._disk": {"replicast.sim.vdev.SimVdev"}}, real) != []
    assert foreign({"._new": {"replicast.sim.control.World"}}, real) != []


def test_compiled_modules_are_used__unless_pure(simulated: tuple[Places, Places]) -> None:
    from replicast.flexhash.build import place_cells
    from replicast.wire.codec import decode, encode
    from replicast.wire.header import pack_header, parse_header

    functions = (decode, encode, pack_header, parse_header, place_cells)
    buffers = [
        kind
        for places in simulated
        for kinds in places.values()
        for kind in kinds
        if kind.endswith(".Reassembly")
    ]
    assert len(buffers) == 2
    modules = [str(f.__module__) for f in functions] + buffers
    assert all(name.startswith("replicast.native._") != PURE for name in modules), modules


def test_trace__names_class_and_file_of_every_core() -> None:
    file = io.StringIO()
    result = run_test(named("clog", 2), 1, file)
    assert result.verdict == "ok", result.problems
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    cores = {line["process"]: line["cores"] for line in lines if line["what"] == "cores"}
    assert result.shape is not None
    assert len(cores) == result.shape.targets + result.shape.clients
    assert "replicast.target.daemon.TargetDaemon: replicast/target/daemon.py" in cores["t1"]
    assert "replicast.target.put.PutResponder: replicast/target/put.py" in cores["t1"]
    assert "replicast.gateway.objects.Objects: replicast/gateway/objects.py" in cores["c1"]
    assert any("(compiled)" in core for core in cores["t1"]) != PURE


SHORT_RUNS = """
import sys
from dataclasses import replace
from pathlib import Path
from replicast.sim.run import run_test
from replicast.sim.test_file import load_test
for file in sys.argv[1:]:
    result = run_test(replace(load_test(Path(file)), seconds=2.0), 42)
    print(Path(file).stem, result.verdict, result.fingerprint)
"""


def fingerprints(hash_seed: str, folder: Path) -> list[str]:
    files = [FOLDER / f"{name}.toml" for name in TESTS]
    done = subprocess.run(
        [sys.executable, "-c", SHORT_RUNS, *files],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_same_seed_same_trace__whatever_process_hash_seed_and_folder(tmp_path: Path) -> None:
    first = fingerprints("1", tmp_path)
    assert [line.split()[0] for line in first] == TESTS
    # Two may be the same for so short a time; a fingerprint that says nothing is the same for all.
    assert len({line.split()[2] for line in first}) > len(TESTS) // 2
    assert first == fingerprints("77", Path("/"))
