"""What a cluster costs before anybody uses it: the start, memory, and CPU while nothing happens.

    .venv/bin/python bench/standing.py [--rounds 5] [--seconds 20] [--dir FOLDER] [--json FILE]

Each round starts a new cluster in an empty folder as a user does (`replicast up`: 4 targets x 2
VDEVs, 3 voters among them, one gateway) and ends it. "start" is from that command to the answer of
a first PUT (4 KiB, the bucket made before it, by a client in this process). Memory is PSS (shared
pages count in parts) of all daemons after the put, when what each does once is done (at_rest.py); CPU
is that of all daemons in the seconds after that, in percent of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from at_rest import idle_percent, settle
from figures import Figures, Sample
from s3_endpoints import Endpoint, cluster_endpoint

import replicast
from replicast.cli.up import bring_down
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS, SECONDS = (1, 0.5) if TINY else (5, 20.0)
REPLICAST = Path(sys.executable).with_name("replicast")
UP_SECONDS_MAX = 120


def start(data: Path) -> float:
    """Seconds from the command to the first acknowledged PUT."""
    began = time.perf_counter()
    command = [REPLICAST, "up", "--no-user-file", "--data", data]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=UP_SECONDS_MAX)
    asyncio.run(_first_put(data))
    return time.perf_counter() - began


async def _first_put(data: Path) -> None:
    body = os.urandom(4 * KIB)
    async with await replicast.connect(data) as cluster:
        await cluster.create_bucket("first")
        await cluster.put("first", "object", body)
        if await cluster.read("first", "object") != body:
            raise SystemExit("wrong bytes: first/object")


def pss_mib(endpoint: Endpoint) -> float:
    """Of all daemons together."""
    return sum(map(_pss_kib, endpoint.pids())) * KIB / MIB


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise SystemExit(f"no Pss in /proc/{pid}/smaps_rollup")


def measure(figures: Figures, folder: Path, seconds: float) -> None:
    """One cluster."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-", dir=folder) as base:
        data = Path(base) / "data"
        try:
            figures.add("start to first PUT", "s", Sample(start(data)))
            endpoint = cluster_endpoint("standing", data)
            settle(endpoint)
            figures.add("memory, PSS", "MiB", Sample(pss_mib(endpoint)))
            figures.add("CPU, of one core", "%", Sample(idle_percent(endpoint, seconds)))
        finally:
            bring_down(data, lambda _: None)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of rest in each round")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for data")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    figures = Figures()
    for _ in range(options.rounds):
        measure(figures, options.dir, options.seconds)
    figures.say_medians()
    if options.json is not None:
        figures.write(options.json)


if __name__ == "__main__":
    main()
