"""`replicast cluster init`, `token` and `join`: hosts formed by hand, each in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from replicast.cli.layout import load_local

COMMAND_SECONDS = 120


@pytest.fixture
def hosts(make_cluster):
    """Starts commands in the background; ends them and the daemons of what joined."""
    cluster = make_cluster(start=False)
    cluster.home.mkdir(parents=True)
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "replicast.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in cluster.environ.items() if k != "REPLICAST_CLUSTER"},
        )
        running.append(process)
        return process

    yield cluster, start
    for process in running:
        process.kill()
        process.communicate()
    for folder in cluster.home.parent.glob("host*"):
        if (folder / "local.toml").exists():
            for daemon in load_local(folder).all(folder):
                daemon.kill()


def end(process, code=0):
    out, err = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == code, err
    return out, err


def wait_healthy(start):
    limit = time.monotonic() + COMMAND_SECONDS
    while "cluster is HEALTHY" not in (said := start("status").communicate()[0]):
        assert time.monotonic() < limit, said


def test_three_hosts_and_a_gateway(hosts, free_base):
    cluster, start = hosts
    base = cluster.home.parent
    port = free_base(41)
    founder = start(
        *("cluster", "init", base / "founder", "--listen", f"127.0.0.1:{port}"),
        *("--targets", 3, "--gateways", 1, "--admins", 0),
    )
    lines = [founder.stdout.readline().split() for _ in range(4)]
    assert [role for role, _ in lines] == ["target"] * 3 + ["gateway"]
    joins = []
    for number, (_, token) in enumerate(lines, 1):
        name = f"host{number}"
        joins.append(
            start(
                *("cluster", "join", token, "--data", base / name, "--name", name),
                *("--host-label", name, "--port-base", port - 9 + 10 * number),
            )
        )
    for join in joins:
        assert "joined cluster" in end(join)[1]
    assert "formed: cluster" in end(founder)[1]

    # The user's own file leads to the member that has a gateway.
    assert end(start("bucket", "create", "photos")) == ("", "")
    assert end(start("bucket", "list"))[0] == "photos\n"
    wait_healthy(start)
    assert end(start("config", "check"))[0].count("ok: ") == 2
    assert "host4 serving" in end(start("logs", "-n", 100_000))[0].replace("gateway ", "")

    again = end(start("cluster", "join", lines[0][1], "--data", base / "host1"), 2)[1]
    assert "has joined already" in again
    late = end(start("cluster", "token", base / "founder"), 2)[1]
    assert "formed already" in late
    for number in range(1, 5):
        assert "stopped" in end(start("down", "--data", base / f"host{number}"))[0]
        daemons = load_local(base / f"host{number}").all(base / f"host{number}")
        assert [daemon.pid() for daemon in daemons] == [None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--copies", 0), "--copies: 1 to 8"),
        (("--copies", 9), "--copies: 1 to 8"),
        (("--copies", 2, "--min-copies", 3), "--min-copies from 1 to --copies"),
        (("--targets", 1), "--targets 1: nothing could be stored"),
        (("--listen", "nonsense"), "'nonsense' is not host:port"),
        (("--listen", "fd00::1:7000"), "an IPv6 host stands in brackets"),
        (("--listen", "[fe80::1]:7000"), "fe80::1 is link-local"),
    ],
)
def test_init__a_wrong_request_makes_nothing(hosts, arguments, says):
    cluster, start = hosts
    founder = cluster.home.parent / "founder"
    init = ("cluster", "init", founder, "--listen", "127.0.0.1:1", *arguments)
    assert says in end(start(*init), 2)[1]
    assert not founder.exists()


def test_init__a_folder_of_somebody_else(hosts):
    cluster, start = hosts
    (cluster.home / "letter.txt").write_text("Dear reader")
    init = ("cluster", "init", cluster.home, "--listen", "127.0.0.1:1")
    assert "is not empty" in end(start(*init), 2)[1]
    assert [path.name for path in cluster.home.iterdir()] == ["letter.txt"]


def test_join__what_cannot_work_is_said_before_the_token_is_used(hosts, free_base):
    cluster, start = hosts
    base = cluster.home.parent
    waiting = start("cluster", "init", base / "founder", "--listen", f"127.0.0.1:{free_base(1)}")
    token = waiting.stdout.readline().split()[1]
    taken = base / "disk"
    taken.mkdir()
    (taken / "letter.txt").write_text("Dear reader")
    join = ("cluster", "join", token, "--data", base / "host1")
    assert f"--vdev {taken}: give an empty folder" in end(start(*join, "--vdev", taken), 2)[1]
    assert "--port-base" in end(start(*join, "--port-base", 70_000), 2)[1]
    assert not (base / "host1" / "formation.toml").exists()
    waiting.kill()
    assert "joined" not in waiting.communicate()[1].replace("cluster join TOKEN", "")


def test_tokens(hosts, free_base):
    cluster, start = hosts
    founder = cluster.home.parent / "founder"
    port = free_base(1)
    init = ("cluster", "init", founder, "--listen", f"127.0.0.1:{port}")
    waiting = start(*init)
    first = waiting.stdout.readline().split()[1]
    running = end(start("cluster", "token", founder), 2)[1]
    assert "does `cluster init" in running
    waiting.kill()
    waiting.communicate()
    more = end(start("cluster", "token", founder, "--role", "gateway", "--count", 2))[0].split()
    assert len({first, *more}) == 3 and all(token.startswith("rc1.") for token in more)
    cut = end(start("cluster", "join", first[:-3], "--data", cluster.home), 2)[1]
    assert "incomplete: copy the whole line" in cut
    assert "token" in end(start("cluster", "join", "nonsense", "--data", cluster.home), 2)[1]
