"""The clock of a machine is set an hour ahead and an hour back while clients write.

Real targets, each with a time of day of its own (skewed_target.py): one after the other jumps, the
Raft leader's among them. A target that is off leads no rows, and that is all that happens: its
lease and its copies stay good, since leases are counted on another clock; no operation fails; ids
of versions only grow, whoever makes them.

Then all clocks jump at once, as they do when all targets share one machine. That is more than the
cluster promises to go on under: writes may be refused by name (docs/architecture.md, known limits).
Leases and the order of versions stay good all the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import replicast
from replicast.cli.layout import socket_path
from replicast.errors import ReplicastError
from replicast.gateway.api_client import connect_api

HOUR_NS = 3600 * 10**9
JUMPS_NS = (HOUR_NS, -HOUR_NS, 0)
PUTS, TRIES = 20, 60
# Sent long ago, or in the future, as far as a row can tell.
REFUSED = ("TOO_OLD", "InvalidRequest")
SETTLE_SECONDS = 90.0
SIZES = (0, 900, 12_000, 40_000, 300_000, (1 << 20) + 40_000)


def set_clock(folder: Path, offset_ns: int) -> None:
    """At once, as far as its reader can tell."""
    draft = folder / "clock_ns.new"
    draft.write_text(str(offset_ns))
    draft.replace(folder / "clock_ns")


def restart_skewed(cluster) -> None:
    """All targets again, with clocks of their own."""
    cluster.down()
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    for name, daemon in cluster.daemons().items():
        if name.startswith("t"):
            set_clock(daemon.folder, 0)
            replace(daemon, module="skewed_target").start(environ)
    cluster.up()


async def report(cluster) -> dict:
    """What `status` says; nothing while the gateway has nobody to ask."""
    try:
        async with connect_api(socket_path(cluster.data / "gw1")) as api:
            return await api.one("status")
    except ReplicastError:
        return {}


async def until(cluster, wanted: Callable[[dict], bool]) -> dict:
    end = time.monotonic() + SETTLE_SECONDS
    while not ((found := await report(cluster)) and wanted(found)):
        assert time.monotonic() < end, ("never came to this", found)
        await asyncio.sleep(0.1)
    return found


async def progress(load) -> None:
    """Until PUTS more were acknowledged."""
    goal, end = load.puts + PUTS, time.monotonic() + SETTLE_SECONDS
    while load.puts < goal:
        assert not load.failures, load.failures
        assert time.monotonic() < end, f"no progress: {load.puts} of {goal} puts"
        await asyncio.sleep(0.02)


def all_hold_leases(found: dict) -> bool:
    """And no VDEV was declared down."""
    leases = all(target["up"] and target["lease"] for target in found["targets"])
    return leases and all(vdev["state"] == "up" for vdev in found["vdevs"])


def only_leads_nothing(found: dict, name: str) -> bool:
    """`name` has its lease and no row; all else is as ever."""
    if not all_hold_leases(found):
        return False
    led = {target["name"]: target["rows_led"] for target in found["targets"]}
    return led[name] == 0 and sum(led.values()) == found["rows"]["total"]


async def jump(cluster, load, name: str) -> None:
    for offset_ns in JUMPS_NS:
        set_clock(cluster.daemons()[name].folder, offset_ns)
        await progress(load)
        if offset_ns:
            await until(cluster, lambda found: only_leads_nothing(found, name))
        await progress(load)


async def tries(load) -> None:
    """Until TRIES more writes were acknowledged or refused."""

    def ended() -> int:
        return load.puts + len(load.failures)

    goal, end = ended() + TRIES, time.monotonic() + SETTLE_SECONDS
    while ended() < goal:
        assert time.monotonic() < end, f"no progress: {ended()} of {goal}"
        await asyncio.sleep(0.02)


async def jump_together(cluster, load) -> None:
    for offset_ns in JUMPS_NS:
        for name, daemon in cluster.daemons().items():
            if name.startswith("t"):
                set_clock(daemon.folder, offset_ns)
        await tries(load)
        await until(cluster, all_hold_leases)
        await tries(load)
    other = [text for text in load.failures if not any(reason in text for reason in REFUSED)]
    assert not other, other[:5]
    print(f"all clocks at once: {len(load.failures)} writes refused by name")
    load.failures.clear()


async def run(cluster, load) -> None:
    async with await replicast.connect(cluster.data) as client:
        running = asyncio.ensure_future(load.run(client))
        try:
            await progress(load)
            found = await until(cluster, lambda found: bool(found["raft"]["leader"]))
            leader = found["raft"]["leader"]
            voters = [name for name in found["raft"]["voters_heard"] if name != leader]
            for name in (leader, *voters):
                await jump(cluster, load, name)
            assert not load.failures, load.failures
            longest = max(pause.seconds for pause in load.longest.values())
            await jump_together(cluster, load)
        finally:
            load.stopping = True
            await asyncio.wait({running})
        await load.check(client)
        print(
            f"the clocks of {leader} and {len(voters)} more set ahead, back and right, no failure, "
            f"longest operation {longest:.1f} s; with all at once {load.summary()}"
        )


@pytest.mark.slow
def test_clock_set_by_an_hour__no_operation_fails_and_versions_only_grow(loaded_cluster, make_load):
    cluster = loaded_cluster(vdevs=1)
    restart_skewed(cluster)
    asyncio.run(run(cluster, make_load(31, SIZES)))
    cluster.wait_healthy()
    cluster.run("verify", "load/")
