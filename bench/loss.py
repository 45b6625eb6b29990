"""What loss costs: throughput of put and get while 0, 1, 5 and 10 percent of all datagrams vanish.

    .venv/bin/python bench/loss.py [--mtu 1500] [--mib 64] [--rounds 3] [--transport multicast]

As root: it runs itself in a network namespace of its own, where a cluster of four targets with two
VDEVs each and one client share an interface of that MTU, and a packet filter drops received UDP
datagrams at random, control and payload alike. The rates take turns; every object is read GETS times
(once takes a fifth of a second with 160 MiB, where a single lost request shows) and every byte of it
compared with what was written. Prints medians, their share of the throughput without loss, and the
CPU seconds of all daemons and the client for each MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import replicast
from replicast.cli.layout import load_local
from replicast.cli.up import UpRequest, bring_down, bring_up

MIB = 1 << 20
OBJECT_BYTES = 8 * MIB
IN_FLIGHT, GETS = 8, 4
PERCENTS = (0, 1, 5, 10)
ADDRESS, INTERFACE = "10.89.7.2", "rc-loss"
INSIDE = "--inside"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
Found = dict[tuple[str, int], list[tuple[float, float]]]  # MiB/s and CPU ms/MiB of each round


def say(text: str) -> None:
    """To the terminal at once."""
    print(text, flush=True)


def command(*words: str) -> None:
    """One that must succeed."""
    subprocess.run(words, check=True)


def make_network(mtu_bytes: int) -> None:
    """Local addresses are reached over loopback, at the MTU of the interface that has them."""
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", INTERFACE, "mtu", str(mtu_bytes), "type", "bridge")
    command("ip", "address", "add", f"{ADDRESS}/24", "dev", INTERFACE)
    command("ip", "link", "set", INTERFACE, "up", "multicast", "on")
    command("nft", "add", "table", "ip", "loss")
    command("nft", "add chain ip loss input { type filter hook input priority 0; }")


def cpu_seconds(data: Path) -> float:
    """Of this process and all daemons so far."""
    spent = time.process_time()
    for daemon in load_local(data).all(data):
        pid = daemon.pid()
        assert pid is not None, daemon.name
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return spent


def lose(percent: int) -> None:
    """From now on. One in a million when none shall be lost: the filter itself costs time, too."""
    command("nft", "flush", "chain", "ip", "loss", "input")
    ppm = max(1, percent * 10_000)
    rule = f"meta l4proto udp numgen random mod 1000000 < {ppm} counter drop"
    command("nft", f"add rule ip loss input {rule}")


class Client:
    """Objects put and read by one client; `bucket` is one round's."""

    def __init__(self, cluster: replicast.Cluster, bucket: str, count: int) -> None:
        rng = random.Random(bucket)  # the bytes of no other round, or they would be there already
        self._cluster, self._bucket = cluster, bucket
        self._objects = {f"{n:04}": rng.randbytes(OBJECT_BYTES) for n in range(count)}

    async def put(self) -> None:
        """All of them."""
        await self._each(self._put_one, 1)

    async def get(self) -> None:
        """All of them GETS times, compared."""
        await self._each(self._get_one, GETS)

    async def _each(self, work: Callable[[str], Awaitable[None]], times: int) -> None:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one(name: str) -> None:
            async with room:
                await work(name)

        await asyncio.gather(*(one(name) for _ in range(times) for name in self._objects))

    async def _put_one(self, name: str) -> None:
        await self._cluster.put(self._bucket, name, self._objects[name])

    async def _get_one(self, name: str) -> None:
        pieces = [bytes(piece) async for piece in self._cluster.get(self._bucket, name)]
        assert b"".join(pieces) == self._objects[name]


async def measure(data: Path, mib: int, rounds: int) -> Found:
    """By operation and percent."""
    found: Found = {}
    async with await replicast.connect(data) as cluster:
        for number in range(-1, rounds):  # the first one warms up and does not count
            for percent in PERCENTS:
                bucket = f"loss-{number + 1}-{percent}"
                await cluster.create_bucket(bucket)
                count = max(1, mib * MIB // OBJECT_BYTES)
                client = Client(cluster, bucket, count)
                lose(percent)
                for name, work, times in (("put", client.put, 1), ("get", client.get, GETS)):
                    began, cpu = time.perf_counter(), cpu_seconds(data)
                    await work()
                    size_mib = times * count * OBJECT_BYTES / MIB
                    speed = size_mib / (time.perf_counter() - began)
                    cost_ms = (cpu_seconds(data) - cpu) / size_mib * 1e3
                    say(
                        f"{percent:3} % lost  {name}  {speed:7.1f} MiB/s  {cost_ms:5.1f} CPU ms/MiB"
                    )
                    if number >= 0:
                        found.setdefault((name, percent), []).append((speed, cost_ms))
                lose(0)
    return found


def inside(args: argparse.Namespace) -> None:
    """In the namespace."""
    base = Path(tempfile.mkdtemp(prefix="replicast-bench-"))
    data = base / "data"
    make_network(args.mtu)
    try:
        bring_up(data, UpRequest(host=ADDRESS, transport=args.transport), lambda _: None)
        found = asyncio.run(measure(data, args.mib, args.rounds))
    finally:
        lose(0)
        bring_down(data, lambda _: None)
        shutil.rmtree(base)
    say(f"MTU {args.mtu}, {args.transport}, medians of {args.rounds}:")
    for name in ("put", "get"):
        clean = statistics.median(speed for speed, _ in found[name, 0])
        for percent in PERCENTS:
            speed, cost_ms = (statistics.median(s[i] for s in found[name, percent]) for i in (0, 1))
            share = f"{speed / clean:6.1%}"
            say(
                f"{name}  {percent:3} % lost  {speed:7.1f} MiB/s {share}  {cost_ms:5.1f} CPU ms/MiB"
            )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument(
        "--mib", type=int, default=64, help="put for each figure, and read GETS times"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transport", choices=("unicast", "multicast"), default="unicast")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args)
    else:
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv, INSIDE])


if __name__ == "__main__":
    main()
