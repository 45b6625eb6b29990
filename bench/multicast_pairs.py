"""Puts by multicast beside puts by unicast: chunks in 3 copies, no disk, pairs in turn.

    .venv/bin/python bench/multicast_pairs.py [--where loopback|namespaces] [--pairs 9]
        [--mtu 1500] [--rate 1gbit] [--in-flight 32] [--chunk-mib 1] [--mib 512] [--shm FOLDER]
        [--json FILE]

Each pair has a new cluster of 4 targets x 2 VDEVs for either transport, which writes no chunks (no_disk.py), and
an initiator in a process of its own that puts chunks (no names), so many in flight. First an eighth as much
is put to both, which also lets the targets join their rendezvous groups. Then each puts --mib in sixteen
pieces, by turns, so that what else happens on the machine happens to both; which of them is the first
changes from pair to pair. Chunks are new and incompressible, made before the clock starts; targets verify
their hash.

32 are as many as a gateway has in flight at most, whatever is put through it (`pipeline_bytes`).

--where loopback: MTU 65536; namespaces: one for each target and one for the initiator on a bridge that
snoops, with interfaces of --mtu (as root), whose wires take --rate in either direction, as much as the machine can where
it is not given. "sent" is what left the initiator for each byte put, without headers: 1 when
the group was used for all, 3 by unicast. CPU is in seconds per GiB put, of the initiator and of the targets.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median
from typing import Any

from figures import Figures, Sample, Usage, say
from multicast_client import Load, Put
from multicast_clusters import COPIES, Running, in_namespaces, on_loopback
from tmpfs import SHM, lacking

from replicast.units import MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
PAIRS, IN_FLIGHT, ROUND_MIB, PIECES = (1, 2, 8, 2) if TINY else (9, 32, 512, 16)
WARM_PART, WARM_UPS_MAX = 8, 4
SETTLE_SECONDS = 0.1  # more than a target waits before it relies on a group that it has joined
ALMOST = 0.01
MTU = 1500
TRANSPORTS = ("unicast", "multicast")


class Side:
    """One transport of a pair: what its pieces took together."""

    def __init__(self, cluster: Running, transport: str) -> None:
        self._cluster, self._copies_sent = cluster, 1 if transport == "multicast" else COPIES
        self._servers = 0.0
        self._puts: list[Put] = []

    def warm_up(self, mib: int) -> None:
        """Not measured; until the targets have joined the groups that their winners need."""
        for _ in range(WARM_UPS_MAX):
            self._cluster.client.make(mib)
            put = self._cluster.client.put()
            if put.sent - put.again < self._copies_sent + ALMOST:
                return
            time.sleep(SETTLE_SECONDS)

    def measure(self, mib: int) -> None:
        """One piece."""
        self._cluster.client.make(mib)
        servers = self._cluster.server_seconds()
        self._puts.append(self._cluster.client.put())
        self._servers += self._cluster.server_seconds() - servers

    def sample(self, mib: int) -> Sample:
        """Of all pieces, each of `mib`."""
        puts = self._puts
        usage = Usage(sum(put.wall for put in puts), sum(put.cpu for put in puts), self._servers)
        p50_ms = median(put.p50_ms for put in puts)
        return usage.of_bytes(mib * MIB * len(puts), p50_ms=p50_ms)

    def sent(self) -> str:
        """Of all pieces."""
        sent = mean(put.sent for put in self._puts)
        again = mean(put.again for put in self._puts)
        return f"sent {sent:.3f}, {again:.3f} of it again"


class Pairs:
    """All of them, in a folder of their own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._load = Load(options.in_flight, options.chunk_mib)
        self._piece_mib, self._warm_mib = piece_mib(options), warm_mib(options)
        self.figures = Figures()
        self._cluster: Callable[..., Any] = on_loopback
        if options.where == "namespaces":
            self._cluster = in_namespaces(options.mtu, options.rate)

    def run(self) -> None:
        """One after the other."""
        for number in range(self._options.pairs):
            say(f"pair {number + 1} of {self._options.pairs}")
            self._run_pair(TRANSPORTS if number % 2 == 0 else TRANSPORTS[::-1])

    def say_medians(self) -> None:
        """The ratio last, exactly: what the bench is about."""
        self.figures.say_medians()
        (ratio,) = self.figures.named([self._ratio])
        say(f"median ratio {ratio.median:.3f}, {min(ratio.runs):.3f} to {max(ratio.runs):.3f}")

    @property
    def _ratio(self) -> str:
        return f"{self._options.where} multicast to unicast"

    def _run_pair(self, order: tuple[str, ...]) -> None:
        with ExitStack() as stack:
            sides = {name: self._side(name, stack) for name in order}
            for side in sides.values():
                side.warm_up(self._warm_mib)
            for piece in range(PIECES):
                for name in order if piece % 2 == 0 else order[::-1]:
                    sides[name].measure(self._piece_mib)
        rates = {}
        for name in TRANSPORTS:
            sample = sides[name].sample(self._piece_mib)
            self.figures.add(f"{self._options.where} {name}", "MiB/s", sample)
            say(f"    {sides[name].sent()}")
            rates[name] = sample.value
        ratio = Sample(rates["multicast"] / rates["unicast"])
        self.figures.add(self._ratio, "x", ratio)
        say(f"    exactly {ratio.value:.3f}")

    def _side(self, name: str, stack: ExitStack) -> Side:
        cluster = self._cluster(self._folder / name, name, self._load)
        return Side(stack.enter_context(cluster), name)


def piece_mib(options: argparse.Namespace) -> int:
    """What is put in one piece."""
    return _whole(options, options.mib // PIECES)


def warm_mib(options: argparse.Namespace) -> int:
    """What is put once before the clock starts."""
    return _whole(options, options.mib // WARM_PART)


def _whole(options: argparse.Namespace, mib: int) -> int:
    """As many chunks as are in flight at a time, or a multiple."""
    each = options.in_flight * options.chunk_mib
    return -(-max(mib, each) // each) * each


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--where", choices=("loopback", "namespaces"), default="loopback")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--mtu", type=int, default=MTU, help="of the interfaces in namespaces")
    parser.add_argument("--rate", default="", help="of these, as tc(8) takes it")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="chunks put at once")
    parser.add_argument("--chunk-mib", type=int, default=1, help="how large they are")
    parser.add_argument("--mib", type=int, default=ROUND_MIB, help="put for a figure")
    parser.add_argument("--shm", type=Path, default=SHM, help="where a tmpfs is mounted")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    if why := lacking(options.shm):
        raise SystemExit(f"not without a disk: {why}")
    with tempfile.TemporaryDirectory(prefix="replicast-bench-", dir=options.shm) as folder:
        pairs = Pairs(options, Path(folder))
        pairs.run()
    pairs.say_medians()
    if options.json is not None:
        pairs.figures.write(options.json)


if __name__ == "__main__":
    main()
