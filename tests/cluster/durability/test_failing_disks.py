"""One disk of four fails in every way that can be had without special hardware; nobody notices.

The VDEV of t1 lies on an ext4 of 256 MiB in a file. What happens to it is what kernels do to disks:
ext4 remounts itself read-only after an error that it is told of, and fails every read and write
after a forced shutdown; somebody moves the folder, or fills the file system; a setting makes it slow.
Under each of them a load goes on without a single failure, `status` names the state of the VDEV
in a line of its own, and so does the metric; a restart with a sound disk mends it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from loop_disk import DISK_BYTES, LoopDisk

import replicast
from replicast.errors import NoSpace
from replicast.units import KIB, MIB

pytestmark = pytest.mark.slow

BALLAST_BYTES = 64 * MIB
PUTS, DELETES = 20, 8
PROGRESS_SECONDS = 90
SLOW_MS = 1300  # of each write: above what `slow` means, below what makes a VDEV `down`
SIZES = (0, 900, 12 * KIB, 40 * KIB, 300 * KIB, MIB + 40 * KIB)


@pytest.fixture(scope="module")
def loop_disk(require, tmp_path_factory) -> Iterator[LoopDisk]:
    """To be asked for before the cluster that uses it, which then ends first."""
    require("loopmount")
    disk = LoopDisk(tmp_path_factory.mktemp("loop"))
    yield disk
    disk.unmount()


@pytest.fixture
def brim_disks(require, tmp_path) -> Iterator[list[LoopDisk]]:
    """As loop_disk; one for each of three targets."""
    require("loopmount")
    disks: list[LoopDisk] = []
    try:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            disks.append(LoopDisk(folder))
        yield disks
    finally:
        for disk in disks:
            disk.unmount()


class Ward:
    """A cluster, the disk of its first target, and a load that no failure of it may reach."""

    def __init__(self, cluster, disk: LoopDisk, load) -> None:
        self.cluster, self.disk, self.load = cluster, disk, load
        self._vdev = cluster.data / "t1" / "v1"
        self._settings = cluster.data / "t1" / "target.toml"
        self._sound = self._settings.read_text()

    def admit(self) -> None:
        """Move the VDEV of t1 to the disk."""
        self.stop()
        shutil.move(self._vdev, self.disk.place / "v1")
        self._vdev.symlink_to(self.disk.place / "v1")
        self.start()

    def stop(self) -> None:
        self.cluster.kill("t1")

    def start(self) -> None:
        self.cluster.up()

    def make_slow(self) -> None:
        self.stop()
        vdevs = f'vdevs = "v1;write_delay_ms={SLOW_MS}"'
        self._settings.write_text(re.sub("^vdevs = .*$", vdevs, self._sound, flags=re.MULTILINE))
        self.cluster.daemons()["t1"].start()

    def vanish(self) -> None:
        (self.disk.place / "v1").rename(self.disk.place / "elsewhere")

    def appear(self) -> None:
        if (self.disk.place / "elsewhere").exists():
            (self.disk.place / "elsewhere").rename(self.disk.place / "v1")

    def heal(self) -> None:
        """A sound disk with the same content, and a restart; then the copies that are missing."""
        self.stop()
        self.disk.mount_again()
        self.appear()
        self._settings.write_text(self._sound)
        self.start()
        self.cluster.run("repair")
        self.cluster.wait_healthy()

    def vdev(self, report) -> dict:
        (found,) = (vdev for vdev in report["vdevs"] if vdev["target"] == "t1")
        return found

    def wait_state(self, state: str) -> None:
        """Until `status` names it, in a line of its own, and the metric does."""
        self.cluster.wait_status(lambda report: self._shows(report, state))

    def _shows(self, report, state: str) -> bool:
        vdev = self.vdev(report)
        line = f"VDEV {vdev['index']} of t1 is {state}"
        if vdev["state"] != state or (line in report["problems"]) != (state != "up"):
            return False
        address = self.cluster.daemons()["t1"].metrics
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        shown = re.findall(r"^replicast_vdev_state\{(.*)\} 1\.0$", text, re.MULTILINE)
        word = "ok" if state == "up" else state
        return len(shown) == 1 and f'state="{word}"' in shown[0]

    async def progress(self, puts: int = PUTS) -> None:
        """Until `puts` more were acknowledged."""
        goal, end = self.load.puts + puts, time.monotonic() + PROGRESS_SECONDS
        while self.load.puts < goal:
            assert not self.load.failures, self.load.failures
            assert time.monotonic() < end, f"no progress: {self.load.puts} of {goal} puts"
            await asyncio.sleep(0.02)

    async def under_load(self, *steps: tuple[Callable[[], None], str]) -> None:
        """After each step its state is seen, and the load goes on."""
        load = self.load
        load.stopping = False
        async with await replicast.connect(self.cluster.data) as client:
            running = asyncio.ensure_future(load.run(client))
            try:
                await self.progress()
                for harm, state in steps:
                    await asyncio.to_thread(harm)
                    await self.progress()
                    await asyncio.to_thread(self.wait_state, state)
                    await self.progress()
            finally:
                load.stopping = True
                await asyncio.wait({running})
            assert not load.failures, load.failures
            await load.check(client, whole=False)
        longest = max(pause.seconds for pause in load.longest.values())
        print(f"{load.summary()}, longest operation so far {longest:.1f} s, no failure")


@pytest.fixture(scope="module")
def ward(loop_disk, cluster_factory, make_load) -> Iterator[Ward]:
    cluster = cluster_factory(vdevs=1)
    cluster.run("bucket", "create", "load")
    made = Ward(cluster, loop_disk, make_load(21, SIZES))
    made.admit()
    yield made
    cluster.kill()  # before its disk is unmounted


def test_read_only__is_named_and_nobody_else_notices(ward):
    asyncio.run(ward.under_load((ward.disk.make_read_only, "read_only")))
    ward.heal()


def test_errors_of_everything__are_named_and_nobody_else_notices(ward):
    asyncio.run(ward.under_load((ward.disk.fail_everything, "faulted")))
    ward.heal()


def test_folder_that_vanishes__is_named_and_its_copies_are_good_when_it_is_back(ward):
    asyncio.run(ward.under_load((ward.vanish, "faulted")))
    ward.heal()
    ward.cluster.run("verify", "load/")


def test_slow__is_named_and_nobody_else_notices(ward):
    asyncio.run(ward.under_load((ward.make_slow, "slow")))
    ward.heal()


def test_full__is_named_and_takes_data_again_when_it_has_room(ward):
    asyncio.run(ward.under_load((ward.disk.fill, "full"), (ward.disk.empty, "up")))
    before = ward.vdev(ward.cluster.status())["used_bytes"]

    async def store() -> None:
        async with await replicast.connect(ward.cluster.data) as client:
            ward.load.stopping = False
            running = asyncio.ensure_future(ward.load.run(client))
            try:
                await asyncio.to_thread(
                    ward.cluster.wait_status, lambda r: ward.vdev(r)["used_bytes"] > before + MIB
                )
            finally:
                ward.load.stopping = True
                await asyncio.wait({running})
            assert not ward.load.failures, ward.load.failures
            await ward.load.check(client)

    asyncio.run(store())
    ward.cluster.run("repair")
    ward.cluster.run("verify", "load/")


def test_start__with_a_disk_that_refuses_everything__the_others_serve(
    require, tmp_path, make_cluster, data
):
    require("loopmount")
    cluster = make_cluster()
    cluster.run("bucket", "create", "kept")
    kept = {f"n{number}": data(MIB) for number in range(4)}
    disk = LoopDisk(tmp_path)
    try:
        cluster.kill("t1")
        vdev = cluster.data / "t1" / "v1"
        shutil.move(vdev, disk.place / "v1")
        vdev.symlink_to(disk.place / "v1")
        cluster.up()
        for name, body in kept.items():
            cluster.run("put", "-q", "-", f"kept/{name}", stdin=body)
        disk.fail_everything()
        cluster.kill("t1")
        cluster.up()
        states = [v["state"] for v in cluster.status()["vdevs"] if v["target"] == "t1"]
        assert sorted(states) == ["missing", "up"]
        for name, body in kept.items():
            assert cluster.out("cat", f"kept/{name}") == body
        cluster.kill("t1")
        disk.mount_again()
        cluster.up()
        cluster.wait_healthy()
        cluster.run("verify")
        cluster.kill()
    finally:
        disk.unmount()


class Brim:
    """A cluster each of whose three VDEVs has a small disk, with somebody else's file on it."""

    def __init__(self, cluster, disks: list[LoopDisk], data) -> None:
        self._cluster, self._disks, self._data = cluster, disks, data
        self._kept: dict[str, bytes] = {}

    def move_in(self) -> None:
        self._cluster.down()
        vdevs = sorted(self._cluster.data.glob("t*/v1"))
        for vdev, disk in zip(vdevs, self._disks, strict=True):
            shutil.move(vdev, disk.place / "v1")
            vdev.symlink_to(disk.place / "v1")
            disk.fill(BALLAST_BYTES)
        self._cluster.up()

    def wait_states(self, state: str) -> None:
        self._cluster.wait_status(lambda r: {vdev["state"] for vdev in r["vdevs"]} == {state})

    async def put(self, client, name: str, size: int) -> None:
        body = self._data(size)
        await client.put("brim", name, body)
        self._kept[name] = body

    async def put_until_full(self, client, kind: str, size: int) -> int:
        """How many were acknowledged before the first was refused."""
        for number in range(DISK_BYTES // size):
            try:
                await self.put(client, f"{kind}/{number}", size)
            except NoSpace:
                return number
        raise AssertionError("it was never full")

    async def check(self, client) -> None:
        for name, body in self._kept.items():
            assert await client.read("brim", name) == body, name

    async def run(self) -> None:
        async with await replicast.connect(self._cluster.data) as client:
            await client.create_bucket("brim")
            large = await self.put_until_full(client, "large", 2 * MIB)
            small = await self.put_until_full(client, "small", 16 * KIB)
            print(f"{large} x 2 MiB and {small} x 16 KiB were stored")
            assert large and small, "names have room of their own"
            await asyncio.to_thread(self.wait_states, "full")
            for name in list(self._kept)[:DELETES]:
                await client.delete("brim", name)
                del self._kept[name]
            await self.check(client)
            for disk in self._disks:
                disk.empty()
            await asyncio.to_thread(self.wait_states, "up")
            for number in range(DELETES):
                await self.put(client, f"again/{number}", 2 * MIB)
            await self.check(client)


def test_brim__puts_are_refused_deletes_accepted_and_puts_again_with_room(
    brim_disks, make_cluster, data
):
    cluster = make_cluster(targets=3, vdevs=1)
    brim = Brim(cluster, brim_disks, data)
    brim.move_in()
    asyncio.run(brim.run())
    cluster.run("repair", "brim/")
    cluster.run("verify", "brim/")
