"""PUT and GET of one S3 endpoint, or of several side by side: rates, latencies, CPU of the servers.

    .venv/bin/python bench/s3.py [NAME=DIR | NAME=URL,KEY_ID,SECRET[,PROCESS...]] ...

Without endpoints it starts a cluster of its own and stops it in the end. NAME=DIR is a cluster that
`replicast up` made. Of others give the user's keys and, for CPU seconds, the server's processes: pids
or names as `ps -o comm` shows them; their children count too.

Each round measures every size with every number of clients at all endpoints, one after the other,
which of them first changes from round to round; figures are medians of the rounds. Clients are processes
of their own (bench/s3_load.py) on blocking sockets; every object is new and incompressible, made before
the clock starts, and every byte that is read is compared. Objects are deleted after each figure, `sync`
runs between phases, outside the clock. "others" is what else ran on the machine during the phase, of all
its cores: figures with much of it say little. Exit 1 after a wrong byte or an operation that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from at_rest import settle
from s3_endpoints import Endpoint, busy_seconds, cluster_endpoint, parse_endpoint
from s3_load import S3Client

from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.native import IMPLEMENTATION
from replicast.units import GIB, KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
SIZES = (4 * KIB, 64 * KIB, MIB, 16 * MIB)
CLIENTS = (1, 8)
ROUNDS, SECONDS = (1, 0.2) if TINY else (3, 1.5)
FIGURE_MIB, OBJECTS_MAX = (1, 8) if TINY else (128, 2000)
DELETE_SECONDS = 60.0
WITHOUT_END = 1 << 40
Key = tuple[int, int, str, str]  # size in bytes, clients, operation, endpoint
LOAD = Path(__file__).with_name("s3_load.py")


def say(text: str) -> None:
    """To the terminal at once."""
    print(text, flush=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One phase, or the medians of several. Times in ms; CPU in seconds, per 1000 operations and per
    GiB. `others`: the share of all cores that neither servers nor clients used."""

    ops_per_second: float
    mib_per_second: float
    p50_ms: float
    p99_ms: float
    server_per_1000: float
    server_per_gib: float
    client_per_1000: float
    others: float
    count: int


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured."""

    endpoint: Endpoint
    operation: str
    size_bytes: int
    clients: int

    @property
    def key(self) -> Key:
        """By which figures are put together."""
        return self.size_bytes, self.clients, self.operation, self.endpoint.name


class Clients:
    """The load's processes. Those that a phase does not need wait."""

    def __init__(self, count: int, command: Sequence[str] = (sys.executable, str(LOAD))) -> None:
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]

    def run(self, jobs: Sequence[dict[str, Any]], meter: Meter | None) -> list[dict[str, Any]]:
        """One job for each of the first ones, started together."""
        busy = self._processes[: len(jobs)]
        for process, job in zip(busy, jobs, strict=True):
            self._tell(process, json.dumps(job))
        for process in busy:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        if meter is not None:
            meter.start()
        for process in busy:
            self._tell(process, "go")
        answers = [json.loads(process.stdout.readline()) for process in busy if process.stdout]
        if meter is not None:
            meter.stop()
        return answers

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()


