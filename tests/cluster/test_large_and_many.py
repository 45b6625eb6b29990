"""Large objects, many objects, many clients: one gateway stays small, and nothing is lost or refused.

All of it goes through the API socket of a gateway daemon, whose highest resident memory counts.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from replicast.cli.find import find_cluster
from replicast.gateway.api_client import ApiConnection, connect_api
from replicast.gateway.api_frames import write_json

KIB, MIB, GIB = 1024, 1 << 20, 1 << 30
GATEWAY_BYTES_MAX = 300 * MIB
CROWDED_BYTES_MAX = 400 * MIB  # two chunks a client, its buffers, what all have ahead, the process
CLIENTS = 64
CROWD = 250  # a few below the connections that a gateway takes
CROWD_BYTES_MAX = 1200 * MIB  # the same of more clients
OBJECTS = 100_000
SETTLED_SECONDS, POLL_SECONDS = 60.0, 0.05

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory()
    made.run("bucket", "create", "large")
    made.run("bucket", "create", "many")
    yield made
    made.down()
    made.end()


def socket_of(cluster) -> Path:
    return find_cluster(str(cluster.data)).api_socket


def gateway_bytes(cluster) -> int:
    """The most that the gateway has had in memory since it started."""
    pid = int((cluster.data / "gw1" / "pid").read_text().split()[0])
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * KIB


def open_files(cluster) -> int:
    """Of the gateway, connections included."""
    pid = int((cluster.data / "gw1" / "pid").read_text().split()[0])
    return len(os.listdir(f"/proc/{pid}/fd"))


async def until_closed(cluster, files: int) -> None:
    """The gateway has noticed that its clients are gone: it has no more than so many files open."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while open_files(cluster) > files:
            await asyncio.sleep(POLL_SECONDS)


def stream(seed: int, size_bytes: int) -> AsyncIterator[bytes]:
    """Incompressible bytes, the same for the same seed, block by block."""

    async def blocks() -> AsyncIterator[bytes]:
        source = np.random.Generator(np.random.SFC64(seed))
        for at in range(0, size_bytes, MIB):
            yield source.bytes(min(MIB, size_bytes - at))

    return blocks()


async def same(api: ApiConnection, bucket: str, name: str, seed: int, size_bytes: int) -> bool:
    """Does the object hold the stream, to the last byte?"""
    source = np.random.Generator(np.random.SFC64(seed))
    wanted, got = bytearray(), 0
    async for answer in api.request("get", bucket=bucket, name=name):
        if isinstance(answer, dict):
            continue
        while len(wanted) < len(answer):
            wanted += source.bytes(min(MIB, size_bytes - got - len(wanted)))
        if wanted[: len(answer)] != answer:
            return False
        del wanted[: len(answer)]
        got += len(answer)
    return got == size_bytes


def test_4_gib__in_and_out(cluster):
    size_bytes = 4 * GIB + 4321

    async def work() -> None:
        async with connect_api(socket_of(cluster)) as api:
            begun = time.monotonic()
            answer = await api.one("put", stream(1, size_bytes), bucket="large", name="4gib")
            put_seconds = time.monotonic() - begun
            assert (answer["size_bytes"], answer["copies"]) == (size_bytes, 3)
            assert answer["short_of_copies"] == []
            begun = time.monotonic()
            assert await same(api, "large", "4gib", 1, size_bytes)
            get_seconds = time.monotonic() - begun
        rates = [size_bytes / MIB / seconds for seconds in (put_seconds, get_seconds)]
        print(f"4 GiB: put {rates[0]:.0f}, get {rates[1]:.0f} MiB/s", end="; ")

    asyncio.run(work())
    print(f"gateway {gateway_bytes(cluster) / MIB:.0f} MiB")
    assert gateway_bytes(cluster) < GATEWAY_BYTES_MAX


def name_of(number: int) -> str:
    return f"{number % 100:02d}/{number:06d}"


