"""Ctrl-C leaves nothing visible behind; long listings; a name whose row's leader has moved."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import replicast
from replicast.cli.layout import socket_path
from replicast.gateway.api_client import connect_api

MIB = 1 << 20
SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory()
    made.run("bucket", "create", "work")
    yield made
    made.down()
    made.end()


def start(cluster, *arguments, **pipes) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "replicast.cli", *map(str, arguments)], env=cluster.environ, **pipes
    )


def until(condition) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.02)


# -- Ctrl-C --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_put__interrupted_in_the_middle_stores_no_version(cluster, data, number):
    """The source is still open: what was sent so far must not become an object."""
    process = start(cluster, "put", "-", "work/half", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(data(6 * MIB))
    process.stdin.flush()
    process.send_signal(number)
    # Standard input stays open, as a terminal's does: its end must not be waited for.
    assert process.wait(SECONDS) != 0
    process.stdin.close()
    assert "Traceback" not in process.stderr.read().decode()
    for _ in range(3):
        assert cluster.out("ls", "work/half") == b""
        cluster.error("stat", "work/half", code=1)


def test_put__interrupted_keeps_the_old_version(cluster, data):
    body = data(100_000)
    cluster.run("put", "-q", "-", "work/kept", stdin=body)
    process = start(
        cluster, "put", "-q", "-", "work/kept", stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(data(3 * MIB))
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    process.stderr.read()
    assert process.wait(SECONDS) != 0
    assert cluster.out("cat", "work/kept") == body
    assert len(cluster.out("stat", "--versions", "--json", "work/kept").splitlines()) == 1


def interrupt(process, folder, finished: str, number: int) -> None:
    """Signal it in the middle of writing something other than `finished` into `folder`.

    It is stopped first, so that it cannot end between the look and the signal; one that was
    faster than the look goes on to its end.
    """

    def names() -> set[str]:
        return {path.name for path in folder.iterdir()}

    old = names()
    until(lambda: names() - old or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)
    if names() - old - {finished}:
        process.send_signal(number)
    process.send_signal(signal.SIGCONT)


def test_get__interrupted_leaves_no_file(cluster, data, tmp_path):
    body = data(64 * MIB)
    cluster.run("put", "-q", "-", "work/large", stdin=body)
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(cluster, "get", "work/large", folder / "file", stderr=subprocess.PIPE)
    interrupt(process, folder, "file", signal.SIGINT)
    error = process.stderr.read().decode()
    assert process.wait(SECONDS) in (0, 130)
    assert "Traceback" not in error
    # All of it, had it come to its last step already, or nothing.
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert left in ({}, {"file": body})
    assert left or process.returncode == 130


def test_get__interrupted_keeps_the_old_file(cluster, data, tmp_path):
    body = data(64 * MIB)
    cluster.run("put", "-q", "-", "work/new", stdin=body)
    target = tmp_path / "file"
    target.write_bytes(b"old")
    process = start(cluster, "get", "-q", "work/new", target)
    interrupt(process, tmp_path, "file", signal.SIGKILL)
    process.wait(SECONDS)
    assert target.read_bytes() in (b"old", body)


# -- lists ----------------------------------------------------------------------------


async def put_many(cluster, bucket: str, count: int) -> list[str]:
    names = [f"d{number % 7}/e{number % 3}/n{number:05}" for number in range(count)]
    todo = iter(names)

    async def one_byte() -> AsyncIterator[bytes]:
        yield b"x"

    async def worker() -> None:
        async with connect_api(socket_path(cluster.data / "gw1")) as api:
            for name in todo:
                await api.one("put", one_byte(), bucket=bucket, name=name)

    await asyncio.gather(*(worker() for _ in range(32)))
    return sorted(names)


async def listed(cluster, bucket: str, **how: Any) -> list[str]:
    async with connect_api(socket_path(cluster.data / "gw1")) as api:
        found = []
        async for entry in api.request("list", bucket=bucket, **how):
            assert isinstance(entry, dict)
            found.append(entry.get("prefix") or entry["name"])
        return found


async def check_lists(cluster, bucket: str, names: list[str]) -> None:
    assert await listed(cluster, bucket) == names
    assert await listed(cluster, bucket, prefix="d3/") == [n for n in names if n.startswith("d3/")]
    assert await listed(cluster, bucket, prefix="d3/e1/n001") == [
        n for n in names if n.startswith("d3/e1/n001")
    ]
    assert await listed(cluster, bucket, prefix="none") == []
    assert await listed(cluster, bucket, delimiter="/") == [f"d{i}/" for i in range(7)]
    assert await listed(cluster, bucket, prefix="d3/", delimiter="/") == [
        f"d3/e{i}/" for i in range(3)
    ]
    for after in (names[0], names[len(names) // 2], names[-1], "d2/", "zzz"):
        assert await listed(cluster, bucket, after=after) == [n for n in names if n > after]


def test_list__every_page_size_is_crossed(cluster):
    cluster.run("bucket", "create", "pages")
    names = asyncio.run(put_many(cluster, "pages", 300))
    asyncio.run(check_lists(cluster, "pages", names))


@pytest.mark.slow
def test_list__5000_names_with_paging_prefix_and_delimiter(cluster):
    cluster.run("bucket", "create", "many")
    began = time.monotonic()
    names = asyncio.run(put_many(cluster, "many", 5000))
    put_at = time.monotonic()
    assert asyncio.run(listed(cluster, "many")) == names
    listed_at = time.monotonic()
    asyncio.run(check_lists(cluster, "many", names))
    print(f"5000 names put in {put_at - began:.1f} s, listed in {listed_at - put_at:.2f} s")


# -- a leader that moved --------------------------------------------------------------------


def test_get__from_a_gateway_whose_table_is_older_than_the_rows_leader(cluster, data):
    """The embedded client has a table; then the leader of half its rows stops."""

    async def run() -> None:
        async with await replicast.connect(cluster.data) as client:
            await client.create_bucket("moved")
            bodies = {f"n{number}": data(500) for number in range(40)}
            for name, body in bodies.items():
                await client.put("moved", name, body)
            await asyncio.to_thread(cluster.daemons()["t1"].kill)
            began = time.monotonic()
            for name, body in bodies.items():
                assert await client.read("moved", name) == body
            print(f"all read {time.monotonic() - began:.1f} s after t1 was killed")
            listing = [entry.name async for entry in client.list("moved")]
            assert listing == sorted(bodies)
            await asyncio.to_thread(cluster.up)
            for name, body in bodies.items():
                assert await client.read("moved", name) == body
                await client.put("moved", name, data(500))

    asyncio.run(run())
