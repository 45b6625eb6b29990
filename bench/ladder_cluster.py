"""Rungs of bench/ladder.py that are a whole cluster: on the disk, on a tmpfs, with or without hashing.

The folder stays from round to round, so that the log has grown to its usual segments; the daemons run
during the rung only, since idle ones cost time, too.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cheap_hash import cheap_hash
from figures import Sample, Usage
from s3_endpoints import cluster_endpoint
from unhashed_daemon import instead_of_daemons

import replicast
from replicast.cli.up import UpRequest, bring_down, bring_up

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
TARGETS, VDEVS = (3, 1) if TINY else (4, 2)
REQUEST = UpRequest(targets=TARGETS, vdevs=VDEVS, copies=3, transport="unicast")


class ClusterRung:
    """One cluster in `folder`, its client in this process."""

    def __init__(self, name: str, folder: Path, *, hashes: bool = True) -> None:
        self.name = name
        self._data, self._hashes = folder / name.replace(" ", "-").replace(",", ""), hashes
        self._rounds = 0

    def measure(self, clients: int, warm: list[memoryview], bodies: list[memoryview]) -> Sample:
        """Put all bodies, `clients` at once; those of `warm` before the clock starts."""
        self._rounds += 1
        with self._running():
            return asyncio.run(self._phase(clients, warm, bodies))

    def close(self) -> None:
        """Nothing runs between the rounds."""

    @contextmanager
    def _running(self) -> Iterator[None]:
        with ExitStack() as stack:
            if not self._hashes:
                stack.enter_context(cheap_hash())
                stack.enter_context(instead_of_daemons())
            stack.callback(self._stop)
            bring_up(self._data, REQUEST, lambda _: None)
            yield

    def _stop(self) -> None:
        if self._data.exists():
            bring_down(self._data, lambda _: None)

    async def _phase(
        self, clients: int, warm: list[memoryview], bodies: list[memoryview]
    ) -> Sample:
        endpoint = cluster_endpoint(self.name, self._data)
        async with await replicast.connect(self._data) as cluster:
            bucket = f"ladder-{self._rounds}"
            await cluster.create_bucket(bucket)
            await _put_all(cluster, bucket, "warm", clients, warm)
            servers, cpu = endpoint.cpu_seconds(), time.process_time()
            began = time.perf_counter()
            taken = await _put_all(cluster, bucket, "", clients, bodies)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            usage = Usage(wall, cpu, endpoint.cpu_seconds() - servers)
            await _compare(cluster, bucket, bodies[:clients])
        return usage.of_bytes(sum(map(len, bodies)), statistics.median(taken) * 1e3)


async def _put_all(
    cluster: replicast.Cluster,
    bucket: str,
    prefix: str,
    clients: int,
    bodies: Sequence[memoryview],
) -> list[float]:
    """Seconds of each."""
    waiting, taken = iter(enumerate(bodies)), []

    async def client() -> None:
        for number, body in waiting:
            began = time.perf_counter()
            await cluster.put(bucket, f"{prefix}{number:06}", body)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


async def _compare(cluster: replicast.Cluster, bucket: str, bodies: Sequence[memoryview]) -> None:
    for number, body in enumerate(bodies):
        if await cluster.read(bucket, f"{number:06}") != body:
            raise SystemExit(f"wrong bytes: {bucket}/{number:06}")
