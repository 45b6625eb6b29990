"""replicast beside its best peer, Ceph, in the same run: native clients and S3, and the ratios.

    .venv/bin/python bench/peers.py [--rounds 4] [--sizes 4096,...] [--only native|s3] [--json FILE]

Both run all the time, each in a folder of its own on the same disk: replicast as `replicast up` makes it
(4 targets x 2 VDEVs, one gateway), Ceph as bench/ceph_cluster.py makes it of Debian's packages (a monitor, a
manager, 3 OSDs, one radosgw). Both keep 3 copies, acknowledge when all three are synced to the disk,
and know their clients by keys; all is on 127.0.0.1. What each of them takes at rest is measured first. Up to
10 GiB of disk for each round.

Each round measures what the disk allows, then every size with every number of clients, PUT and then GET, of
one system right after the other; which of them first changes from round to round. Native clients are
processes of their own: of replicast coroutines (bench/native_load.py), of Ceph threads that wait for
librados (bench/ceph_load.py), both under Python. S3: bench/s3.py. All objects are new and incompressible,
made before the clock starts; every byte that is read is compared; `sync` runs between phases, outside the
clock. CPU seconds are those of all daemons of the system and, apart, of its clients.

Prints every run, then the table in Markdown: medians, least and most, ratios of the medians. Exit 1 after
a wrong byte or an operation that failed, 2 when Ceph is not installed. Ceph is killed and its folder
removed in the end, also after a failure, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import ceph_cluster
import limits
import s3
from at_rest import idle_percent
from ceph_settings import POOL
from figures import Figures, Sample, say
from native_client import CLIENTS, SIZES, Limits, new_cluster, numbers
from native_pair import LoadFailed, NativeClient, connect
from peers_table import CPU_AT_REST, MEMORY_AT_REST, OTHERS, peers_table
from results import size_text
from s3_endpoints import Endpoint, cluster_endpoint
from standing import pss_mib
from table import add_s3, limits_table

from replicast.native import IMPLEMENTATION
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS, SECONDS, REST_SECONDS = (1, 0.2, 0.5) if TINY else (4, 1.0, 5.0)
MEASURED = (4 * KIB, MIB) if TINY else SIZES
OURS, PEER = "replicast", "Ceph"
LIMIT_CELLS = [cell for cell in limits.CELLS if cell.name.startswith("disk")]
PARTS = ("native", "s3")
WARM_SECONDS = 0.3
NOT_INSTALLED = 2
ENDING = (signal.SIGINT, signal.SIGTERM)
FOLDER = Path(__file__).parent


class Pair:
    """Both systems, as they are measured."""

    def __init__(self, stack: ExitStack, options: argparse.Namespace) -> None:
        self._options = options
        self._limits = Limits(options.seconds)
        say(f"starting {PEER} {ceph_cluster.version()} and {OURS} ({IMPLEMENTATION})")
        ceph = stack.enter_context(ceph_cluster.ceph_cluster("s3" in options.only))
        data = stack.enter_context(new_cluster())
        ours, peer = cluster_endpoint(OURS, data), ceph.endpoint(PEER)
        self.endpoints: list[Endpoint] = [ours, peer]
        self._clients: list[NativeClient] = []
        self._others_of_s3: list[float] = []
        if "native" in options.only:
            our_load = [sys.executable, str(FOLDER / "native_load.py"), str(data)]
            their_load = [str(FOLDER / "ceph_load.py"), str(ceph.place.conf), POOL]
            for endpoint, command in (
                (ours, our_load),
                (peer, [ceph_cluster.SYSTEM_PYTHON, *their_load]),
            ):
                self._clients.append(connect(endpoint.name, endpoint, command))
                stack.callback(self._clients[-1].process.close)

    def warm_up(self) -> None:
        """What happens once is not counted: sessions begin, radosgw makes pools for its first object."""
        say("to warm up:")
        for client in self._clients:
            client.measure(None, min(self._options.sizes), max(CLIENTS), Limits(WARM_SECONDS))
        if "s3" in self._options.only:
            self._through_s3(self.endpoints, (min(self._options.sizes),), WARM_SECONDS)

    def measure(self, figures: Figures, number: int) -> None:
        """One round. Raises LoadFailed."""
        step = 1 if number % 2 == 0 else -1
        for size, clients in itertools.product(self._options.sizes, CLIENTS):
            for client in self._clients[::step]:
                client.measure(figures, size, clients, self._limits)
        if "s3" in self._options.only:
            seconds = self._options.seconds
            bench = self._through_s3(self.endpoints[::step], self._options.sizes, seconds)
            for (size, clients, operation, name), (figure,) in bench.found.items():
                what = f"{name} S3 {operation.upper()} {size_text(size)} x{clients}"
                add_s3(figures, what, size, figure)
                self._others_of_s3.append(figure.others)

    def others(self) -> float:
        """The share of all cores that others used, the system that waited among them: of all phases the median."""
        return statistics.median(
            itertools.chain(self._others_of_s3, *(client.others for client in self._clients))
        )

    @staticmethod
    def _through_s3(
        endpoints: Sequence[Endpoint], sizes: Sequence[int], seconds: float
    ) -> s3.Bench:
        options = argparse.Namespace(
            sizes=sizes,
            clients=CLIENTS,
            rounds=1,
            seconds=seconds,
            mib=s3.FIGURE_MIB,
            objects=s3.OBJECTS_MAX,
            signed=False,
        )
        bench = s3.Bench(options, endpoints)
        bench.run()
        if bench.failures:
            raise LoadFailed("; ".join(bench.failures))
        return bench


def measure_limits(figures: Figures) -> None:
    """Of the disk, now."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-") as folder:
        for cell in LIMIT_CELLS:
            os.sync()
            figures.add(cell.name, cell.unit, cell.measure(Path(folder)))


