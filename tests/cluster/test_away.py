"""A target is stopped while names are written.

Until its rows' logs have been cut behind it: it comes back while writes go on, and its replica is
installed, as its metric says. Then the other replicas of the row are killed in turn, so that it
leads and answers with what it was given.
The retry window of this cluster is a second, or logs would be cut after a quarter of an hour.

Or for more entries of one row than a message takes, none of which is cut: it is brought up to date by the log
while writes go on, and then leads, too.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from pathlib import Path

import pytest

import replicast
from replicast.wire.row_messages import ENTRIES_MAX

from .test_damaged_names import replicas

SETTLE_SECONDS = 120.0
CROWD = 24


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster(targets=4, vdevs=1)
    made.run("bucket", "create", "names")
    made.down()
    for path in Path(made.data).glob("t*/**/formation.toml"):
        text = path.read_text()
        assert "retry_window_seconds = 900" in text
        path.write_text(text.replace("retry_window_seconds = 900", "retry_window_seconds = 1"))
    made.up()
    yield made
    made.down()
    made.end()


@pytest.fixture
def patient(make_cluster):
    """Its logs are not cut for a quarter of an hour."""
    made = make_cluster(targets=4, vdevs=1)
    made.run("bucket", "create", "names")
    yield made
    made.end()


def counter(cluster, target: str, name: str) -> int:
    with urllib.request.urlopen(
        f"http://{cluster.daemons()[target].metrics}/metrics", timeout=20
    ) as answer:
        found = re.search(rf"^replicast_{name}(?:_total)? (\d+)", answer.read().decode(), re.M)
    return int(found.group(1)) if found else 0


class Writer:
    """Puts versions of one name, keeps every twentieth and removes all others."""

    def __init__(self, client, data) -> None:
        self._client, self._data = client, data
        self.kept: dict[str, bytes] = {}
        self.stopping = False
        self.count = 0

    async def run(self) -> None:
        while not self.stopping:
            body = self._data(600)
            info = await self._client.put("names", "busy", body)
            if self.count % 20 == 0:
                self.kept[info.version] = body
            else:
                await self._client.delete("names", "busy", version=info.version)
            self.count += 1

    async def check(self) -> None:
        """All that was kept is there, and nothing that was removed."""
        found = {info.version for info in await self._client.versions("names", "busy")}
        assert set(self.kept) <= found and len(found) <= len(self.kept) + 1
        for version, body in self.kept.items():
            assert await self._client.read("names", "busy", version=version) == body


async def until(what, running) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while not await asyncio.to_thread(what):
        assert not running.done(), running.exception()
        assert time.monotonic() < end, "never came to this"
        await asyncio.sleep(0.1)


async def until_it_leads(cluster, away, check) -> None:
    """Kill who leads the row of the name, until `away` does; what was written is there all the time."""
    while (order := await asyncio.to_thread(replicas, cluster, "busy"))[0] != away:
        await asyncio.to_thread(cluster.kill, order[0])
        await check()
        await asyncio.to_thread(cluster.up)
    await check()


async def story(cluster, data) -> None:
    async with await replicast.connect(cluster.data) as client:
        writer = Writer(client, data)
        await client.put("names", "busy", data(600))
        first, _, away = await asyncio.to_thread(replicas, cluster, "busy")
        running = asyncio.ensure_future(writer.run())
        await until(lambda: writer.count > 20, running)
        await asyncio.to_thread(cluster.kill, away)
        cuts = await asyncio.to_thread(counter, cluster, first, "row_cuts")
        await until(lambda: counter(cluster, first, "row_cuts") > cuts, running)
        before = writer.count
        await asyncio.to_thread(cluster.up)
        await until(lambda: counter(cluster, away, "row_installs") > 0, running)
        await until(lambda: cluster.status()["exit"] == 0, running)
        assert writer.count > before, "writes went on"
        writer.stopping = True
        await running
        print(f"{writer.count} versions written, {len(writer.kept)} kept")
        await writer.check()
        await asyncio.to_thread(cluster.run, "verify", "names/busy")
        await until_it_leads(cluster, away, writer.check)


class Crowd:
    """Many put versions of one name, small ones, and remember every hundredth."""

    def __init__(self, client, data) -> None:
        self._client, self._data = client, data
        self.kept: dict[str, bytes] = {}
        self.stopping = False
        self.count = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CROWD):
                group.create_task(self._writer())

    async def _writer(self) -> None:
        while not self.stopping:
            body = self._data(16)
            info = await self._client.put("names", "busy", body)
            self.count += 1
            if self.count % 100 == 0:
                self.kept[info.version] = body

    async def check(self) -> None:
        for version, body in self.kept.items():
            assert await self._client.read("names", "busy", version=version) == body


async def long_log(cluster, data) -> None:
    async with await replicast.connect(cluster.data) as client:
        crowd = Crowd(client, data)
        await client.put("names", "busy", data(16))
        _, _, away = await asyncio.to_thread(replicas, cluster, "busy")
        await asyncio.to_thread(cluster.kill, away)
        running = asyncio.ensure_future(crowd.run())
        await until(lambda: crowd.count > ENTRIES_MAX + 500, running)
        await asyncio.to_thread(cluster.up)
        before = crowd.count
        await until(lambda: cluster.status()["exit"] == 0, running)
        assert crowd.count > before, "writes went on"
        crowd.stopping = True
        await running
        print(f"{crowd.count} versions written")
        assert await asyncio.to_thread(counter, cluster, away, "row_installs") == 0
        await until_it_leads(cluster, away, crowd.check)


@pytest.mark.slow
def test_away_for_more_than_a_message_takes__caught_up_while_writes_go_on(patient, data):
    asyncio.run(asyncio.wait_for(long_log(patient, data), 500))


@pytest.mark.slow
def test_away_for_longer_than_the_log__installed_while_writes_go_on(cluster, data):
    asyncio.run(asyncio.wait_for(story(cluster, data), 500))
