"""The table of docs/performance.md: native client and S3, beside what the machine allows right now.

    .venv/bin/python bench/table.py [--rounds 5] [--json FILE] [--plot FILE.svg]

Each round measures the limits of the machine (limits.py), PUT and GET by the native client
(native_client.py) and through S3 (s3.py), each on a new cluster that came to rest (at_rest.py), and
what a cluster takes while nobody uses it (standing.py). Prints every run, then the table in Markdown: medians, least and most, beside what is aimed at. Exit
1 after a wrong byte or an operation that failed. The plot shows throughput over size, 8 clients.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import limits
import native_client
import s3
import standing
from figures import Figures, Sample, say
from results import size_text
from s3_endpoints import cluster_endpoint
from svg_plot import Point, line_chart

from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS = 1 if TINY else 5
SIZES = (4 * KIB, MIB) if TINY else native_client.SIZES
PLOTTED_CLIENTS = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of the table. `lower`: less is better."""

    figure: str
    aim: float
    column: str = "value"
    unit: str = ""
    lower: bool = False


def _rates(who: str, aims: dict[str, float]) -> Iterator[Cell]:
    return (Cell(f"{who} {what}", aim) for what, aim in aims.items())


CELLS = (
    *_rates(
        "native",
        {
            "PUT 4 KiB x1": 600,
            "PUT 4 KiB x8": 2500,
            "GET 4 KiB x1": 4500,
            "GET 4 KiB x8": 12000,
            "PUT 64 KiB x8": 1200,
            "PUT 1 MiB x1": 140,
            "PUT 1 MiB x8": 250,
            "GET 1 MiB x1": 600,
            "GET 1 MiB x8": 1000,
            "PUT 16 MiB x1": 240,
            "PUT 16 MiB x8": 280,
            "GET 16 MiB x1": 900,
            "GET 16 MiB x8": 1300,
        },
    ),
    *_rates(
        "S3",
        {
            "PUT 4 KiB x1": 360,
            "PUT 4 KiB x8": 900,
            "GET 4 KiB x1": 1000,
            "GET 4 KiB x8": 2500,
            "PUT 64 KiB x8": 550,
            "PUT 1 MiB x1": 100,
            "PUT 1 MiB x8": 190,
            "GET 1 MiB x1": 420,
            "GET 1 MiB x8": 850,
            "PUT 16 MiB x1": 200,
            "PUT 16 MiB x8": 240,
            "GET 16 MiB x1": 800,
            "GET 16 MiB x8": 1100,
        },
    ),
    Cell("native PUT 4 KiB x8", 0.8, "server_cpu", "CPU s/1000 op, servers", lower=True),
    Cell("native PUT 1 MiB x8", 4.5, "server_cpu", "CPU s/GiB, servers", lower=True),
    Cell("S3 PUT 4 KiB x8", 2.0, "server_cpu", "CPU s/1000 op, servers", lower=True),
    Cell("S3 PUT 1 MiB x8", 7.0, "server_cpu", "CPU s/GiB, servers", lower=True),
    Cell("native PUT 4 KiB x8", 4.2, "written", "bytes to the disk per byte", lower=True),
    Cell("native PUT 1 MiB x8", 3.03, "written", "bytes to the disk per byte", lower=True),
    Cell("memory, PSS", 300, lower=True),
    Cell("CPU, of one core", 5, lower=True),
    Cell("start to first PUT", 4, lower=True),
)


def measure(figures: Figures) -> None:
    """One round."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-") as folder:
        limits.measure_all(figures, Path(folder))
        with native_client.new_cluster() as data:
            phases = native_client.Limits()
            asyncio.run(
                native_client.measure_all(figures, data, SIZES, native_client.CLIENTS, phases)
            )
        with native_client.new_cluster() as data:
            through_s3(figures, data)
        standing.measure(figures, Path(folder), standing.SECONDS)


def through_s3(figures: Figures, data: Path) -> None:
    """PUT and GET of one gateway."""
    options = argparse.Namespace(
        sizes=SIZES,
        clients=native_client.CLIENTS,
        rounds=1,
        seconds=s3.SECONDS,
        mib=s3.FIGURE_MIB,
        objects=s3.OBJECTS_MAX,
        signed=False,
    )
    bench = s3.Bench(options, [cluster_endpoint("S3", data)])
    bench.run()
    if bench.failures:
        raise SystemExit(f"{len(bench.failures)} phases had failures")
    for (size, clients, operation, _), (figure,) in bench.found.items():
        add_s3(figures, f"S3 {operation.upper()} {size_text(size)} x{clients}", size, figure)


def add_s3(figures: Figures, name: str, size_bytes: int, figure: s3.Figure) -> None:
    """Small objects in op/s, from 1 MiB on in MiB/s."""
    times = {"p50_ms": figure.p50_ms, "p99_ms": figure.p99_ms}
    if size_bytes < MIB:
        cpu = figure.client_per_1000, figure.server_per_1000
        figures.add(name, "op/s", Sample(figure.ops_per_second, *cpu, **times))
    else:
        client = figure.client_per_1000 * figure.server_per_gib / figure.server_per_1000
        cpu = client, figure.server_per_gib
        figures.add(name, "MiB/s", Sample(figure.mib_per_second, *cpu, **times))


def table(figures: Figures) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| figure | unit | aim | median | least to most | of the aim |"
    yield "|---|---|--:|--:|--:|--:|"
    for cell in CELLS:
        for figure in figures.named([cell.figure]):
            runs = figure.runs if cell.column == "value" else figure.values()[cell.column]
            median = statistics.median(runs)
            share = cell.aim / median if cell.lower else median / cell.aim
            yield (
                f"| {cell.figure} | {cell.unit or figure.unit} | {cell.aim:,g} | {shown(median)} "
                f"| {shown(min(runs))} to {shown(max(runs))} | {share:.0%} |"
            )
    yield ""
    yield from limits_table(figures)


def limits_table(figures: Figures) -> Iterator[str]:
    """Of those that were measured, as Markdown."""
    yield "| what the machine allows | unit | median | least to most |"
    yield "|---|---|--:|--:|"
    for figure in figures.named([cell.name for cell in limits.CELLS]):
        ends = f"{shown(min(figure.runs))} to {shown(max(figure.runs))}"
        yield f"| {figure.name} | {figure.unit} | {shown(figure.median)} | {ends} |"


def shown(value: float) -> str:
    """With three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(figures: Figures) -> str:
    """Throughput over size, as SVG."""
    series: dict[str, list[Point]] = {}
    for who in ("native", "S3"):
        for operation in ("PUT", "GET"):
            points = series.setdefault(f"{who} {operation}", [])
            for size in SIZES:
                name = f"{who} {operation} {size_text(size)} x{PLOTTED_CLIENTS}"
                for figure in figures.named([name]):
                    mib = 1.0 if figure.unit == "MiB/s" else size / MIB
                    points.append((size, figure.median * mib))
    title = f"Throughput over object size, {PLOTTED_CLIENTS} clients"
    return line_chart(title, "MiB/s", series)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--plot", type=Path, help="draw throughput over size in this file (SVG)")
    options = parser.parse_args()
    figures = Figures()
    for _ in range(options.rounds):
        measure(figures)
    figures.say_medians()
    say("")
    for line in table(figures):
        say(line)
    if options.json is not None:
        figures.write(options.json)
    if options.plot is not None:
        options.plot.write_text(plot(figures))


if __name__ == "__main__":
    main()
