"""Rungs of bench/ladder.py that are a cluster: with or without a disk, with or without hashing.

Every measurement has a new cluster that came to rest and goes afterwards: what it needs is room for
one, and nothing idles beside another rung.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from at_rest import settle
from figures import Sample, Usage
from partial_daemon import without
from s3_endpoints import cluster_endpoint

import replicast
from replicast.cli.layout import LOCAL_FILE
from replicast.cli.up import UpRequest, bring_down, bring_up

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
TARGETS, VDEVS = (3, 1) if TINY else (4, 2)
BUCKET = "ladder"
REQUEST = UpRequest(targets=TARGETS, vdevs=VDEVS, copies=3, transport="unicast")


class ClusterRung:
    """Clusters in `folder`, one after the other, the client in this process; `left_out` of their stages."""

    def __init__(self, name: str, folder: Path, *left_out: str) -> None:
        self.name, self._folder, self._left_out = name, folder, left_out

    def measure(self, clients: int, warm: list[memoryview], bodies: list[memoryview]) -> Sample:
        """Put all bodies, `clients` at once; those of `warm` before the clock starts."""
        with self._running() as data:
            return asyncio.run(self._phase(data, clients, warm, bodies))

    @contextmanager
    def _running(self) -> Iterator[Path]:
        """Its data folder."""
        with ExitStack() as stack:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder))) / "data"
            stack.enter_context(without(*self._left_out))
            stack.callback(_stop, data)
            bring_up(data, REQUEST, lambda _: None)
            settle(cluster_endpoint(self.name, data))
            yield data

    async def _phase(
        self, data: Path, clients: int, warm: list[memoryview], bodies: list[memoryview]
    ) -> Sample:
        endpoint = cluster_endpoint(self.name, data)
        async with await replicast.connect(data) as cluster:
            await cluster.create_bucket(BUCKET)
            await _put_all(cluster, "warm", clients, warm)
            servers, cpu = endpoint.cpu_seconds(), time.process_time()
            began = time.perf_counter()
            taken = await _put_all(cluster, "", clients, bodies)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            usage = Usage(wall, cpu, endpoint.cpu_seconds() - servers)
            if "disk" not in self._left_out:
                await _compare(cluster, bodies[:clients])
        return usage.of_bytes(sum(map(len, bodies)), p50_ms=statistics.median(taken) * 1e3)


def _stop(data: Path) -> None:
    if (data / LOCAL_FILE).exists():
        bring_down(data, lambda _: None)


async def _put_all(
    cluster: replicast.Cluster, prefix: str, clients: int, bodies: Sequence[memoryview]
) -> list[float]:
    """Seconds of each."""
    waiting, taken = iter(enumerate(bodies)), []

    async def client() -> None:
        for number, body in waiting:
            began = time.perf_counter()
            await cluster.put(BUCKET, f"{prefix}{number:06}", body)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


async def _compare(cluster: replicast.Cluster, bodies: Sequence[memoryview]) -> None:
    for number, body in enumerate(bodies):
        if await cluster.read(BUCKET, f"{number:06}") != body:
            raise SystemExit(f"wrong bytes: {BUCKET}/{number:06}")
