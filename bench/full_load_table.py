"""What bench/full_load.py has found: its samples, and the tables that it prints of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from figures import say
from flatness import Row, thirds
from process_watch import Values

from replicast.native import IMPLEMENTATION
from replicast.units import MIB

WINDOW_OPERATIONS_MIN = 20


@dataclass
class Found:
    """All samples, in their order."""

    series: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    taken: list[dict[str, list[float]]] = field(default_factory=list)  # of each window, ms by kind
    busy: list[float] = field(default_factory=list)  # part of all CPUs that was used
    daemons: list[float] = field(default_factory=list)  # that the daemons used
    seconds: list[float] = field(default_factory=list)  # how long windows were
    bytes_put: int = 0
    bytes_compared: int = 0
    used: float = 0.0
    written: int = 0
    failures: list[str] = field(default_factory=list)
    not_empty: list[str] = field(default_factory=list)

    def add(self, process: str, values: Values) -> None:
        """One look at one process. A gauge that it had not shown before was 0."""
        before = len(self.taken)
        for what, value in values.items():
            self.series.setdefault((process, what), [0.0] * before).append(value)


@dataclass(frozen=True, slots=True)
class Pace:
    """One kind of operation, by third."""

    kind: str
    count: int
    per_second: list[float]
    p50_ms: list[float]
    p99_ms: list[float]
    most_ms: float


def percentile(times: Sequence[float], part: float) -> float:
    """Of times that need not be in order."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def paces(found: Found) -> list[Pace]:
    """Of all kinds."""
    kinds = sorted({kind for window in found.taken for kind in window})
    lengths = [sum(each) for each in thirds(found.seconds)]
    rows = []
    for kind in kinds:
        parts = thirds([window.get(kind, []) for window in found.taken])
        pooled = [[ms for window in part for ms in window] for part in parts]
        rows.append(
            Pace(
                kind,
                sum(map(len, pooled)),
                [
                    len(times) / max(length, 1e-9)
                    for times, length in zip(pooled, lengths, strict=True)
                ],
                [_of_windows(part, times, 0.5) for part, times in zip(parts, pooled, strict=True)],
                [_of_windows(part, times, 0.99) for part, times in zip(parts, pooled, strict=True)],
                max(max(times, default=0.0) for times in pooled),
            )
        )
    return rows


def _of_windows(windows: Sequence[list[float]], pooled: list[float], part: float) -> float:
    if not pooled:
        return 0.0
    if min(map(len, windows)) < WINDOW_OPERATIONS_MIN:
        return percentile(pooled, part)
    return statistics.median(percentile(times, part) for times in windows)


def show(rows: Sequence[Row], operations: Sequence[Pace], found: Found) -> bool:
    """For people; returns whether all is well."""
    say("| process | what | first third | middle | last third | most |\n|---|---|--:|--:|--:|--:|")
    for row in rows:
        cells = (row.first, row.middle, row.last, row.most)
        if any(cells):
            say(f"| {row.process} | {row.what} | " + " | ".join(map(_cell, cells)) + " |")
    say("\n| operation | count | op/s | p50 ms | p99 ms | most ms |\n|---|--:|--:|--:|--:|--:|")
    for each in operations:
        columns = (each.per_second, each.p50_ms, each.p99_ms)
        shown = " | ".join(", ".join(map(_cell, column)) for column in columns)
        say(f"| {each.kind} | {each.count:,} | {shown} | {_cell(each.most_ms)} |")
    total = sum(each.count for each in operations)
    say(
        f"\n{total:,} operations in {sum(found.seconds):.0f} s, {found.bytes_put / MIB:,.0f} MiB put, "
        f"{found.bytes_compared / MIB:,.0f} MiB read and compared; {found.used / MIB:,.0f} MiB more on the "
        f"VDEVs, {found.written / MIB:,.0f} MiB written to the disk; "
        f"CPUs {statistics.median(found.busy or [0.0]):.0%} busy, "
        f"{statistics.median(found.daemons or [0.0]):.0%} by the daemons ({IMPLEMENTATION})"
    )
    problems = [row.problem for row in rows if row.problem] + found.not_empty
    for problem in found.failures + problems:
        say(f"! {problem}")
    say("FAILED" if found.failures else "NOT FLAT" if problems else "FLAT")
    return not found.failures and not problems


def _cell(value: float) -> str:
    return f"{value:.2f}" if value < 10 and value != int(value) else f"{value:,.0f}"
