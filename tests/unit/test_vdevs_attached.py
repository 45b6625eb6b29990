"""VDEVs attached to a running loop: rows become durable without the commit thread, and are told in the loop."""

from __future__ import annotations

import asyncio
import os
import random
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from replicast.disks import RealDisk
from replicast.hashing import content_hash
from replicast.target.names.store import AppendRecords, EntryRecord
from replicast.target.store.errors import Outcome
from replicast.target.store.format import format_vdev
from replicast.target.store.vdev import Vdev
from replicast.target.vdevs import Vdevs

from .commit_threads import settle, watch

CLUSTER = b"cluster-16-bytes"
PAYLOAD = b"payload"
CHID = content_hash(1, PAYLOAD)


class Bench:
    """Two VDEVs of one target; `outcomes` by VDEV and token."""

    def __init__(self, paths: list[Path]) -> None:
        self.opened = [Vdev.open(RealDisk(), path, CLUSTER) for path in paths]
        self.vdevs = Vdevs(self.opened, asyncio.get_running_loop())
        self.vdevs.by_index = dict(enumerate(self.opened))
        self.vdevs.after = self._after
        self.vdevs.attach()
        self.outcomes: dict[tuple[int, object], Outcome] = {}
        self.told_by: set[int] = set()
        self.followed = 0
        self._changed = asyncio.Event()
        self.on_after: Callable[[], None] = lambda: None

    def _after(self) -> None:
        self.followed += 1
        self._changed.set()
        self.on_after()

    def append(self, vdev: int, token: int) -> None:
        event = AppendRecords(vdev, token, (EntryRecord(5, 1, token, b"data"),))
        self.vdevs.append_rows(event, self.done(vdev))

    def done(self, vdev: int) -> Callable[[object, Outcome], None]:
        def done(token: object, outcome: Outcome) -> None:
            self.told_by.add(threading.get_ident())
            self.outcomes[(vdev, token)] = outcome

        return done

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.outcomes) < count:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self.vdevs.detach()
        await asyncio.to_thread(self.vdevs.close)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    watch(monkeypatch)
    paths = [tmp_path / name for name in ("one", "two")]
    for number, path in enumerate(paths):
        format_vdev(RealDisk(), path, CLUSTER, None, random.Random(number))
    before = len(os.listdir("/proc/self/fd"))
    yield paths
    assert len(os.listdir("/proc/self/fd")) <= before


async def warm_bench(paths: list[Path]) -> Bench:
    """Each VDEV has a segment, which the commit thread makes."""
    bench = Bench(paths)
    for vdev in (0, 1):
        bench.append(vdev, 1)
    bench.vdevs.flush()
    await bench.wait(2)
    for vdev in bench.opened:
        settle(vdev)
        vdev._flush = None  # type: ignore[method-assign, assignment]
    return bench


def test_rows__do_without_the_commit_thread(paths: list[Path]) -> None:
    async def story() -> None:
        bench = await warm_bench(paths)
        for token in range(2, 30):
            bench.append(0, token)
            bench.append(1, token)
        assert not any(vdev.stat().flush_count > 1 for vdev in bench.opened)
        bench.vdevs.flush()
        await bench.wait(58)
        assert set(bench.outcomes.values()) == {Outcome.STORED}
        assert bench.told_by == {threading.get_ident()}
        assert [vdev.stat().flush_count for vdev in bench.opened] == [2, 2]
        assert bench.followed <= 4
        await bench.close()
        assert Path(f"/proc/self/fd/{bench.vdevs._written_fd}").exists() is False

    asyncio.run(story())


def test_rows__appended_by_who_was_told_follow(paths: list[Path]) -> None:
    async def story() -> None:
        bench = await warm_bench(paths)
        bench.on_after = lambda: bench.append(0, len(bench.outcomes))
        bench.append(0, 2)
        bench.vdevs.flush()
        await bench.wait(30)
        bench.on_after = lambda: None
        await bench.close()
        assert set(bench.outcomes.values()) == {Outcome.STORED}

    asyncio.run(story())


def test_proved_chunks__do_without_the_commit_thread(paths: list[Path]) -> None:
    async def story() -> None:
        bench = await warm_bench(paths)
        for token, size in ((2, 5), (3, 50_000), (4, 1 << 20)):
            payload = random.Random(token).randbytes(size)
            chid = content_hash(1, payload)
            bench.vdevs.store_chunk(0, chid, 1, payload, 9, token, bench.done(0), proved=True)
        bench.append(0, 5)
        bench.vdevs.flush()
        await bench.wait(6)
        assert set(bench.outcomes.values()) == {Outcome.STORED}
        assert bench.told_by == {threading.get_ident()}
        assert bench.opened[0].stat().flush_count == 2
        assert bench.opened[0].read_chunk(chid, direct=True) == payload
        await bench.close()

    asyncio.run(story())


def test_land__of_who_pumps_anyway_leaves_nothing_for_the_wake_up(paths: list[Path]) -> None:
    async def story() -> None:
        bench = await warm_bench(paths)
        vdevs, followed = bench.vdevs, bench.followed
        bench.append(0, 2)
        bench.append(1, 2)
        vdevs.flush()
        told = 0
        while told < 2:  # the two need not be written at once
            assert vdevs.flying
            select.select([vdevs._written_fd], [], [])
            vdevs.land()
            told = len(bench.outcomes) - 2
            vdevs.flush()
        assert not vdevs.land() and bench.followed == followed
        await asyncio.sleep(0)  # the loop sees that something was written
        bench.append(0, 3)
        vdevs.flush()
        await bench.wait(5)
        assert set(bench.outcomes.values()) == {Outcome.STORED}
        await bench.close()

    asyncio.run(story())


def test_chunks_and_rows__side_by_side(paths: list[Path]) -> None:
    async def story() -> None:
        bench = Bench(paths)
        count = 0
        for token in range(1, 200):
            payload = b"%d" % token
            chid = content_hash(1, payload)
            if token % 3 == 0:
                bench.vdevs.store_chunk(1, chid, 1, payload, 9, -token, bench.done(1))
                count += 1
            bench.append(token % 2, token)
            count += 1
            bench.vdevs.flush()
            if token % 7 == 0:
                await bench.wait(count - 1)
        await bench.wait(count)
        assert set(bench.outcomes.values()) == {Outcome.STORED}
        await bench.close()

    asyncio.run(story())


def test_follow_up_that_fails__holds_nothing_up(paths: list[Path]) -> None:
    async def story() -> None:
        bench = await warm_bench(paths)
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))

        def fail() -> None:
            bench.on_after = lambda: None
            bench.append(0, 3)
            raise KeyError

        bench.on_after = fail
        bench.append(0, 2)
        bench.vdevs.flush()
        await bench.wait(4)
        assert len(failures) == 1
        await bench.close()

    asyncio.run(story())


def test_close__with_a_flight_out_and_rows_that_were_not_flushed(paths: list[Path]) -> None:
    async def story() -> None:
        bench = Bench(paths)
        bench.append(0, 1)
        bench.vdevs.flush()
        await bench.wait(1)
        bench.append(0, 2)
        bench.vdevs.flush()
        bench.append(0, 3)
        await bench.close()
        await bench.wait(3)
        assert set(bench.outcomes.values()) == {Outcome.STORED}
        assert bench.vdevs._attached == [] and bench.vdevs.due == []

    asyncio.run(story())
