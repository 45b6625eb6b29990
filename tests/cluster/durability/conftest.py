"""A load that knows what it was promised, for tests that break clusters while it runs.

Each name has one writer, so that what may be read is exact: the newest version that was
acknowledged, or one whose put was under way when its writer was stopped. Contents are made
from a number, distinct and incompressible, and never kept.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from contents import Content

from replicast.embed import Cluster as Client
from replicast.errors import NotFound
from replicast.units import KIB, MIB

BUCKET = "load"
BUCKETS_MAX, BUCKET_SECONDS = 200, 0.2
SIZES = (0, 1, 700, 9 * KIB, 40 * KIB, 64 * KIB, 90 * KIB, 300 * KIB, MIB + 40 * KIB, 2 * MIB + 77)


@dataclass(slots=True)
class Name:
    """What the cluster promised about one name."""

    versions: dict[str, Content] = field(default_factory=dict)  # every acknowledged put
    read: set[str] = field(default_factory=set)  # versions whose bytes a check has read
    newest: Content | None = None  # None: absent, or its deletion was acknowledged
    unsure: list[Content | None] = field(default_factory=list)  # put or deleted without an answer

    def may_be(self) -> list[Content | None]:
        return [self.newest, *self.unsure]


@dataclass(slots=True)
class Pause:
    """The longest time that one operation took, and which."""

    seconds: float = 0.0
    operation: str = ""

    def note(self, operation: str, began: float) -> None:
        took = time.monotonic() - began
        if took > self.seconds:
            self.seconds, self.operation = took, operation


class Load:
    """Writers and readers on names of their own; `failures` stays empty while all is well."""

    def __init__(self, seed: int, sizes: tuple[int, ...] = SIZES) -> None:
        self._rng = random.Random(seed)
        self._sizes = sizes
        self._number = seed * 1_000_000
        self.names: dict[str, Name] = {}
        self.buckets: list[str] = []  # created and acknowledged: Raft's part
        self.puts = self.gets = self.deletes = self.bytes_put = 0
        self.failures: list[str] = []
        self.longest = {"put": Pause(), "get": Pause(), "delete": Pause()}
        self.stopping = False

    def content(self) -> Content:
        self._number += 1
        return Content(self._number, self._rng.choice(self._sizes))

    async def run(self, client: Client, workers: int = 4, names_each: int = 12) -> None:
        """Until `stopping`, or cancelled as by a power loss."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._create_buckets(client))
            for worker in range(workers):
                mine = [f"w{worker}/n{number:02d}" for number in range(names_each)]
                group.create_task(self._work(client, mine))

    async def _create_buckets(self, client: Client) -> None:
        """A few at most: what they are for is a Raft journal with fresh commands in it."""
        base = self._rng.getrandbits(32)
        for number in range(BUCKETS_MAX):
            if self.stopping:
                return
            bucket = f"raft-{base:08x}-{number:03d}"
            try:
                await client.create_bucket(bucket)
            except Exception as error:  # noqa: BLE001 - as below
                self.failures.append(f"{bucket}: {type(error).__name__}: {error}")
                return
            self.buckets.append(bucket)
            await asyncio.sleep(BUCKET_SECONDS)

    async def _work(self, client: Client, mine: list[str]) -> None:
        while not self.stopping:
            name = self._rng.choice(mine)
            known = self.names.setdefault(name, Name())
            dice = self._rng.random()
            try:
                if dice < 0.6:
                    await self.put(client, name, known)
                elif dice < 0.65 and known.newest is not None:
                    await self.delete(client, name, known)
                else:
                    await self.get(client, name, known)
            except Exception as error:  # noqa: BLE001 - all of them are what the test is about
                self.failures.append(f"{name}: {type(error).__name__}: {error}")

    async def put(self, client: Client, name: str, known: Name) -> None:
        content, began = self.content(), time.monotonic()
        known.unsure.append(content)
        info = await client.put(BUCKET, name, content.data())
        self.longest["put"].note(name, began)
        version = version_text(info)
        if known.versions and version <= max(known.versions):
            self.failures.append(f"{name}: version {version} is not above all before it")
        known.versions[version] = content
        known.newest = content
        known.unsure.clear()
        self.puts += 1
        self.bytes_put += content.size

    async def delete(self, client: Client, name: str, known: Name) -> None:
        began = time.monotonic()
        known.unsure.append(None)
        await client.delete(BUCKET, name)
        self.longest["delete"].note(name, began)
        known.newest = None
        known.unsure.clear()
        self.deletes += 1

    async def get(self, client: Client, name: str, known: Name) -> None:
        began = time.monotonic()
        found = await read(client, name)
        self.longest["get"].note(name, began)
        self.gets += 1
        if not any(same(found, content) for content in known.may_be()):
            size = "nothing" if found is None else f"{len(found)} bytes"
            self.failures.append(f"{name}: wrong content ({size})")

    async def check(self, client: Client, *, whole: bool = True) -> None:
        """Everything acknowledged is there, all versions of it; settles what was unsure.

        Not `whole`: versions whose bytes an earlier check has read are only looked for.
        """
        gone = set(self.buckets) - set(await client.list_buckets())
        assert not gone, f"acknowledged buckets are gone: {sorted(gone)}"
        for name, known in sorted(self.names.items()):
            found = await read(client, name)
            matching = [content for content in known.may_be() if same(found, content)]
            assert matching, f"{name}: neither the newest version nor one under way"
            known.newest = matching[0]
            known.unsure.clear()
            listed = [version_text(info) for info in await versions(client, name)]
            assert listed == sorted(listed, reverse=True), f"{name}: not newest first: {listed}"
            lost = set(known.versions) - set(listed)
            assert not lost, f"{name}: acknowledged versions are gone: {sorted(lost)}"
            for version, content in known.versions.items():
                if whole or version not in known.read:
                    data = await client.read(BUCKET, name, version=version)
                    assert data == content.data(), f"{name} version {version}: wrong bytes"
                    known.read.add(version)

    def summary(self) -> str:
        held = sum(len(known.versions) for known in self.names.values())
        return (
            f"{self.puts} puts ({self.bytes_put / MIB:.0f} MiB), {self.gets} gets, "
            f"{self.deletes} deletes, {held} versions and {len(self.buckets)} buckets acknowledged"
        )


