"""Measures one piece of work in a few runs, and reports it: wall time, CPU of client and servers.

    measure(benchmark, Case("crc32 4 KiB", size_bytes=4096), lambda: crc32(0, body))

A run is long enough to mean something: work that takes less is repeated, unless `setup` makes something
new for every call. What `setup` and `after` do is outside the clock. A tiny bench does everything once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_benchmark.fixture import BenchmarkFixture
from results import Result, digest_of, report

from replicast.units import MIB

T = TypeVar("T")
TINY = os.environ.get("REPLICAST_BENCH_TINY") == "1"
RUNS = 1 if TINY else 5
RUN_SECONDS = 0.2
Seconds = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Case:
    """What one call of the work does: so many operations, and so many bytes in all of them together. With
    bytes the figure is in MiB/s, without in op/s."""

    name: str
    operations: int = 1
    size_bytes: int = 0
    runs: int = RUNS


class _Runs:
    """Runs of some work, and what they took."""

    def __init__(self, work: Callable[..., Any], server_seconds: Seconds | None) -> None:
        self._work, self.server_seconds = work, server_seconds
        self.repeats = 1
        self.calls, self.wall = 0, list[float]()
        self.client = self.servers = 0.0
        self.results: list[Any] = []

    def run(self, *arguments: Any) -> None:
        """One run. The servers' clock is read outside of the client's: reading it takes CPU."""
        servers = self._servers()
        client, started = time.process_time(), time.perf_counter()
        for _ in range(self.repeats):
            result = self._work(*arguments)
        self.wall.append((time.perf_counter() - started) / self.repeats)
        self.client += time.process_time() - client
        self.servers += self._servers() - servers
        self.calls += self.repeats
        self.results = [result]

    def warm_up(self, arguments: tuple[Any, ...], repeated: bool) -> None:
        """Once, or until it is known how often the work fits into a run."""
        wanted = RUN_SECONDS if repeated else 0.0
        while True:
            started = time.perf_counter()
            for _ in range(self.repeats):
                self._work(*arguments)
            took = time.perf_counter() - started
            if took >= wanted / 2:
                break
            self.repeats *= 2
        if repeated:
            self.repeats = max(1, round(self.repeats * RUN_SECONDS / took))

    def _servers(self) -> float:
        return 0.0 if self.server_seconds is None else self.server_seconds()


def measure(
    benchmark: BenchmarkFixture,
    case: Case,
    work: Callable[..., T],
    *,
    setup: Callable[[], tuple[Any, ...]] | None = None,
    after: Callable[[T], object] | None = None,
    digest: Callable[[T], str] = digest_of,
    server_seconds: Seconds | None = None,
) -> T:
    """The result of the last run. `setup` makes the arguments of each call, `after` checks its result,
    `digest` is made of the last one; `server_seconds` tells the CPU time of the servers so far."""
    runs = _Runs(work, server_seconds)

    def arguments() -> tuple[tuple[Any, ...], dict[str, Any]]:
        _check(runs, after)
        return (() if setup is None else setup()), {}

    if not TINY:
        runs.warm_up(arguments()[0], repeated=setup is None)
    benchmark.pedantic(runs.run, setup=arguments, rounds=case.runs)
    result: T = runs.results[0]
    _check(runs, after)
    report(_result(case, runs, digest(result)))
    return result


def _check(runs: _Runs, after: Callable[[Any], object] | None) -> None:
    while runs.results:
        result = runs.results.pop()
        if after is not None:
            after(result)


def _result(case: Case, runs: _Runs, digest: str) -> Result:
    per_call = case.size_bytes / MIB if case.size_bytes else case.operations
    thousands = runs.calls * case.operations / 1000
    return Result(
        name=case.name,
        unit="MiB/s" if case.size_bytes else "op/s",
        runs=[per_call / seconds for seconds in runs.wall],
        client_cpu=runs.client / thousands,
        server_cpu=None if runs.server_seconds is None else runs.servers / thousands,
        digest=digest,
    )
