"""Ratios of two files of figures: what `make bench` wrote, or another bench with --json.

    .venv/bin/python bench/compare.py OLD NEW

For each name in both: the medians of the runs, new / old of them (more is faster where it is a rate), and
new / old of the CPU seconds of client and servers (less is cheaper). Notes:

    DIFFERENT RESULT  the digests differ: what was made faster or slower is something else (exit code 1)
    DIFFERENT UNIT    no ratio means anything (exit code 1)
    within noise      the runs of one file lie further apart, (max - min) / median, than the medians do
    one run           nobody knows how far they lie apart

Names that only one file has are listed. Exit code 2: a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import size_text

DIFFERENT_RESULT, DIFFERENT_UNIT = "DIFFERENT RESULT", "DIFFERENT UNIT"
WITHIN_NOISE, ONE_RUN = "within noise", "one run"
ALARMS = (DIFFERENT_RESULT, DIFFERENT_UNIT)
WRONG_CODE = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """What a file says of one name. CPU seconds are per 1000 operations or per GiB, as the bench has it; None
    where it does not say."""

    unit: str
    runs: Sequence[float]
    client_cpu: float | None = None
    server_cpu: float | None = None
    digest: str | None = None

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> float:
        """How far the runs lie apart, as a share of the median."""
        return (max(self.runs) - min(self.runs)) / self.median if self.median else 0.0


Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One name of both files."""

    name: str
    old: Figure
    new: Figure

    @property
    def ratio(self) -> float | None:
        """More is faster; None where there is nothing to divide by."""
        return _ratio(self.old.median, self.new.median)

    @property
    def notes(self) -> list[str]:
        """What to know before the ratio is believed."""
        found = []
        if None not in (digests := (self.old.digest, self.new.digest)) and len(set(digests)) == 2:
            found.append(DIFFERENT_RESULT)
        if self.old.unit != self.new.unit:
            return [*found, DIFFERENT_UNIT]
        if min(len(self.old.runs), len(self.new.runs)) == 1:
            found.append(ONE_RUN)
        elif self.ratio is not None and self._spread > abs(self.ratio - 1):
            found.append(WITHIN_NOISE)
        return found

    @property
    def _spread(self) -> float:
        return max(self.old.spread, self.new.spread)

    def line(self) -> str:
        """For people."""
        ratio = None if DIFFERENT_UNIT in self.notes else self.ratio
        client = _ratio(self.old.client_cpu, self.new.client_cpu)
        servers = _ratio(self.old.server_cpu, self.new.server_cpu)
        return (
            f"{self.name:38} {self.old.median:12,.2f} {self.new.median:12,.2f} {self.new.unit:5} "
            f"{_shown(ratio)}  {_shown(client)} {_shown(servers)}  {', '.join(self.notes)}"
        ).rstrip()


def _ratio(old: float | None, new: float | None) -> float | None:
    return new / old if old and new is not None else None


def _shown(ratio: float | None) -> str:
    return "      -" if ratio is None else f"{ratio:7.3f}"


# -- files ----------------------------------------------------------------------


def read_figures(path: Path) -> Figures:
    """By name. Raises OSError, ValueError, KeyError: not such a file."""
    document = json.loads(path.read_text())
    found: Figures = {}
    for row in document["figures"]:
        name, figure = _named(row) if "name" in row else _of_load(row)
        if name in found:
            raise ValueError(f"two figures are called {name!r}")
        if not figure.runs:
            raise ValueError(f"{name!r} has no runs")
        found[name] = figure
    return found


def implementation_of(path: Path) -> str:
    """cython or python, where the file says it."""
    return str(json.loads(path.read_text()).get("implementation", "not told"))


def _named(row: Mapping[str, Any]) -> tuple[str, Figure]:
    """As bench/results.py writes them, or bench/figures.py with the CPU seconds of each run; all but name,
    unit and runs may be missing."""
    cpu = [_median(row.get(key)) for key in ("client_cpu", "server_cpu")]
    return row["name"], Figure(row["unit"], row["runs"], *cpu, row.get("digest"))


def _of_load(row: Mapping[str, Any]) -> tuple[str, Figure]:
    """As bench/s3.py writes them, with medians only."""
    where = f"{row['endpoint']} " if "endpoint" in row else ""
    name = f"{where}{row['operation']} {size_text(row['size_bytes'])} x{row['clients']}"
    cpu = row["client_per_1000"], row["server_per_1000"]
    return name, Figure("op/s", [row["ops_per_second"]], *cpu)


def _median(cpu: float | Sequence[float] | None) -> float | None:
    return statistics.median(cpu) if isinstance(cpu, Sequence) else cpu


# -- the whole ------------------------------------------------------------------


def compare(old: Figures, new: Figures) -> list[Comparison]:
    """What is in both, in the order of the new ones."""
    return [Comparison(name, old[name], figure) for name, figure in new.items() if name in old]


def only_in(one: Figures, other: Figures) -> list[str]:
    """Names that the other file does not have."""
    return [name for name in one if name not in other]


def print_all(old: Figures, new: Figures) -> bool:
    """Is nothing but speed different?"""
    comparisons = compare(old, new)
    print(f"{'':38} {'old':>12} {'new':>12} {'':5} new/old   client servers: CPU, new/old")
    for each in comparisons:
        print(each.line())
    for what, names in (("old", only_in(old, new)), ("new", only_in(new, old))):
        for name in names:
            print(f"only in {what}: {name}")
    return not any(note in ALARMS for each in comparisons for note in each.notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW")
    options = parser.parse_args(arguments)
    files = []
    for path in (options.old, options.new):
        try:
            files.append(read_figures(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path}: no file of figures: {error!r}")
        print(f"{path}: {len(files[-1])} figures, {implementation_of(path)}")
    return 0 if print_all(*files) else WRONG_CODE


if __name__ == "__main__":
    sys.exit(main())
