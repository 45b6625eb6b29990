"""The disk faults themselves: each really harms, and a run may destroy data of one host only."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replicast.hashing import HashAlgorithm, content_hash
from replicast.memory_disk import MemoryDisk
from replicast.sim.ailing import READS, SYNCS, WRITES, ailing
from replicast.sim.cluster import Shape, SimCluster
from replicast.sim.damage import Damage, Unfair
from replicast.sim.disk_faults import DISK_KINDS, bit_rot, empty_disk, header_rot
from replicast.sim.faults import FaultPlan, Faults
from replicast.sim.run import one_world
from replicast.sim.vdev import Drive, SimVdev, open_sim_vdev
from replicast.sim.world import World
from replicast.target.store.errors import Outcome, ReadError, VdevStatus
from replicast.target.store.record import Chunk
from replicast.units import MIB, SECOND

CLUSTER_ID = b"c" * 16
FILE = Path("/f")


class Bench:
    """One drive and the engine on it, in a loop of its own."""

    def __init__(self) -> None:
        self.cluster = SimCluster(World(7), Shape(targets=3, vdevs=1))
        self.world = self.cluster.world
        self.drive = Drive(random.Random(1), 64 * MIB)
        self.drive.format(CLUSTER_ID)
        self.process = self.cluster.targets[0].process
        self.vdev = self.start()

    def start(self) -> SimVdev:
        """As after kill -9."""
        self.process.kill()
        self.drive.disk.process_death()
        opened: list[SimVdev] = []

        async def main(runtime: object) -> None:
            assert self.process.loop is not None
            opened.append(open_sim_vdev(self.drive, CLUSTER_ID, self.process.loop))
            await asyncio.Event().wait()  # with the process its VDEV would stand still

        self.process.start(main)
        self.world.run_until(self.world.time_ns + SECOND)
        assert opened, self.world.failures
        return opened[0]

    def put(self, data: bytes) -> bytes:
        """The chid; what became of it is in `outcomes`."""
        chid = content_hash(HashAlgorithm.BLAKE3_256, data)
        record = Chunk(chid, HashAlgorithm.BLAKE3_256, data)
        self.outcomes: list[Outcome] = []

        def done(outcomes: list[tuple[object, Outcome]]) -> None:
            self.outcomes += [outcome for _, outcome in outcomes]

        self.vdev.submit([record], None, done)
        self.world.run_until(self.world.time_ns + SECOND)
        return chid


@pytest.fixture
def bench():
    with one_world():
        yield Bench()


# -- errors reach the engine, and turn into a named state ---------------------------------


@pytest.mark.parametrize(
    ("operations", "number", "status"),
    [
        (WRITES, errno.EIO, VdevStatus.FAULTED),
        (SYNCS, errno.EIO, VdevStatus.FAULTED),
        (WRITES, errno.EROFS, VdevStatus.READ_ONLY),
    ],
)
def test_failing_disk__names_the_state_of_its_vdev(bench, operations, number, status) -> None:
    bench.put(b"good" * 999)  # the segment is there
    assert bench.outcomes == [Outcome.STORED]
    illness = ailing(bench.drive.disk).fail(operations, number, 1.0)
    chid = bench.put(b"never" * 999)
    assert bench.outcomes not in ([], [Outcome.STORED])
    assert bench.vdev.status == status and not bench.vdev.has(chid)
    illness.cure()
    assert bench.start().status == VdevStatus.OK


def test_failed_sync__what_it_was_to_write_is_not_there_after_a_crash(bench) -> None:
    """Though the page cache shows it, as Linux does."""
    kept = bench.put(b"good" * 999)
    illness = ailing(bench.drive.disk).fail(SYNCS, errno.EIO, 1.0)
    gone = bench.put(b"never" * 999)
    illness.cure()
    vdev = bench.start()
    assert vdev.has(kept) and not vdev.has(gone)


def test_read_error__is_told(bench) -> None:
    chid = bench.put(b"good" * 999)
    ailing(bench.drive.disk).fail(READS, errno.EIO, 1.0)
    with pytest.raises(ReadError):
        bench.vdev.read_chunk(chid)


def test_full_disk__refuses_until_it_has_room(bench) -> None:
    bench.put(b"good" * 999)
    illness = ailing(bench.drive.disk).fill()
    assert bench.drive.disk.free_bytes(FILE) == 0
    bench.vdev._engine.measure()
    bench.put(bytes(10 * MIB))
    assert bench.outcomes == [Outcome.NO_SPACE]
    illness.cure()
    bench.vdev._engine.measure()
    bench.put(bytes(10 * MIB))
    assert bench.outcomes == [Outcome.STORED]


def test_stuck_drive__does_nothing_until_it_moves(bench) -> None:
    bench.drive.stick()
    bench.put(b"late" * 999)
    now_ns = bench.process.clock.now_ns()
    assert bench.outcomes == [] and not bench.vdev.vouch(now_ns + 10 * SECOND)
    bench.drive.unstick()
    bench.world.run_until(bench.world.time_ns + SECOND)
    assert bench.outcomes == [Outcome.STORED]


# -- rot ----------------------------------------------------------------------------------


def test_flipped_bit__is_read_and_survives_a_crash() -> None:
    disk = MemoryDisk()
    file = disk.open(FILE, create=True)
    file.write(0, [b"\x00" * 8])
    file.sync()
    disk.sync_directory(FILE.parent)
    disk.flip_bit(FILE, 3, 4)
    assert file.read(0, 8) == b"\x00\x00\x00\x10\x00\x00\x00\x00"
    disk.power_loss()
    assert disk.open(FILE).read(3, 1) == b"\x10"


def test_flipped_read__is_right_on_the_disk() -> None:
    disk = MemoryDisk()
    file = disk.open(FILE, create=True)
    file.write(0, [bytes(100)])
    illness = ailing(disk).flip(1.0)
    found = file.read(0, 100)
    assert sum(byte.bit_count() for byte in found) == 1
    illness.cure()
    assert file.read(0, 100) == bytes(100)


def test_lost_index__is_rebuilt_from_the_log(bench) -> None:
    chid = bench.put(b"good" * 999)
    bench.vdev._engine.checkpoint()
    bench.drive.lose_index()
    assert bench.drive.checkpoint.get(b"c") is None
    assert bench.start().has(chid)


# -- fairness -----------------------------------------------------------------------------


def test_damage__of_a_second_host_is_refused() -> None:
    damage = Damage(World(1))
    damage.claim("h1", "bit_rot")
    damage.claim("h1", "empty_disk")
    with pytest.raises(Unfair, match="h1 has lost data already"):
        damage.claim("h2", "bit_rot")
    assert damage.hit("h1") and not damage.hit("h2")


@pytest.mark.parametrize("kind", [bit_rot, header_rot, empty_disk])
def test_destroying_kinds__stay_on_one_host(
    kind: Callable[[Faults, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    harmed: list[MemoryDisk] = []
    flip = MemoryDisk.flip_bit

    def flipping(disk: MemoryDisk, *where: Any) -> None:
        harmed.append(disk)
        flip(disk, *where)

    monkeypatch.setattr(MemoryDisk, "flip_bit", flipping)
    with one_world():
        destroy(kind, harmed)


def destroy(kind: Callable[[Faults, int], None], harmed: list[MemoryDisk]) -> None:
    """In a function of its own: nothing of the world outlives one_world()."""
    cluster = SimCluster(World(3), Shape(targets=5, vdevs=2))
    disks = {u.member.host: [drive.disk for drive in u.drives] for u in cluster.targets}
    cluster.start()
    cluster.world.run_until(5 * SECOND)
    faults = Faults(cluster, [], random.Random(1))
    for _ in range(6):
        kind(faults, SECOND)
        cluster.world.run_until(cluster.world.time_ns + 5 * SECOND)
    for unit in cluster.targets:
        now = [drive.disk for drive in unit.drives]
        replaced = any(a is not b for a, b in zip(now, disks[unit.member.host], strict=True))
        flipped = any(a is b for a in harmed for b in (*now, *disks[unit.member.host]))
        assert (replaced or flipped) == (unit.member.host == cluster.damage.host)
    assert cluster.world.failures == []
    cluster.end()


def test_every_kind__harms_a_running_cluster_and_nothing_escapes() -> None:
    """Some of each, then the operator has everything running again."""
    with one_world():
        harm_and_mend()


def harm_and_mend() -> None:
    cluster = SimCluster(World(5), Shape(targets=4, vdevs=2))
    cluster.start()
    cluster.world.run_until(5 * SECOND)
    plans = [FaultPlan(kind=kind, every_seconds=5, seconds=4) for kind in DISK_KINDS]
    faults = Faults(cluster, plans, random.Random(2))
    cluster.world.run_until(20 * SECOND)
    faults.stop()
    cluster.calm()
    cluster.world.run_until(50 * SECOND)
    assert cluster.world.failures == [] and faults.count > len(plans)
    for unit in cluster.targets:
        assert unit.process.running and unit.daemon is not None and unit.daemon._ready
        statuses = [vdev.status for vdev in unit.daemon._vdevs.by_id.values()]
        assert set(statuses) == {VdevStatus.OK}
    cluster.end()