def measure(options: argparse.Namespace) -> Figures:
    """All rounds. Raises LoadFailed and CephFailed."""
    figures = Figures()
    with ExitStack() as stack:
        pair = Pair(stack, options)
        pair.warm_up()
        for endpoint in pair.endpoints:
            memory, cpu = pss_mib(endpoint), idle_percent(endpoint, REST_SECONDS)
            figures.add(f"{endpoint.name} {MEMORY_AT_REST}", "MiB", Sample(memory))
            figures.add(f"{endpoint.name} {CPU_AT_REST}", "%", Sample(cpu))
        for number in range(options.rounds):
            say(f"\nround {number + 1} of {options.rounds}")
            measure_limits(figures)
            pair.measure(figures, number)
        figures.add(OTHERS, "%", Sample(pair.others() * 100))
    return figures


def interrupted(number: int, _: FrameType | None) -> None:
    """Ctrl-C or SIGTERM: what was started is stopped, in peace."""
    for each in ENDING:
        signal.signal(each, lambda *_: None)
    raise SystemExit(128 + number)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=numbers, default=MEASURED, help="bytes, comma-separated")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each phase, at most")
    parser.add_argument("--only", choices=PARTS, action="append", help="one of the two parts")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    options.only = options.only or PARTS
    return options


def main() -> None:
    """Print the figures."""
    options = parsed()
    if what := ceph_cluster.lacking():
        print(what, file=sys.stderr)
        raise SystemExit(NOT_INSTALLED)
    for each in ENDING:
        signal.signal(each, interrupted)
    try:
        figures = measure(options)
    except (LoadFailed, ceph_cluster.CephFailed) as error:
        raise SystemExit(str(error)) from None
    figures.say_medians()
    say("")
    for line in peers_table(figures, OURS, PEER, options.sizes, CLIENTS):
        say(line)
    say("")
    for line in limits_table(figures):
        say(line)
    if options.json is not None:
        figures.write(options.json)


if __name__ == "__main__":
    main()
