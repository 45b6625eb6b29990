"""Commands committed by three voters of a real cluster: op/s, one at a time and eight at once.

A command turns the versioning of a bucket on or off: the state changes each time and does not grow. A
client of the control plane sends one command after the other, so eight at once are eight clients.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from loopback_cluster import LoopbackCluster
from meter import TINY, Case, measure
from results import digest_of

from replicast.cli.find import find_cluster
from replicast.config import load
from replicast.errors import Conflict
from replicast.flexhash.commands import Code
from replicast.flexhash.versioning import Versioning
from replicast.formation import formation_beside, load_cluster_file
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.limits import DEFAULT_TENANT
from replicast.gateway.open import OpenedInitiator, open_initiator
from replicast.metrics import Counters
from replicast.wire.bucket_messages import BucketVersioning

CLIENTS = (1, 8)
COMMITS = 16 if TINY else 128  # of all clients together
TURNS = (Versioning.SUSPENDED, Versioning.ENABLED)
Opened = list[OpenedInitiator]


@pytest.fixture
def opened(cluster: LoopbackCluster) -> Iterator[Opened]:
    """As many as there may be at once."""
    file = load_cluster_file(find_cluster(str(cluster.data)).path)
    made: Opened = []

    async def connect() -> OpenedInitiator:
        formation = formation_beside(file)
        return await open_initiator(file, load(InitiatorConfig), Counters(), formation=formation)

    try:
        for number in range(max(CLIENTS)):
            made.append(cluster.run(connect()))
            cluster.run(ensure_bucket(made[-1], number))
        yield made
    finally:
        for each in made:
            cluster.run(each.close())


async def ensure_bucket(client: OpenedInitiator, number: int) -> None:
    with contextlib.suppress(Conflict):  # of an earlier test
        await client.buckets.create(bucket_of(number))


def bucket_of(number: int) -> str:
    return f"commits-{number}"


async def commit(client: OpenedInitiator, number: int, count: int) -> list[int]:
    """So many commands one after the other: the version of the settings that each one made."""
    record = await client.buckets.find(bucket_of(number))
    versions = []
    for turn in range(count):
        change = BucketVersioning(
            tenant=DEFAULT_TENANT,
            bucket=record.bucket,
            incarnation=record.incarnation,
            versioning=TURNS[turn % len(TURNS)],
        )
        answer = await client.client.command(change)
        assert answer.code == Code.OK
        versions.append(answer.value)
    return versions


async def commit_all(clients: Opened) -> list[int]:
    """By all of them at once; the versions in order."""
    count = COMMITS // len(clients)
    found = await asyncio.gather(
        *(commit(client, number, count) for number, client in enumerate(clients))
    )
    return sorted(version for versions in found for version in versions)


def every_one(versions: list[int]) -> str:
    """Each command made one version of the settings, and no other command made any."""
    made = [version - versions[0] for version in versions]
    assert made == list(range(COMMITS))
    return digest_of(made)


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("cluster", ["unicast"], indirect=True)
def test_commits(benchmark: Any, cluster: LoopbackCluster, opened: Opened, clients: int) -> None:
    measure(
        benchmark,
        Case(f"Raft commit x{clients}", operations=COMMITS),
        lambda: cluster.run(commit_all(opened[:clients])),
        digest=every_one,
        server_seconds=cluster.server_seconds,
    )
