"""One-way cuts and flapping links: no operation fails, and nothing is lost or wrong.

A packet filter on the wire drops what one member sends, or what it should hear: it learns that from
nobody, and its own sends succeed. A link that flaps is taken down and up in the member's namespace,
where sends then fail. Meanwhile clients put, read, list and remove files and compare every byte.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from checked_load import BUCKET, SIZES, WORKERS, CheckedLoad
from networks import Cut, ip

from replicast.cli.restart import hindrances

pytestmark = pytest.mark.slow

OPERATIONS = 30
FLAPS = 5


@pytest.fixture(scope="module")
def cluster(require, make_module_cluster):
    require("nft")
    made = make_module_cluster("multicast")
    made.run("bucket", "create", BUCKET)
    return made


@pytest.fixture(scope="module")
def seeds():
    return itertools.count(10)


def wait(cluster, wanted: Callable) -> None:
    asyncio.run(cluster.wait_status(wanted))


def wait_whole(cluster) -> None:
    """Nothing is wrong but chunks that were put with fewer copies meanwhile."""
    wait(cluster, lambda report: not hindrances(report))


def wait_down(cluster, member: str) -> None:
    wait(cluster, lambda r: not next(t for t in r["targets"] if t["name"] == member)["up"])


def finish(cluster, load: CheckedLoad) -> None:
    """All is there, and `repair` makes the cluster healthy and `verify` clean."""
    asyncio.run(load.check())
    print(load.summary())
    cluster.run("repair", f"{BUCKET}/")
    wait(cluster, lambda report: report["verdict"] == "healthy")
    cluster.run("verify", f"{BUCKET}/")


def voter(cluster, role: str) -> str:
    """The name of the Raft leader, or of a target that follows it."""
    report = asyncio.run(cluster.wait_status(lambda report: report["raft"]["leader"]))
    leader = report["raft"]["leader"]
    if role == "leader":
        return leader
    return next(name for name in report["raft"]["voters_heard"] if name != leader)


@pytest.mark.parametrize("kind", ["deaf", "mute"])
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_one_way_cut_of_a_voter(cluster, seeds, role, kind):
    seed, member = next(seeds), voter(cluster, role)
    cut = Cut(cluster.network, member, kind)
    load = CheckedLoad([cluster.socket()] * WORKERS, seed, prefix=f"{seed}/", sizes=SIZES)
    steps = [
        cut.make,
        lambda: wait_down(cluster, member),
        cut.heal,
        lambda: wait_whole(cluster),
    ]
    asyncio.run(load.during(*steps, operations=OPERATIONS))
    finish(cluster, load)


def test_link_of_a_target_flaps(cluster, seeds):
    seed, namespace = next(seeds), cluster.network.namespaces["t2"]
    load = CheckedLoad([cluster.socket()] * WORKERS, seed, prefix=f"{seed}/", sizes=SIZES)
    flap = [
        lambda: ip("-n", namespace, "link", "set", "eth0", "down"),
        lambda: ip("-n", namespace, "link", "set", "eth0", "up"),
    ]
    steps = [*flap * FLAPS, lambda: wait_whole(cluster)]
    asyncio.run(load.during(*steps, operations=OPERATIONS))
    finish(cluster, load)


def test_link_of_the_gateway_flaps(cluster, seeds):
    seed, namespace = next(seeds), cluster.network.namespaces["gw1"]
    load = CheckedLoad([cluster.socket()] * WORKERS, seed, prefix=f"{seed}/", sizes=SIZES)

    def flap() -> None:
        """Down until nobody gets an answer any more."""
        ip("-n", namespace, "link", "set", "eth0", "down")
        load.wait_stalled()
        ip("-n", namespace, "link", "set", "eth0", "up")

    steps = [*[flap] * FLAPS, lambda: wait_whole(cluster)]
    asyncio.run(load.during(*steps, operations=OPERATIONS))
    finish(cluster, load)