class Meter:
    """CPU seconds of one phase: of the endpoint's servers and of the machine."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.servers = self.machine = self.wall = 0.0

    def start(self) -> None:
        os.sync()
        self.servers, self.machine = self.endpoint.cpu_seconds(), busy_seconds()
        self.wall = time.perf_counter()

    def stop(self) -> None:
        self.wall = time.perf_counter() - self.wall
        self.machine = busy_seconds() - self.machine
        self.servers = self.endpoint.cpu_seconds() - self.servers

    def others(self, client_seconds: float) -> float:
        """The share of all cores that neither servers nor clients used."""
        rest = self.machine - self.servers - client_seconds
        return max(0.0, rest / self.wall / (os.cpu_count() or 1))


class Bench:
    """Figures of every case, and what went wrong."""

    def __init__(self, options: argparse.Namespace, endpoints: Sequence[Endpoint]) -> None:
        self._options, self._endpoints = options, endpoints
        self._clients = Clients(max(options.clients))
        self._bucket = f"bench-{secrets.token_hex(6)}"
        self.found: dict[Key, list[Figure]] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        """All rounds, then nothing is left at the endpoints."""
        try:
            self._bucket_everywhere("PUT", 200)
            for number in range(self._options.rounds):
                first = number % len(self._endpoints)
                order = [*self._endpoints[first:], *self._endpoints[:first]]
                for size in self._options.sizes:
                    for clients in self._options.clients:
                        for endpoint in order:
                            self._measure(endpoint, size, clients)
            self._bucket_everywhere("DELETE", 204)
        finally:
            self._clients.close()

    def _bucket_everywhere(self, method: str, expected: int) -> None:
        for endpoint in self._endpoints:
            client = S3Client(endpoint.url, endpoint.key_id, endpoint.secret, endpoint.region)
            status, answer = client.call(method, f"/{self._bucket_at(endpoint)}")
            client.close()
            if status != expected:
                raise SystemExit(f"{endpoint.name}: {method} of a bucket: {status} {answer!r}")

    def _bucket_at(self, endpoint: Endpoint) -> str:
        # One each: two endpoints may be gateways of one cluster.
        return f"{self._bucket}-{self._endpoints.index(endpoint)}"

    def _measure(self, endpoint: Endpoint, size: int, clients: int) -> None:
        most = max(clients, min(self._options.mib * MIB // size, self._options.objects))
        for operation in ("put", "get"):
            case = Case(endpoint, operation, size, clients)
            count = most // clients if operation == "put" else WITHOUT_END
            self._phase(case, count, self._options.seconds, Meter(endpoint))
        self._phase(Case(endpoint, "delete", size, clients), 0, DELETE_SECONDS, None)

    def _phase(self, case: Case, count: int, seconds: float, meter: Meter | None) -> None:
        endpoint = case.endpoint
        job = {
            "do": case.operation,
            "url": endpoint.url,
            "key_id": endpoint.key_id,
            "secret": endpoint.secret,
            "region": endpoint.region,
            "bucket": self._bucket_at(endpoint),
            "size": case.size_bytes,
            "count": count,
            "seconds": seconds,
            "signed": self._options.signed,
        }
        answers = self._clients.run([job] * case.clients, meter)
        for each in answers:
            if each["errors"]:
                what = f"{endpoint.name} {case.operation} {case.size_bytes} x{case.clients}"
                self.failures.append(f"{what}: {each['errors']} failed, as {each['first_error']}")
                say(f"! {self.failures[-1]}")
        taken = [seconds for each in answers for seconds in each["taken"]]
        if meter is None or not taken:
            return
        figure = _figure(case, answers, taken, meter)
        self.found.setdefault(case.key, []).append(figure)
        say(_line(case.key, figure))


def _figure(
    case: Case, answers: Sequence[dict[str, Any]], taken: Sequence[float], meter: Meter
) -> Figure:
    wall = max(each["ended"] for each in answers) - min(each["began"] for each in answers)
    clients = sum(each["cpu"] for each in answers)
    mib = len(taken) * case.size_bytes / MIB
    return Figure(
        ops_per_second=len(taken) / wall,
        mib_per_second=mib / wall,
        p50_ms=statistics.median(taken) * 1e3,
        p99_ms=sorted(taken)[min(len(taken) - 1, len(taken) * 99 // 100)] * 1e3,
        server_per_1000=meter.servers / len(taken) * 1e3,
        server_per_gib=meter.servers / mib * (GIB / MIB),
        client_per_1000=clients / len(taken) * 1e3,
        others=meter.others(clients),
        count=len(taken),
    )


def _line(key: Key, figure: Figure) -> str:
    size, clients, operation, name = key
    shown = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
    return (
        f"{name:12} {operation} {shown:>7} x{clients:<2} {figure.ops_per_second:8.1f} op/s "
        f"{figure.mib_per_second:8.1f} MiB/s  p50 {figure.p50_ms:7.2f}  p99 {figure.p99_ms:7.2f} ms"
        f"  CPU s/1000 {figure.server_per_1000:8.3f}  s/GiB {figure.server_per_gib:8.2f}"
        f"  client s/1000 {figure.client_per_1000:7.3f}  others {figure.others:4.0%}"
    )


def _order(found: tuple[Key, list[Figure]]) -> tuple[int, int, bool, str]:
    size, clients, operation, name = found[0]
    return size, clients, operation != "put", name


def _median(figures: Sequence[Figure]) -> Figure:
    rows = [asdict(figure) for figure in figures]
    return Figure(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


@contextlib.contextmanager
def _own_cluster() -> Iterator[Endpoint]:
    base = Path(tempfile.mkdtemp(prefix="replicast-bench-"))
    data = base / "data"
    try:
        bring_up(data, UpRequest(), lambda _: None)
        endpoint = cluster_endpoint("replicast", data)
        settle(endpoint)
        yield endpoint
    finally:
        with contextlib.suppress(Exception):
            bring_down(data, lambda _: None)
        shutil.rmtree(base)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoints", nargs="*", type=parse_endpoint, metavar="ENDPOINT")
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="bytes, comma-separated")
    parser.add_argument("--clients", type=_numbers, default=CLIENTS, help="how many at once")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each phase, at most")
    parser.add_argument("--mib", type=int, default=FIGURE_MIB, help="put for a figure, at most")
    parser.add_argument(
        "--objects", type=int, default=OBJECTS_MAX, help="put for a figure, at most"
    )
    parser.add_argument("--signed", action="store_true", help="sign the SHA-256 of bodies, too")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args()


def main() -> None:
    """Print the figures."""
    options = _options()
    with contextlib.ExitStack() as stack:
        endpoints = options.endpoints or [stack.enter_context(_own_cluster())]
        bench = Bench(options, endpoints)
        bench.run()
    say(f"\nmedians of {options.rounds}; replicast's modules: {IMPLEMENTATION}")
    medians = {key: _median(figures) for key, figures in sorted(bench.found.items(), key=_order)}
    for key, figure in medians.items():
        say(_line(key, figure))
    if options.json is not None:
        names = ("size_bytes", "clients", "operation", "endpoint")
        rows = [dict(zip(names, key, strict=True)) | asdict(f) for key, f in medians.items()]
        options.json.write_text(json.dumps({"figures": rows, "failures": bench.failures}, indent=2))
    if bench.failures:
        raise SystemExit(f"{len(bench.failures)} phases had failures")


if __name__ == "__main__":
    main()
