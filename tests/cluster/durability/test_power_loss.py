"""What was acknowledged survives the loss of all processes at once (contract C1, C2).

With the forgetful disk a killed process takes every byte with it that no returned sync covered:
VDEV logs, Raft journal and table files alike. With the real disk the page cache survives; then
the kill tests recovery under a load that is heavier.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

import replicast

LOSSES = 3
START_SECONDS = 60


async def load_until_cut(cluster, load, acknowledged, power_cut) -> None:
    """Run the load; when it has `acknowledged` more puts, the power goes."""
    async with await replicast.connect(cluster.data) as client:
        goal = load.puts + acknowledged
        running = asyncio.ensure_future(load.run(client))
        while load.puts < goal and not running.done():
            await asyncio.sleep(0.02)
        await asyncio.to_thread(power_cut, cluster)
        load.stopping = True
        running.cancel()
        await asyncio.wait({running})
        load.stopping = False
        assert not load.failures, load.failures


async def check(cluster, load) -> None:
    async with await replicast.connect(cluster.data) as client:
        await load.check(client)


def cut_while_starting(cluster, power_cut) -> None:
    """The power comes back for as long as it takes the first target to answer, then goes again."""
    daemons = list(cluster.daemons().values())
    for daemon in daemons:
        daemon.start()
    end = time.monotonic() + START_SECONDS
    while not answers(daemons[0].metrics):
        assert daemons[0].pid() is not None, daemons[0].last_words()
        assert time.monotonic() < end
        time.sleep(0.01)
    power_cut(cluster)


def answers(metrics: str) -> bool:
    host, _, port = metrics.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def lose_power(cluster, load, rounds, acknowledged, power_cut) -> None:
    for number in range(1, rounds + 1):
        asyncio.run(load_until_cut(cluster, load, acknowledged, power_cut))
        if number == 2:
            cut_while_starting(cluster, power_cut)
        cut = time.monotonic()
        cluster.up()
        serving = time.monotonic() - cut
        asyncio.run(check(cluster, load))
        cluster.run("verify", "load/")
        print(f"loss {number}: serving again after {serving:.1f} s; {load.summary()}; all there")


def forgetful_cluster(loaded_cluster, monkeypatch):
    """Its targets, and only they, run on the disk that forgets."""
    monkeypatch.setenv("REPLICAST_TARGET_DISK", "forgetful")
    cluster = loaded_cluster()
    for daemon in cluster.daemons().values():
        environ = Path(f"/proc/{daemon.pid()}/environ").read_bytes().split(b"\0")
        assert b"REPLICAST_TARGET_DISK=forgetful" in environ
    return cluster


def test_power_loss__forgetful_disk(loaded_cluster, make_load, power_cut, monkeypatch):
    cluster = forgetful_cluster(loaded_cluster, monkeypatch)
    lose_power(cluster, make_load(1), 1, 60, power_cut)


@pytest.mark.slow
def test_power_loss__forgetful_disk_three_times(loaded_cluster, make_load, power_cut, monkeypatch):
    cluster = forgetful_cluster(loaded_cluster, monkeypatch)
    lose_power(cluster, make_load(2), LOSSES, 200, power_cut)


@pytest.mark.slow
def test_kill_of_all_processes_under_load__three_times(loaded_cluster, make_load, power_cut):
    lose_power(loaded_cluster(), make_load(3), LOSSES, 300, power_cut)
