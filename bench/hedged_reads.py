"""What one slow VDEV costs readers: p50 and p99 of get with one of eight VDEVs slowed, and without.

    .venv/bin/python bench/hedged_reads.py [--objects 200] [--reads 2000] [--slower 50]

A cluster of four targets with two VDEVs each keeps objects of 1 MiB, three copies of each. They
are read in random order, a few at a time: by a client that has just connected, hears from names where that
lies and knows nothing of how fast any VDEV is, and by one that has written what it reads. Clusters with and
without a slow VDEV take turns, so that what else the machine does meets both. The slow VDEV waits that
many times the median of a quick get before each of its reads.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import tempfile
import time
import tomllib
from pathlib import Path

import replicast
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.formation import toml_pairs

MIB = 1 << 20
TURNS = 3
IN_FLIGHT = 2
Figures = tuple[float, float]  # median and 99th percentile, ms


def say(text: str) -> None:
    """To the terminal at once."""
    print(text, flush=True)


async def work(data: Path, count: int, reads: int, seed: int) -> dict[str, list[float]]:
    """Seconds of each read, by kind of client."""
    bucket = f"hedged-{seed}"
    async with await replicast.connect(data) as client:
        await write(client, bucket, count, seed)
        taken = {"writer": await read(client, bucket, count, reads, seed)}
    async with await replicast.connect(data) as client:
        taken["fresh"] = await read(client, bucket, count, reads, seed)
    return taken


async def write(client: replicast.Cluster, bucket: str, count: int, seed: int) -> None:
    """Distinct objects that do not compress."""
    rng = random.Random(seed)
    await client.create_bucket(bucket)
    for number in range(count):
        await client.put(bucket, f"{number:06}", rng.randbytes(MIB))


async def read(
    client: replicast.Cluster, bucket: str, count: int, reads: int, seed: int
) -> list[float]:
    """Seconds of each read."""
    rng, taken = random.Random(seed), []
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one(name: str) -> None:
        async with room:
            began = time.perf_counter()
            size = sum([len(piece) async for piece in client.get(bucket, name)])
            taken.append(time.perf_counter() - began)
            assert size == MIB

    names = [f"{rng.randrange(count):06}" for _ in range(reads)]
    await asyncio.gather(*(one(name) for name in names))
    return taken


def slow_down(data: Path, delay_ms: int) -> None:
    """One VDEV reads so much later; needs a restart."""
    path = data / "t1" / "target.toml"
    values = tomllib.loads(path.read_text())
    values["vdevs"] = f"v1;read_delay_ms={delay_ms},v2" if delay_ms else "v1,v2"
    path.write_text("\n".join(toml_pairs(values)) + "\n")


def figures(taken: list[float]) -> Figures:
    """Of many reads."""
    return statistics.median(taken) * 1e3, statistics.quantiles(taken, n=100)[98] * 1e3


def turn(data: Path, delay_ms: int, objects: int, reads: int, seed: int) -> dict[str, Figures]:
    """Restart with or without the delay, and read."""
    bring_down(data, lambda _: None)
    slow_down(data, delay_ms)
    bring_up(data, UpRequest(), lambda _: None)
    found = {k: figures(t) for k, t in asyncio.run(work(data, objects, reads, seed)).items()}
    for kind, (p50_ms, p99_ms) in found.items():
        what = "slow" if delay_ms else "equal"
        say(f"{what:6} {kind:7} p50 {p50_ms:7.1f} ms  p99 {p99_ms:7.1f} ms")
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--reads", type=int, default=1500)
    parser.add_argument("--slower", type=int, default=50, help="times the median get")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="replicast-bench-"))
    data = base / "data"
    try:
        bring_up(data, UpRequest(targets=4, vdevs=2), lambda _: None)
        quick_ms, _ = turn(data, 0, args.objects, args.reads, 0)["fresh"]
        delay_ms = max(1, round(quick_ms * args.slower))
        say(f"one of eight VDEVs now waits {delay_ms} ms before each read")
        turns = [
            [
                turn(data, delay, args.objects, args.reads, 2 * n + bool(delay))
                for delay in (0, delay_ms)
            ]
            for n in range(1, TURNS + 1)
        ]
        for kind in turns[0][0]:
            equal, slow = (statistics.median(pair[i][kind][1] for pair in turns) for i in (0, 1))
            say(
                f"{kind}: p99, medians of {TURNS}: {equal:.1f} ms, with a slow VDEV {slow:.1f} ms: "
                f"{slow / equal:.2f} times"
            )
    finally:
        bring_down(data, lambda _: None)
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
