"""Names are linearizable whichever gateway is asked (contract C3), and retries are theirs alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from replicast.cli.layout import socket_path
from replicast.errors import ConditionFailed
from replicast.gateway.api_client import ApiConnection, connect_api

GROUP = 20


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory(gateways=2)
    made.run("bucket", "create", "names")
    yield made
    made.down()
    made.end()


@contextlib.asynccontextmanager
async def both(cluster) -> AsyncIterator[tuple[ApiConnection, ApiConnection]]:
    """A connection to each gateway."""
    async with (
        connect_api(socket_path(cluster.data / "gw1")) as a,
        connect_api(socket_path(cluster.data / "gw2")) as b,
    ):
        yield a, b


async def upload(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def put(api: ApiConnection, name: str, data: bytes, **when: str) -> dict[str, Any] | None:
    """What was stored; None when the condition did not hold."""
    try:
        return await api.one("put", upload(data), bucket="names", name=name, **when)
    except ConditionFailed:
        return None


async def answers(api: ApiConnection, operation: str, **arguments: str) -> list[dict[str, Any]]:
    found = [entry async for entry in api.request(operation, bucket="names", **arguments)]
    return [entry for entry in found if isinstance(entry, dict)]


async def race(cluster, name: str, rounds: int, size: int, data) -> None:
    """Each round both gateways put on the same condition: one wins, and the next builds on it."""
    winners: list[str] = []
    wins = [0, 0]
    when = {"if_none_match": "*"}
    async with both(cluster) as gateways:
        for number in range(rounds):
            bodies = [data(size) for _ in gateways]
            done = await asyncio.gather(
                *(put(api, name, body, **when) for api, body in zip(gateways, bodies, strict=True))
            )
            won = [index for index, entry in enumerate(done) if entry is not None]
            assert len(won) == 1, (number, done)
            entry = done[won[0]]
            assert entry is not None
            wins[won[0]] += 1
            winners.append(entry["version"])
            when = {"if_match": entry["etag"]}
        for api in gateways:
            listed = await answers(api, "versions", name=name)
            assert [entry["version"] for entry in listed] == winners[::-1]
            stat = await api.one("stat", bucket="names", name=name)
            assert stat["version"] == winners[-1]
    assert len(set(winners)) == rounds and winners == sorted(winners)
    print(f"{rounds} rounds on {name}: {wins[0]} won by gw1, {wins[1]} by gw2")


def test_conditional_puts__one_winner_a_round(cluster, data):
    asyncio.run(race(cluster, "small", 60, 1000, data))
    asyncio.run(race(cluster, "chunked", 20, 70_000, data))


@pytest.mark.slow
def test_conditional_puts__one_winner_in_each_of_1000(cluster, data):
    began = time.monotonic()
    asyncio.run(race(cluster, "many", 1000, 1000, data))
    print(f"{time.monotonic() - began:.1f} s")


async def put_then_list(cluster, base: str, count: int, data) -> None:
    """What A has put, B lists at once; so does A what B has put."""
    async with both(cluster) as gateways:
        seen = 0
        for number in range(count):
            prefix = f"{base}/{number // GROUP:03d}/"
            await put(gateways[number % 2], f"{prefix}{number % GROUP:02d}", data(200))
            listed = await answers(gateways[(number + 1) % 2], "list", prefix=prefix)
            wanted = [f"{prefix}{index:02d}" for index in range(number % GROUP + 1)]
            assert [entry["name"] for entry in listed] == wanted
            seen += 1
        listed = await answers(gateways[1], "list", prefix=f"{base}/")
        assert len(listed) == count == seen
    print(f"{seen} puts, each seen by the list through the other gateway that followed it")


def test_list__sees_what_another_gateway_has_put(cluster, data):
    asyncio.run(put_then_list(cluster, "few", 60, data))


@pytest.mark.slow
def test_list__sees_each_of_1000_puts_of_another_gateway(cluster, data):
    began = time.monotonic()
    asyncio.run(put_then_list(cluster, "lots", 1000, data))
    print(f"{time.monotonic() - began:.1f} s")


def test_read_and_delete__through_the_other_gateway(cluster, data):
    async def run() -> None:
        async with both(cluster) as (a, b):
            for number in range(30):
                name, body = f"turn/{number}", data(300)
                await put(a, name, body)
                got = [block async for block in b.request("get", bucket="names", name=name)]
                assert got[1] == body
                await b.one("delete", bucket="names", name=name)
                assert not await answers(a, "list", prefix=name)

    asyncio.run(run())


def test_buckets__made_and_unmade_by_the_other_gateway(cluster, data):
    """A gateway's list of buckets may be old: that is never the client's problem."""

    async def run() -> None:
        async with both(cluster) as (a, b):
            for number in range(3):
                await a.one("bucket_create", bucket="shared")
                body = data(500)
                await b.one("put", upload(body), bucket="shared", name="x")
                got = [block async for block in a.request("get", bucket="shared", name="x")]
                assert got[1] == body, number
                await b.one("delete", bucket="shared", name="x")
                await (a if number % 2 else b).one("bucket_delete", bucket="shared")

    asyncio.run(run())