async def versions(client: Client, name: str) -> list[Any]:
    try:
        return list(await client.versions(BUCKET, name))
    except NotFound:
        return []


async def read(client: Client, name: str) -> bytes | None:
    try:
        return await client.read(BUCKET, name)
    except NotFound:
        return None


def same(found: bytes | None, content: Content | None) -> bool:
    if found is None or content is None:
        return found is None and content is None
    return found == content.data()


def version_text(info: Any) -> str:
    version = info.version
    return f"{version.time_ns:016x}.{version.segment_id:016x}.{version.sequence:08x}"


@pytest.fixture(scope="session")
def make_load() -> Callable[..., Load]:
    return Load


@pytest.fixture
def power_cut() -> Callable[[Any], None]:
    """kill -9 of all processes of a cluster, at once."""

    def cut(cluster: Any) -> None:
        daemons = cluster.daemons().values()
        for pid in [pid for daemon in daemons if (pid := daemon.pid()) is not None]:
            os.kill(pid, signal.SIGKILL)
        for daemon in daemons:
            daemon.kill()  # waits until it is gone

    return cut


@pytest.fixture
def loaded_cluster(make_cluster: Callable[..., Any]) -> Callable[..., Any]:
    """Clusters with the bucket of the load."""

    def make(**request: Any) -> Any:
        cluster = make_cluster(**request)
        cluster.run("bucket", "create", BUCKET)
        return cluster

    return make
