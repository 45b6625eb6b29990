"""Figures of replicast beside those of a peer, as the Markdown table of docs/performance.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from statistics import median

from figures import CPU_UNITS, Figure, Figures
from results import size_text
from table import shown

MEMORY_AT_REST, CPU_AT_REST = "memory at rest, PSS", "CPU at rest, of one core"
OTHERS = "CPU of others meanwhile, of all cores"


def peers_table(
    figures: Figures, ours: str, theirs: str, sizes: Sequence[int], clients: Sequence[int]
) -> Iterator[str]:
    """Lines of Markdown, for what both of them have figures of. Names begin with those of the systems."""
    yield (
        f"| figure | unit, of CPU | {ours} | least to most | {theirs} | least to most | ratio "
        f"| CPU of {ours}: servers | client | of {theirs}: servers | client |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for who, size, operation, count in itertools.product(
        ("native", "S3"), sizes, ("PUT", "GET"), clients
    ):
        name = f"{who} {operation} {size_text(size)} x{count}"
        for left, right in _both(figures, ours, theirs, name):
            unit = f"{left.unit}, {CPU_UNITS[left.unit]}"
            yield (
                f"| {name} | {unit} | {_rates(left)} | {_rates(right)} "
                f"| {left.median / right.median:.2f} | {_cpu(left)} | {_cpu(right)} |"
            )
    for name in (MEMORY_AT_REST, CPU_AT_REST):
        for left, right in _both(figures, ours, theirs, name):
            values = f"{shown(left.median)} | | {shown(right.median)} | "
            yield f"| {name} | {left.unit} | {values}| | | | | |"
    for others in figures.named([OTHERS]):
        yield f"| {OTHERS} | % | {shown(others.median)} | | | | | | | | |"


def _both(figures: Figures, ours: str, theirs: str, name: str) -> Iterator[tuple[Figure, Figure]]:
    """Nothing when only one of them was measured."""
    pair = (figures.named([f"{who} {name}"]) for who in (ours, theirs))
    return zip(*pair, strict=False)


def _rates(figure: Figure) -> str:
    return f"{shown(figure.median)} | {shown(min(figure.runs))} to {shown(max(figure.runs))}"


def _cpu(figure: Figure) -> str:
    columns = figure.values()
    servers, client = (median(columns[each]) for each in ("server_cpu", "client_cpu"))
    return f"{shown(servers)} | {shown(client)}"
