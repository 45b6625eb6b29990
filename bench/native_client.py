"""PUT and GET by the native client: rates, latencies, CPU, and what goes to the disk.

    .venv/bin/python bench/native_client.py [--sizes 4096,...] [--clients 1,8] [--rounds 5]
        [--transport multicast] [--json FILE]

A new cluster of 4 targets x 2 VDEVs on loopback in each round, at rest (at_rest.py), 3 copies,
acknowledged after fdatasync; the client is embedded in this process. Every object is new and incompressible, made
before the clock starts; every byte that is read is compared. `sync` runs between phases, outside
the clock. What is read was put through another connection, so this one has to be told where it
lies. Each round measures every size with every number of clients. CPU seconds are those of the
daemons and, apart, of this process; "written" is what the daemons wrote to the disk for each byte
of a PUT. bench/table.py puts these figures beside those of S3 and what the machine allows.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from at_rest import settle
from figures import Figures, Usage
from results import size_text
from s3_endpoints import Endpoint, cluster_endpoint

import replicast
from replicast.cli.layout import LOCAL_FILE
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
SIZES = (4 * KIB, 64 * KIB, MIB, 16 * MIB)
CLIENTS = (1, 8)
ROUNDS, SECONDS = (1, 0.2) if TINY else (5, 1.5)
FIGURE_MIB, OBJECTS_MAX = (1, 8) if TINY else (128, 4000)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one phase: its time, and what a PUT phase puts at most."""

    seconds: float = SECONDS
    mib: int = FIGURE_MIB
    objects: int = OBJECTS_MAX

    def count(self, size_bytes: int, clients: int) -> int:
        """Objects to put."""
        return max(clients, min(self.mib * MIB // size_bytes, self.objects))


class Phase:
    """Meters of one phase, and the times of its operations."""

    def __init__(self, endpoint: Endpoint) -> None:
        os.sync()
        self._endpoint = endpoint
        self._taken: list[float] = []
        self._written = written_bytes(endpoint)
        self._servers = endpoint.cpu_seconds()
        self._client, self._began = time.process_time(), time.perf_counter()

    async def run(self, clients: int, seconds: float, once: Callable[[], Awaitable[bool]]) -> None:
        """Every client does one after the other, until there are no more or the time is over."""
        end = self._began + seconds

        async def client() -> None:
            while (started := time.perf_counter()) < end and await once():
                self._taken.append(time.perf_counter() - started)

        await asyncio.gather(*(client() for _ in range(clients)))

    def tell(self, figures: Figures, name: str, size_bytes: int) -> None:
        """Small objects in op/s, from 1 MiB on in MiB/s."""
        wall = time.perf_counter() - self._began
        client = time.process_time() - self._client
        usage = Usage(wall, client, self._endpoint.cpu_seconds() - self._servers)
        written = written_bytes(self._endpoint) - self._written
        count, taken = len(self._taken), sorted(self._taken)
        more = {
            "p50_ms": statistics.median(taken) * 1e3,
            "p99_ms": taken[min(count - 1, count * 99 // 100)] * 1e3,
            "written": written / (count * size_bytes),
        }
        if size_bytes < MIB:
            figures.add(name, "op/s", usage.of_operations(count, **more))
        else:
            figures.add(name, "MiB/s", usage.of_bytes(count * size_bytes, **more))


class Load:
    """What is done with a cluster; buckets are its own."""

    def __init__(
        self,
        writer: replicast.Cluster,
        reader: replicast.Cluster,
        endpoint: Endpoint,
        limits: Limits,
    ) -> None:
        self._writer, self._reader = writer, reader
        self._endpoint, self._limits = endpoint, limits
        self._numbers = itertools.count(1)
        self._random = random.Random(1)

    async def measure(self, figures: Figures, size: int, clients: int) -> None:
        """PUT, then GET of what was put."""
        bucket = f"native-{next(self._numbers)}"
        await self._writer.create_bucket(bucket)
        count = self._limits.count(size, clients)
        waiting = [(f"{n:06}", os.urandom(size)) for n in range(count)]
        stored: list[tuple[str, bytes]] = []

        async def put() -> bool:
            if not waiting:
                return False
            name, body = waiting.pop()
            await self._writer.put(bucket, name, body)
            stored.append((name, body))
            return True

        async def get() -> bool:
            name, body = self._random.choice(stored)
            if await self._reader.read(bucket, name) != body:
                raise SystemExit(f"wrong bytes: {bucket}/{name}")
            return True

        for operation, once in (("PUT", put), ("GET", get)):
            phase = Phase(self._endpoint)
            await phase.run(clients, self._limits.seconds, once)
            phase.tell(figures, f"native {operation} {size_text(size)} x{clients}", size)


def written_bytes(endpoint: Endpoint) -> int:
    """By all daemons, to the disk, so far."""
    total = 0
    for pid in endpoint.pids():
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                total += int(line.split()[1])
    return total


async def measure_all(
    figures: Figures, data: Path, sizes: Sequence[int], clients: Sequence[int], limits: Limits
) -> None:
    """Every size with every number of clients, once."""
    async with (
        await replicast.connect(data) as writer,
        await replicast.connect(data) as reader,
    ):
        load = Load(writer, reader, cluster_endpoint("native", data), limits)
        for size, count in itertools.product(sizes, clients):
            await load.measure(figures, size, count)


@contextmanager
def new_cluster(transport: str = "unicast") -> Iterator[Path]:
    """Its data folder; of 4 targets x 2 VDEVs, at rest, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-") as base:
        data = Path(base) / "data"
        try:
            bring_up(data, UpRequest(transport=transport), lambda _: None)
            settle(cluster_endpoint("native", data))
            yield data
        finally:
            if (data / LOCAL_FILE).exists():
                bring_down(data, lambda _: None)


def numbers(text: str) -> tuple[int, ...]:
    """Of a comma-separated option."""
    return tuple(int(each) for each in text.split(","))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=numbers, default=SIZES, help="bytes, comma-separated")
    parser.add_argument("--clients", type=numbers, default=CLIENTS, help="how many at once")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each phase, at most")
    parser.add_argument("--mib", type=int, default=FIGURE_MIB, help="put for a figure, at most")
    parser.add_argument("--objects", type=int, default=OBJECTS_MAX, help="the same, in objects")
    parser.add_argument("--transport", choices=("unicast", "multicast"), default="unicast")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    figures = Figures()
    limits = Limits(options.seconds, options.mib, options.objects)
    for _ in range(options.rounds):
        with new_cluster(options.transport) as data:
            asyncio.run(measure_all(figures, data, options.sizes, options.clients, limits))
    figures.say_medians()
    if options.json is not None:
        figures.write(options.json)


if __name__ == "__main__":
    main()
