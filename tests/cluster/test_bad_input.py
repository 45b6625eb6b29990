"""Too few targets, full disks, wrong settings: a clear error, exit 1 or 2, and nothing is harmed.

Names and buckets that are refused are in test_objects.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicast.cli.layout import socket_path
from replicast.errors import InvalidRequest
from replicast.gateway.api_client import connect_api

KIB, MIB = 1024, 1 << 20


def put_fails(cluster, name: str, body: bytes, *reasons: str) -> None:
    done = cluster.run("put", "-q", "-", name, stdin=body, code=1)
    text = done.stderr.decode()
    assert text.startswith("replicast: ") and text.count("\n") == 1, text
    assert any(reason in text for reason in reasons), text
    print(f"put {len(body)} bytes: {text.strip()[:150]}")


@pytest.mark.slow
def test_too_few_hosts__put_fails_and_old_versions_stay(make_cluster, data):
    """copies = min_copies = 3 on three targets: one that is gone is one too few."""
    cluster = make_cluster(targets=3, vdevs=1, copies=3, min_copies=3)
    cluster.run("bucket", "create", "old")
    bodies = {"inline": data(1000), "small": data(90 * KIB), "large": data(MIB + 5)}
    for name, body in bodies.items():
        cluster.run("put", "-q", "-", f"old/{name}", stdin=body)
    # Only what a replica knows to be committed can be read from it alone.
    cluster.run("verify", "old/")
    cluster.kill("t3")
    # Before that a put may be ordered, fail by its deadline, and commit when t3 is back.
    cluster.wait_status(lambda report: report["rows"]["not_writable"])
    fail = ("ROW_UNAVAILABLE", "on enough hosts")
    # Each waits for its deadline: a target that comes back in time would save it.
    with ThreadPoolExecutor(4) as pool:
        names = {"new": data(500)} | {name: data(len(body)) for name, body in bodies.items()}
        tried = [
            pool.submit(put_fails, cluster, f"old/{name}", body, *fail)
            for name, body in names.items()
        ]
        for each in tried:
            each.result()
    for name, body in bodies.items():
        assert cluster.out("cat", f"old/{name}") == body
        assert len(cluster.out("stat", "--versions", "--json", f"old/{name}").splitlines()) == 1
    assert cluster.out("ls", "old").decode().split() == sorted(bodies)
    cluster.up()
    for name, body in bodies.items():
        cluster.run("put", "-q", "-", f"old/new-{name}", stdin=body)
        assert cluster.out("cat", f"old/{name}") == body


@pytest.mark.slow
def test_one_host_of_four_left__nothing_is_stored_and_nothing_lost(make_cluster, data):
    cluster = make_cluster(targets=4, vdevs=1)
    cluster.run("bucket", "create", "old")
    small, large = data(500), data(300 * KIB)
    cluster.run("put", "-q", "-", "old/small", stdin=small)
    cluster.run("put", "-q", "-", "old/large", stdin=large)
    cluster.kill("t1", "t2", "t3")
    reasons = ("NO_", "UNAVAILABLE", "Unavailable", "voter")
    # While t4's lease lasts it orders a put, which commits once others are back, or never.
    ordered = data(500)
    put_fails(cluster, "old/small", ordered, *reasons)
    cluster.wait_status(lambda report: not any(t.get("lease") for t in report["targets"]))
    assert cluster.status()["exit"] == 2
    put_fails(cluster, "old/small", data(500), *reasons)
    put_fails(cluster, "old/large", data(500), *reasons)
    cluster.up()
    seen = cluster.out("cat", "old/small")
    assert seen in (small, ordered)
    assert cluster.out("cat", "old/large") == large
    for name, count in (("small", 1 + (seen == ordered)), ("large", 1)):
        versions = cluster.out("stat", "--versions", "--json", f"old/{name}").splitlines()
        assert len(versions) == count


@pytest.mark.slow
def test_two_hosts_of_four_left__puts_go_on_with_two_copies(make_cluster, data):
    cluster = make_cluster(targets=4, vdevs=2)
    cluster.run("bucket", "create", "two")
    voters = set(cluster.status()["raft"]["voters_heard"])
    other = ({"t1", "t2", "t3", "t4"} - voters).pop()
    cluster.kill(other, min(voters))  # a quorum of two voters stays
    began = time.monotonic()
    # Both seen down, no row with a third replica, and none that waits for its second.
    cluster.wait_status(lambda r: r["rows"]["below_copies"] == r["rows"]["total"])
    print(f"both seen down and all rows writable after {time.monotonic() - began:.1f} s")
    for number, size in enumerate((1000, 90 * KIB, 2 * MIB + 50 * KIB)):
        body = data(size)
        cluster.run("put", "-q", "-", f"two/{number}", stdin=body)
        assert cluster.out("cat", f"two/{number}") == body


def test_full__puts_fail_with_the_reason_and_old_versions_stay(make_cluster, data, tmp_path):
    cluster = make_cluster(targets=3, vdevs=1, capacity="64MiB")
    cluster.run("bucket", "create", "full")
    kept = {"inline": data(1000), "chunk": data(200 * KIB)}
    for name, body in kept.items():
        cluster.run("put", "-q", "-", f"full/{name}", stdin=body)
    source = tmp_path / "file"
    stored = 0
    for number in range(64):
        source.write_bytes(data(4 * MIB))
        done = subprocess.run(
            [sys.executable, "-m", "replicast.cli", "put", "-q", source, f"full/{number}"],
            capture_output=True,
            timeout=60,
            env=cluster.environ,
            check=False,
        )
        if done.returncode:
            break
        stored += 1
    error = done.stderr.decode()
    assert done.returncode == 1 and "NO_SPACE" in error and error.count("\n") == 1, error
    print(f"{stored} x 4 MiB fit into 64 MiB; then: {error.strip()[:120]}")
    assert stored >= 8
    put_fails(cluster, "full/chunk", data(2 * MIB), "NO_SPACE")
    # An upload that is refused long before its end hears the reason, not a broken pipe.
    source.write_bytes(data(48 * MIB))
    assert "NO_SPACE" in cluster.error("put", "-q", source, "full/chunk", code=1)
    for name, body in kept.items():
        assert cluster.out("cat", f"full/{name}") == body
        assert len(cluster.out("stat", "--versions", "--json", f"full/{name}").splitlines()) == 1
    report = cluster.status()
    assert report["exit"] == 1 and any("full" in text for text in report["problems"]), report
    # Names have room of their own: what is in the cluster can still be deleted.
    cluster.run("rm", "full/0")
    assert "full/0" not in cluster.out("ls", "full").decode()
    cluster.down()
    cluster.up()
    assert cluster.out("cat", "full/chunk") == kept["chunk"]


SETTINGS = [
    ("target", "log_level", '"loud"', "one of debug, info, warning, error"),
    ("target", "rendezvous_groups", "70000", "from 1 to 4096"),
    ("target", "rendezvous_groups", '"many"', "from 1 to 4096"),
    ("target", "buffer_bytes", "1", ">= 4194304"),
    ("target", "colour", '"red"', "unknown setting colour"),
    ("target", "vdevs", '"v1;capacity=huge"', "capacity"),
    ("target", "vdevs", '"v1;speed=1"', "unknown option speed"),
    ("gateway", "put_pipeline", "0", "from 1 to 64"),
    ("gateway", "metrics_port", "70000", "from 1 to 65535"),
    ("gateway", "colour", '"red"', "unknown setting colour"),
]


@pytest.mark.parametrize("kind, key, value, says", SETTINGS)
def test_wrong_setting__refused_at_start(cluster, tmp_path, kind, key, value, says):
    """Exit 1 and one line that names the file, the setting and what is allowed."""
    folder = cluster.data / {"target": "t1", "gateway": "gw1"}[kind]
    path = tmp_path / f"{kind}.toml"
    lines = [
        line for line in (folder / path.name).read_text().splitlines() if line.split(" =")[0] != key
    ]
    path.write_text("\n".join([*lines, f"{key} = {value}"]) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", f"replicast.{kind}.daemon", "--config", path],
        capture_output=True,
        timeout=60,
        env=os.environ | {"HOME": str(tmp_path)},
        check=False,
    )
    text = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1, done
    assert str(path) in text and key in text and says in text, text


WRONG_REQUESTS = [
    {"op": "list", "bucket": "api", "prefix": 5},
    {"op": "list", "bucket": "api", "after": "x" * 2000},
    {"op": "get", "bucket": "api", "name": "n", "version": "1.2.-3"},
    {"op": "get", "bucket": "api", "name": "n", "version": 7},
    {"op": "get", "bucket": "api", "name": "n", "range": [0]},
    {"op": "get", "bucket": "api", "name": "n", "range": "ab"},
    {"op": "stat", "bucket": "api", "name": None},
    {"op": "stat", "bucket": 9, "name": "n"},
    {"op": "put", "bucket": "api", "name": "n", "metadata": {"k": "v" * 9000}},
    {"op": "put", "bucket": "api", "name": "n", "metadata": [1]},
    {"op": "put", "bucket": "api", "name": "n", "if_match": {}},
    {"op": "put", "bucket": "api", "name": "n", "if_match": "x" * 200},
    {"op": ["list"], "bucket": "api"},
]


def test_api__a_wrong_request_is_refused_and_harms_nobody_else(cluster, data):
    """Sent on, a field that does not fit its message would stop what others have sent."""
    cluster.run("bucket", "create", "api")

    async def work() -> None:
        async with connect_api(socket_path(cluster.data / "gw1")) as api:
            for request in WRONG_REQUESTS:
                arguments = dict(request)
                operation = arguments.pop("op")
                with pytest.raises(InvalidRequest):
                    await api.one(operation, **arguments)

    asyncio.run(work())
    cluster.run("put", "-q", "-", "api/n", stdin=data(1000))
    log = cluster.out("logs", "--json", "gw1").decode()
    assert "Traceback" not in log and "internal error" not in log


def test_config_check__says_the_same(cluster, tmp_path):
    path = cluster.data / "gw1" / "gateway.toml"
    kept = tmp_path / "kept"
    shutil.copy(path, kept)
    try:
        path.write_text(path.read_text() + "put_pipeline = 1000\n")
        done = cluster.run("config", "check", code=2)
        text = (done.stdout + done.stderr).decode()
        assert "put_pipeline" in text and "from 1 to 64" in text and "gateway.toml" in text
    finally:
        shutil.copy(kept, path)
    cluster.run("config", "check")
