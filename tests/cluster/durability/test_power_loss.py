"""What was acknowledged survives the loss of all processes at once (contract C1, C2).

With the forgetful disk a killed process takes every byte with it that no returned sync covered:
VDEV logs, Raft journal and table files alike. With the real disk the page cache survives; then
the kill tests recovery under a load that is heavier.
"""

from __future__ import annotations

import asyncio
import time

import pytest

import replicast

LOSSES = 3


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


def lose_power(cluster, load, rounds, acknowledged, power_cut) -> None:
    for number in range(1, rounds + 1):
        asyncio.run(load_until_cut(cluster, load, acknowledged, power_cut))
        cut = time.monotonic()
        cluster.up()
        serving = time.monotonic() - cut
        asyncio.run(check(cluster, load))
        cluster.run("verify", "load/")
        print(f"loss {number}: serving again after {serving:.1f} s; {load.summary()}; all there")


def forgetful(monkeypatch) -> None:
    monkeypatch.setenv("REPLICAST_TARGET_DISK", "forgetful")


def test_power_loss__forgetful_disk(loaded_cluster, make_load, power_cut, monkeypatch):
    forgetful(monkeypatch)
    lose_power(loaded_cluster(), make_load(1), 1, 60, power_cut)


@pytest.mark.slow
def test_power_loss__forgetful_disk_three_times(loaded_cluster, make_load, power_cut, monkeypatch):
    forgetful(monkeypatch)
    lose_power(loaded_cluster(), make_load(2), LOSSES, 200, power_cut)


@pytest.mark.slow
def test_kill_of_all_processes_under_load__three_times(loaded_cluster, make_load, power_cut):
    lose_power(loaded_cluster(), make_load(3), LOSSES, 300, power_cut)
