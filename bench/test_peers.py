"""bench/peers.py: what needs no Ceph of it; and, where Ceph is installed, all of it, tiny."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from ceph_cluster import PACKAGES, lacking
from ceph_load import Load as CephLoad
from ceph_settings import (
    CAPS,
    COPIES,
    HOST,
    Place,
    conf_text,
    daemon_command,
    keyring_text,
    new_key,
)
from figures import Figures, Sample
from load_jobs import Objects, Tally
from loopback_cluster import LoopbackCluster
from native_client import Limits
from native_load import Load as NativeLoad
from native_pair import LoadFailed, connect
from peers_table import CPU_AT_REST, OTHERS, peers_table
from s3_endpoints import cluster_endpoint

from replicast.errors import Unavailable
from replicast.units import KIB, MIB

FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "peers.py"
SECONDS = 300
PLACE = Place(Path("/somewhere"), "the-fsid", 1111, 2222)
ROW_CELLS = 11


class Refused(Exception):
    """What a pool's calls raise."""


class FakePool:
    """Like rados.Ioctx; on demand it answers other bytes, and stores nothing."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.wrong = self.refusing = False

    def write_full(self, key: str, data: bytes) -> None:
        if self.refusing:
            raise Refused("no")
        assert key not in self.objects
        self.objects[key] = data

    def read(self, key: str, length: int) -> bytes:
        found = self.objects[key][:length]
        return bytes(len(found)) if self.wrong else found


def job(do: str, **changes: object) -> dict[str, object]:
    return {"do": do, "size": 100, "count": 40, "clients": 4, "seconds": 60.0} | changes


def test_conf__three_copies_on_loopback_and_nothing_outside_its_folder() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string(conf_text(PLACE))
    settings = dict(parser["global"])
    assert settings["osd pool default size"] == settings["osd pool default min size"] == "3"
    assert settings["public addr"] == settings["cluster addr"] == HOST == "127.0.0.1"
    assert settings["mon host"] == "[v2:127.0.0.1:1111/0]"
    assert settings["rgw frontends"] == "beast endpoint=127.0.0.1:2222 tcp_nodelay=1"
    assert not [key for key in settings if key.startswith("auth") and "none" in settings[key]]
    paths = [value for value in settings.values() if value.startswith("/")]
    assert len(paths) >= 8
    assert all(Path(path).is_relative_to(PLACE.folder) for path in paths)


def test_new_key__as_ceph_authtool_makes_them() -> None:
    first, second = (base64.b64decode(new_key()) for _ in range(2))
    kind, _, _, size = struct.unpack_from("<HIIH", first)
    assert (kind, size, len(first)) == (1, 16, 28)
    assert first[12:] != second[12:]


def test_keyring__has_all_daemons_and_other_keys_for_each() -> None:
    text = keyring_text(CAPS)
    keys = [line for line in text.splitlines() if line.startswith("\tkey = ")]
    assert len(set(keys)) == len(CAPS)
    wanted = {"mon.", "mgr.x", "client.admin", "client.rgw", *(f"osd.{n}" for n in range(COPIES))}
    assert {line.strip("[]") for line in text.splitlines() if line[0] == "["} == wanted
    assert '\tcaps mon = "allow profile osd"' in text.splitlines()


@pytest.mark.parametrize(
    ("daemon", "command"),
    [
        ("mon.a", "ceph-mon -f -c /somewhere/ceph.conf -i a"),
        ("osd.2", "ceph-osd -f -c /somewhere/ceph.conf -i 2"),
        ("client.rgw", "radosgw -f -c /somewhere/ceph.conf -n client.rgw"),
    ],
)
def test_daemon_command(daemon: str, command: str) -> None:
    assert " ".join(daemon_command(PLACE, daemon)) == command


def test_without_ceph__one_line_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=os.environ | {"PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and not done.stdout
    assert line.endswith(f"apt-get install -y --no-install-recommends {PACKAGES}")


def test_ceph_load__puts_each_object_once_and_reads_what_was_put() -> None:
    pool = FakePool()
    load = CephLoad(pool, Refused)
    answer = load.prepare(job("put")).go()
    assert (len(answer["taken"]), answer["errors"]) == (40, 0)
    assert len(set(pool.objects.values())) == len(pool.objects) == 40
    assert {len(body) for body in pool.objects.values()} == {100}
    answer = load.prepare(job("get", seconds=0.02)).go()
    assert answer["taken"] and not answer["errors"]


def test_ceph_load__tells_wrong_bytes_and_refusals() -> None:
    pool = FakePool()
    load = CephLoad(pool, Refused)
    load.prepare(job("put", count=1)).go()
    pool.wrong = pool.refusing = True
    answer = load.prepare(job("get", seconds=0.02)).go()
    assert answer["errors"] and not answer["taken"]
    assert answer["first_error"].endswith("wrong bytes")
    answer = load.prepare(job("put", count=7)).go()
    assert (answer["errors"], answer["taken"]) == (7, [])
    assert answer["first_error"].endswith(": no")
    answer = load.prepare(job("get")).go()  # nothing was put, so there is nothing to do
    assert (answer["errors"], answer["taken"]) == (0, [])


def test_objects__are_new_for_each_put_job() -> None:
    objects = Objects()
    assert objects.next_to_put() is objects.one_to_get() is None
    objects.prepare(job("put", count=2))
    first = objects.next_to_put(), objects.next_to_put()
    assert objects.next_to_put() is None
    assert first[0] is not None
    objects.put_done(*first[0])
    objects.prepare(job("get"))
    assert objects.one_to_get() == first[0]
    objects.prepare(job("put", count=1))
    assert objects.one_to_get() is None
    assert objects.next_to_put() not in first


def test_tally__times_errors_and_the_end() -> None:
    tally = Tally(job("get", seconds=0.0))
    assert not tally.open(float("inf"))
    tally.add(0.0, None)
    tally.add(0.0, "first")
    tally.add(0.0, "second")
    answer = tally.answer()
    assert (len(answer["taken"]), answer["errors"], answer["first_error"]) == (1, 2, "first")
    assert min(answer["wall"], answer["cpu"]) >= 0


class FakeCluster:
    """Loses what it is given."""

    async def create_bucket(self, bucket: str) -> None: ...

    async def put(self, bucket: str, key: str, data: bytes) -> None:
        if key.endswith("-1"):
            raise Unavailable("away")

    async def read(self, bucket: str, key: str) -> bytes:
        return b"other"


def test_native_load__tells_wrong_bytes_and_refusals() -> None:
    async def both() -> None:
        load = NativeLoad(FakeCluster())  # type: ignore[arg-type]
        put, get = job("put", count=3), job("get", seconds=0.02)
        await load.prepare(put)
        answer = await load.run(put)
        assert (len(answer["taken"]), answer["errors"]) == (2, 1)
        assert answer["first_error"].endswith(": away")
        answer = await load.run(get)
        assert answer["errors"] and not answer["taken"]
        assert answer["first_error"].endswith("wrong bytes")

    asyncio.run(both())


@pytest.mark.parametrize("cluster", ["unicast"], indirect=True)
def test_native_client(cluster: LoopbackCluster) -> None:
    """A real one; and a job that does nothing is told."""
    endpoint = cluster_endpoint("mine", cluster.data)
    command = [sys.executable, str(FOLDER / "native_load.py"), str(cluster.data)]
    client = connect("mine", endpoint, command)
    figures = Figures()
    try:
        client.measure(None, 4 * KIB, 1, Limits(0.1, 1, 4))
        client.measure(figures, 4 * KIB, 8, Limits(5.0, 1, 16))
        client.measure(figures, MIB, 1, Limits(5.0, 1, 1))
        with pytest.raises(LoadFailed, match="mine native PUT"):
            client.measure(figures, 4 * KIB, 1, Limits(0.0))
    finally:
        client.process.close()
    put, get = figures.named([f"mine native {each} 4 KiB x8" for each in ("PUT", "GET")])
    assert put.unit == get.unit == "op/s"
    assert put.values()["written"][0] >= 3
    assert len(client.others) == 4 and all(0 <= share <= 1.01 for share in client.others)
    (large,) = figures.named(["mine native PUT 1 MiB x1"])
    assert large.unit == "MiB/s" and large.values()["server_cpu"][0] > 0


def test_peers_table() -> None:
    figures = Figures()
    for value in (100.0, 300.0, 200.0):
        figures.add("a native PUT 4 KiB x8", "op/s", Sample(value, 0.25, 1.5))
        figures.add("b native PUT 4 KiB x8", "op/s", Sample(value / 4, 0.5, 2.0))
    figures.add("a S3 GET 1 MiB x1", "MiB/s", Sample(1500.0, 1.0, 2.0))
    figures.add("b S3 GET 1 MiB x1", "MiB/s", Sample(1000.0, 3.0, 4.0))
    figures.add("a S3 GET 4 KiB x1", "op/s", Sample(1.0, 1.0, 1.0))  # without the other
    for who, percent in (("a", 3.5), ("b", 7.0)):
        figures.add(f"{who} {CPU_AT_REST}", "%", Sample(percent))
    figures.add(OTHERS, "%", Sample(12.0))
    head, line, *rows = peers_table(figures, "a", "b", (4 * KIB, MIB), (1, 8))
    assert rows == [
        "| native PUT 4 KiB x8 | op/s, s/1000 | 200 | 100 to 300 | 50 | 25 to 75 | 4.00 | 1.5 | 0.25 | 2 | 0.5 |",
        "| S3 GET 1 MiB x1 | MiB/s, s/GiB | 1,500 | 1,500 to 1,500 | 1,000 | 1,000 to 1,000 | 1.50 | 2 | 1 | 4 | 3 |",
        "| CPU at rest, of one core | % | 3.5 | | 7 | | | | | | |",
        f"| {OTHERS} | % | 12 | | | | | | | | |",
    ]
    assert {each.count("|") for each in (head, line, *rows)} == {ROW_CELLS + 1}


@pytest.mark.skipif(lacking() is not None, reason=str(lacking()))
def test_peers(tmp_path: Path) -> None:
    """Every cell of both, and nothing is left."""
    path = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--json", str(path)],
        env=os.environ | {"REPLICAST_BENCH_TINY": "1", "TMPDIR": str(tmp_path)},
        timeout=SECONDS,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = {each["name"] for each in json.loads(path.read_text())["figures"]}
    cells = {
        f"{who} {operation} {size} x{clients}"
        for who in ("native", "S3")
        for operation in ("PUT", "GET")
        for size in ("4 KiB", "1 MiB")
        for clients in (1, 8)
    }
    assert {f"{system} {cell}" for system in ("replicast", "Ceph") for cell in cells} <= found
    rows = {row.split("|")[1].strip() for row in done.stdout.splitlines() if row.startswith("| ")}
    assert cells <= rows
    assert list(tmp_path.iterdir()) == [path]
