"""A gateway's tables come from targets on its host, and it goes on when the nearest one is gone."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator

import pytest

SECONDS = 60.0
SAMPLE = re.compile(r'^replicast_(table\w+?)(?:_total)?\{\w+="(\w+)"\} ([\d.e+]+)$', re.M)


@pytest.fixture
def cluster(cluster_factory) -> Iterator:
    made = cluster_factory(targets=4, vdevs=1)
    made.wait_healthy()
    yield made
    made.down()
    made.end()


def counts(cluster) -> dict[tuple[str, str], int]:
    """What the gateway has counted of tables."""
    address = cluster.daemons()["gw1"].metrics
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer:
        found = SAMPLE.findall(answer.read().decode())
    return {(name, label): int(float(value)) for name, label, value in found}


def fetched(cluster) -> int:
    return sum(n for (name, _), n in counts(cluster).items() if name == "tables_fetched")


def test_gateway__tables_come_from_targets_here_also_when_one_is_killed(cluster, data) -> None:
    cluster.run("bucket", "create", "tables")
    assert counts(cluster).get(("tables_fetched", "host"), 0) >= 1
    for name in ("t4", "t1"):
        before = fetched(cluster)
        cluster.kill(name)
        end = time.monotonic() + SECONDS
        while fetched(cluster) == before:  # the generation without it
            assert time.monotonic() < end, counts(cluster)
            time.sleep(0.1)
        body = data(100_000)
        cluster.run("put", "-q", "-", f"tables/{name}", stdin=body)
        assert cluster.out("get", f"tables/{name}", "-") == body
        cluster.up()
        cluster.wait_healthy()
    print(counts(cluster))
    found = counts(cluster)
    near = found.get(("tables_fetched", "host"), 0)
    assert near > fetched(cluster) // 2, found
