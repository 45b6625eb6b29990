"""up, down, restart, kill -9; several clusters; what goes wrong at start; logs and config check."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request

import pytest

from replicast.errors import InvalidRequest, Unavailable

MIB = 1 << 20
POLICIES = {
    "t": os.SCHED_BATCH,
    "gw": os.SCHED_OTHER,
}  # of the main thread, which starts the others


def store(cluster, data, count=6):
    """A bucket with objects of several kinds; name -> bytes."""
    cluster.run("bucket", "create", "photos")
    bodies = {f"n{number}": data(number**4 * 1999 + 1) for number in range(count)}
    for name, body in bodies.items():
        cluster.run("put", "-q", "-", f"photos/{name}", stdin=body)
    return bodies


def check(cluster, bodies):
    assert cluster.out("ls", "photos").decode().split() == sorted(bodies)
    for name, body in bodies.items():
        assert cluster.out("cat", f"photos/{name}") == body, name


def test_state_survives_down_and_kill(make_cluster, data):
    cluster = make_cluster()
    bodies = store(cluster, data)
    pids = {name: daemon.pid() for name, daemon in cluster.daemons().items()}
    policies = {name: os.sched_getscheduler(pid) for name, pid in pids.items()}
    assert policies == {name: POLICIES[name.rstrip("0123456789")] for name in pids}
    cluster.up()  # harmless
    assert pids == {name: daemon.pid() for name, daemon in cluster.daemons().items()}
    cluster.down()
    assert all(daemon.pid() is None for daemon in cluster.daemons().values())
    cluster.down()  # harmless too
    assert cluster.said[-1] == "nothing runs"
    cluster.up()
    check(cluster, bodies)
    cluster.kill()
    cluster.up(targets=4, vdevs=2)
    check(cluster, bodies)
    cluster.wait_healthy()
    with pytest.raises(InvalidRequest, match="--targets 4, which cannot be changed to 5"):
        cluster.up(targets=5)


def test_two_clusters_side_by_side(make_cluster, data):
    first = make_cluster(targets=3, vdevs=1, transport="multicast")
    second = make_cluster(targets=3, vdevs=1, transport="multicast")
    bodies = [store(first, data, 3), store(second, data, 3)]
    check(first, bodies[0])
    check(second, bodies[1])
    first.down()
    check(second, bodies[1])


def test_up__a_taken_port_is_named_with_its_owner(make_cluster, free_base):
    cluster = make_cluster(start=False)
    port = free_base(50) + 2
    held = pytest.raises(InvalidRequest, match=f"tcp port {port} .* is held by .*pid")
    with socket.create_server(("127.0.0.1", port)), held:
        cluster.up(port_base=port - 2)
    assert not (cluster.data / "t1").exists()


def test_up__a_folder_of_somebody_else(make_cluster):
    cluster = make_cluster(start=False)
    cluster.data.mkdir(parents=True)
    (cluster.data / "letter.txt").write_text("Dear reader")
    with pytest.raises(InvalidRequest, match=r"not empty \(letter.txt\)"):
        cluster.up()
    assert [path.name for path in cluster.data.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"targets": 0}, "--targets"),
        ({"targets": 1}, "--targets 1: nothing could be stored with --min-copies 2"),
        ({"copies": 2, "min_copies": 3}, "--min-copies from 1 to --copies"),
        ({"port_base": 80}, "--port-base: 1024 to"),
        ({"capacity": "banana"}, "capacity: 'banana' is not a size"),
        ({"host": "localhost"}, "--host localhost: give an IP address"),
        ({"host": "192.0.2.1"}, "--host 192.0.2.1: Cannot assign requested address"),
    ],
)
def test_up__a_wrong_request_makes_nothing(make_cluster, request_, says):
    cluster = make_cluster(start=False)
    with pytest.raises(InvalidRequest, match=re.escape(says)):
        cluster.up(**request_)
    assert not cluster.data.exists()
    with pytest.raises(InvalidRequest, match="no local cluster"):
        cluster.down()
    assert not cluster.data.exists()


def test_up__a_daemon_that_dies_shows_its_last_words(make_cluster, tmp_path):
    cluster = make_cluster(targets=1, vdevs=1, copies=1, min_copies=1)
    assert cluster.run("status").returncode == 0
    cluster.down()
    settings = cluster.data / "t1" / "target.toml"
    good = settings.read_text()
    settings.write_text(good + "buffer_bytes = 12\n")
    wrong = r"t1/target\.toml: buffer_bytes = 12: must be int >= 4194304"
    with pytest.raises(Unavailable, match=f"t1 ended:\n(.*\n)*.*{wrong}"):
        cluster.up()
    assert "buffer_bytes = 12" in cluster.run("config", "check", code=2).stderr.decode()
    settings.write_text(good + "bufer_bytes = 12\n")
    assert (
        "unknown setting bufer_bytes"
        in cluster.run("config", "check", settings, code=2).stderr.decode()
    )
    settings.write_text(good)
    checked = cluster.run("config", "check").stdout.decode().splitlines()
    assert len(checked) == 3 and all(line.startswith("ok: ") for line in checked)


def test_gateway__without_a_voter_is_alive_and_not_ready(make_cluster):
    """It waits for the cluster as long as it takes; whoever looks must see that."""
    cluster = make_cluster(targets=1, vdevs=1, copies=1, min_copies=1)
    cluster.down()
    gateway = cluster.daemons()["gw1"]
    gateway.start()
    assert answer(gateway.metrics, "healthz") == 200
    assert answer(gateway.metrics, "readyz") == 503
    assert answer(gateway.metrics, "metrics") == 200
    assert "no gateway answers" in cluster.error("ls", "photos", code=1)
    assert "no gateway answers" in cluster.error("status", code=2)
    cluster.up()
    assert answer(gateway.metrics, "readyz") == 200


def answer(metrics, path):
    """The HTTP status of a path, once somebody listens."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://{metrics}/{path}", timeout=10) as found:
                return found.status
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_logs(cluster):
    lines = cluster.out("logs", "-n", 100_000).decode().splitlines()
    assert sum("joined with 2 VDEVs" in line for line in lines) == 4
    times = [json.loads(line)["time"] for line in cluster.out("logs", "--json").splitlines()]
    assert len(times) >= 5 and times == sorted(times)
    only = cluster.out("logs", "--json", "gw1").splitlines()
    assert {json.loads(line)["process"] for line in only} == {"gateway gw1"}
    assert "no daemon t9 here" in cluster.error("logs", "t9", code=2)
    assert len(cluster.out("logs", "-n", "1").splitlines()) == 1


def test_files_and_keys_are_private(cluster):
    assert cluster.data.stat().st_mode & 0o077 == 0
    secrets = [*cluster.data.rglob("*.key"), cluster.data / "founder" / "founder.toml"]
    assert len(secrets) >= 15
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
    sockets = list(cluster.data.rglob("*.sock"))
    assert len(sockets) == 1 and sockets[0].stat().st_mode & 0o077 == 0


def test_an_empty_cluster_is_small(cluster):
    used_bytes = 0
    for path in cluster.data.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a daemon's temporary file
            used_bytes += path.lstat().st_blocks * 512
    assert MIB < used_bytes < 256 * MIB


def test_version_and_help(cluster):
    assert cluster.out("--version").decode().startswith("replicast ")
    for command in ("up", "down", "put", "cluster", "logs", "config"):
        assert b"Usage:" in cluster.out(command, "--help")
    assert "no cluster at" in cluster.error("--cluster", "/nonexistent", "ls", "b", code=2)