def test_100_000_objects__in_one_bucket(cluster):
    todo = iter(range(OBJECTS))

    async def client() -> None:
        async with connect_api(socket_of(cluster)) as api:
            for number in todo:
                answer = await api.one(
                    "put", one(number.to_bytes(4, "little")), bucket="many", name=name_of(number)
                )
                assert answer["copies"] == 3

    async def one(body: bytes) -> AsyncIterator[bytes]:
        yield body

    async def fill() -> None:
        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def listed(**arguments: str) -> list[str]:
        async with connect_api(socket_of(cluster)) as api:
            found = []
            async for answer in api.request("list", bucket="many", **arguments):
                assert isinstance(answer, dict)
                found.append(answer.get("name") or answer["prefix"])
            return found

    begun = time.monotonic()
    asyncio.run(fill())
    put_seconds = time.monotonic() - begun
    names = sorted(map(name_of, range(OBJECTS)))
    begun = time.monotonic()
    assert asyncio.run(listed()) == names
    list_seconds = time.monotonic() - begun
    assert asyncio.run(listed(prefix="42/")) == [n for n in names if n.startswith("42/")]
    assert asyncio.run(listed(after="98/099498")) == [n for n in names if n > "98/099498"]
    assert asyncio.run(listed(delimiter="/")) == [f"{n:02d}/" for n in range(100)]
    assert cluster.out("cat", f"many/{name_of(77_777)}") == (77_777).to_bytes(4, "little")
    print(
        f"100,000 objects: put {OBJECTS / put_seconds:.0f}/s by 64 clients, "
        f"list {OBJECTS / list_seconds:.0f}/s; gateway {gateway_bytes(cluster) / MIB:.0f} MiB"
    )
    assert gateway_bytes(cluster) < GATEWAY_BYTES_MAX


def put_and_get_at_once(cluster, clients: int, size_bytes: int, prefix: str) -> float:
    """Seconds until each client has put an object of its own and has got it back."""

    async def client(number: int) -> None:
        async with connect_api(socket_of(cluster)) as api:
            name = f"{prefix}/{number}"
            await api.one("put", stream(number, size_bytes), bucket="large", name=name)
            assert await same(api, "large", name, number, size_bytes)

    async def work() -> None:
        await asyncio.gather(*(client(number) for number in range(clients)))

    begun = time.monotonic()
    asyncio.run(work())
    return time.monotonic() - begun


def test_64_clients__put_and_get_large_objects_at_once(cluster):
    seconds = put_and_get_at_once(cluster, CLIENTS, 24 * MIB + 7, "at-once")
    print(f"64 x 24 MiB in {seconds:.1f} s; gateway {gateway_bytes(cluster) / MIB:.0f} MiB")
    assert gateway_bytes(cluster) < CROWDED_BYTES_MAX


def test_64_readers_that_do_not_go_on__keep_nobody_waiting(cluster):
    size_bytes = 40 * MIB

    async def stuck() -> asyncio.StreamWriter:
        """Asks for the object, takes its first bytes and no more."""
        reader, writer = await asyncio.open_unix_connection(str(socket_of(cluster)), limit=KIB)
        write_json(writer, {"op": "get", "bucket": "large", "name": "stuck"})
        await reader.readexactly(10)
        return writer

    async def work() -> None:
        files = open_files(cluster)
        async with connect_api(socket_of(cluster)) as api:
            await api.one("put", stream(7, size_bytes), bucket="large", name="stuck")
            writers = [await stuck() for _ in range(CLIENTS)]
            for seed in (8, 9):
                name = f"beside/{seed}"
                await api.one("put", stream(seed, size_bytes), bucket="large", name=name)
                assert await same(api, "large", name, seed, size_bytes)
            for writer in writers:
                writer.close()
        await until_closed(cluster, files)  # or the next test finds too many connections

    asyncio.run(work())
    print(f"gateway {gateway_bytes(cluster) / MIB:.0f} MiB")
    assert gateway_bytes(cluster) < CROWDED_BYTES_MAX


def test_a_crowd__of_writers_is_served_in_turns(cluster):
    """More than all VDEVs take at a time: whoever is told BUSY waits, and nobody fails."""
    seconds = put_and_get_at_once(cluster, CROWD, 8 * MIB + 7, "crowd")
    print(f"{CROWD} x 8 MiB in {seconds:.1f} s; gateway {gateway_bytes(cluster) / MIB:.0f} MiB")
    assert gateway_bytes(cluster) < CROWD_BYTES_MAX
