"""Objects through a real cluster on loopback: latency and throughput, unicast beside multicast.

4 targets x 2 VDEVs, 3 copies, acknowledged after fdatasync; the initiator is embedded in
this process. Every object is new and incompressible. CPU seconds are those of this process
and of all daemons together. Digest: of the last object read back.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import replicast
from replicast.cli.layout import load_local
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.native import IMPLEMENTATION
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS = 2 if TINY else 40
CLIENTS = 2 if TINY else 8
BATCH = 4 if TINY else 64


class Bench:
    """One cluster and an initiator on a loop of its own."""

    def __init__(self, data: Path, transport: str) -> None:
        bring_up(data, UpRequest(transport=transport), lambda line: None)
        self._data = data
        self._loop = asyncio.new_event_loop()
        self._rng = random.Random(time.time_ns())
        self.cluster = self.run(replicast.connect(data))
        self.run(self.cluster.create_bucket("bench"))
        self._count = 0
        self.names: list[str] = []

    def run(self, work: Awaitable[object]) -> object:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.cluster.close())
        self._loop.close()
        bring_down(self._data, lambda line: None)

    def cpu_seconds(self) -> float:
        """This process and the daemons."""
        total = time.process_time()
        for daemon in load_local(self._data).all(self._data):
            pid = daemon.pid()
            if pid is not None:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def block(self, size_bytes: int) -> bytes:
        return self._rng.randbytes(size_bytes)

    async def put(self, data: bytes) -> None:
        self._count += 1
        name = f"{len(data)}/{self._count}"
        await self.cluster.put("bench", name, data)
        self.names.append(name)

    async def get(self, name: str) -> bytes:
        return await self.cluster.read("bench", name)

    async def many(self, one: Callable[[int], Awaitable[object]], count: int) -> None:
        todo = iter(range(count))

        async def client() -> None:
            for number in todo:
                await one(number)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


@pytest.fixture(scope="module", params=["unicast", "multicast"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    made = Bench(tmp_path_factory.mktemp("bench") / "data", request.param)
    made.transport = request.param
    yield made
    made.close()


def report(bench: Bench, what: str, count: int, size: int, wall: float, cpu: float) -> None:
    print(
        f"\n{what} {bench.transport}: {count / wall:.0f} op/s, {count * size / 1e6 / wall:.1f} MB/s, "
        f"{1000 * cpu / count:.2f} CPU seconds per 1000, {IMPLEMENTATION}"
    )


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
def test_put_latency(bench: Bench, benchmark: BenchmarkFixture, size: int) -> None:
    """One client, one object after the other."""

    def setup() -> tuple[tuple[bytes], dict[str, object]]:
        return (bench.block(size),), {}

    benchmark.pedantic(lambda data: bench.run(bench.put(data)), setup=setup, rounds=ROUNDS)


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
def test_get_latency(bench: Bench, benchmark: BenchmarkFixture, size: int) -> None:
    """One client, objects put just before."""
    data = [bench.block(size) for _ in range(4)]
    for each in data:
        bench.run(bench.put(each))
    names = bench.names[-4:]
    at = iter(range(1 << 30))
    found = benchmark.pedantic(
        lambda: bench.run(bench.get(names[next(at) % 4])), rounds=ROUNDS, warmup_rounds=1
    )
    assert found in data
    print(f"\ndigest {hashlib.sha256(data[0]).hexdigest()[:16]}")


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
def test_throughput(bench: Bench, benchmark: BenchmarkFixture, size: int) -> None:
    """Several clients at once, puts then gets."""
    data = [bench.block(size) for _ in range(BATCH)]
    cpu, start = bench.cpu_seconds(), time.perf_counter()
    benchmark.pedantic(lambda: bench.run(bench.many(lambda i: bench.put(data[i]), BATCH)), rounds=1)
    report(
        bench,
        f"put {size} x{CLIENTS}",
        BATCH,
        size,
        time.perf_counter() - start,
        bench.cpu_seconds() - cpu,
    )
    names = bench.names[-BATCH:]
    cpu, start = bench.cpu_seconds(), time.perf_counter()
    bench.run(bench.many(lambda i: bench.get(names[i]), BATCH))
    report(
        bench,
        f"get {size} x{CLIENTS}",
        BATCH,
        size,
        time.perf_counter() - start,
        bench.cpu_seconds() - cpu,
    )
