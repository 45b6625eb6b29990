"""Listing 100,000 names of a bucket of a real cluster, in names per second.

The objects are small enough to stand in their names' records, so that putting them is all about names;
it is not measured.
"""

from __future__ import annotations

from typing import Any

import pytest
from loopback_cluster import LoopbackCluster
from meter import TINY, Case, measure
from results import digest_of

NAMES = 200 if TINY else 100_000
FOLDERS = 100
CLIENTS = 64  # that put them
RUNS = 1 if TINY else 3
BUCKET = "many"
# Elsewhere so many names would be in the way of what is measured after them.
CLUSTER = "unicast" if TINY else "unicast, many names"
FILL_SECONDS = 3600


def name_of(number: int) -> str:
    return f"{number % FOLDERS:02d}/{number:06d}"


def fill(cluster: LoopbackCluster) -> None:
    async def put(number: int) -> None:
        await cluster.client.put(BUCKET, name_of(number), number.to_bytes(4, "little"))

    cluster.run(cluster.client.create_bucket(BUCKET))
    cluster.each(range(NAMES), put, CLIENTS)


@pytest.mark.timeout(FILL_SECONDS)
@pytest.mark.parametrize("cluster", [CLUSTER], indirect=True)
def test_listing(benchmark: Any, cluster: LoopbackCluster) -> None:
    fill(cluster)

    async def listed() -> list[str]:
        return [entry.name async for entry in cluster.client.list(BUCKET)]

    def check(names: list[str]) -> None:
        assert names == sorted(map(name_of, range(NAMES)))

    measure(
        benchmark,
        Case(f"list {NAMES} names", operations=NAMES, runs=RUNS),
        lambda: cluster.run(listed()),
        after=check,
        digest=digest_of,
        server_seconds=cluster.server_seconds,
    )
