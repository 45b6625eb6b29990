"""What was acknowledged survives the loss of all processes at once (contract C1, C2).

With the forgetful disk a killed process takes every byte with it that no returned sync covered:
VDEV logs, Raft journal and table files alike. With the real disk the page cache survives; then
the kill tests recovery under a load that is heavier.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import replicast

LOSSES = 20
START_SECONDS = 60
AGAIN_EVERY, WHOLE_EVERY = 5, 10


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


async def check(cluster, load, *, whole: bool = True) -> None:
    async with await replicast.connect(cluster.data) as client:
        await load.check(client, whole=whole)


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


def lose_power(cluster, load, rounds, puts_max, power_cut) -> None:
    """The power goes `rounds` times, each time after 1 to `puts_max` more acknowledged puts.

    Some of those times it goes again before all targets answer.
    """
    rng, longest = random.Random(rounds), 0.0
    for number in range(1, rounds + 1):
        asyncio.run(load_until_cut(cluster, load, rng.randint(1, puts_max), power_cut))
        if number % AGAIN_EVERY == 2:
            cut_while_starting(cluster, power_cut)
        cut = time.monotonic()
        cluster.up()
        longest = max(longest, time.monotonic() - cut)
        asyncio.run(check(cluster, load, whole=number % WHOLE_EVERY == 0 or number == rounds))
    # What was acknowledged with fewer copies than promised gets the others now.
    cluster.run("repair", "load/")
    cluster.run("verify", "load/")
    print(
        f"{rounds} losses of power, serving again after {longest:.1f} s at most; "
        f"{load.summary()}; all there, on all their copies"
    )


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
def test_losses_of_power__twenty_with_either_disk(loaded_cluster, make_load, power_cut):
    """Side by side: most of a round is waiting for leases to end."""
    kept, forgotten = (loaded_cluster(targets=3, vdevs=1) for _ in range(2))
    forgotten.down()
    for settings in forgotten.data.glob("t*/target.toml"):
        with open(settings, "a") as file:
            file.write('disk = "forgetful"\n')
    forgotten.up()
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(lose_power, cluster, make_load(seed), LOSSES, 80, power_cut)
            for seed, cluster in enumerate((kept, forgotten), 2)
        ]
        for run in runs:
            run.result()
