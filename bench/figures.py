"""Figures of several rounds: each run, printed at once, then medians with least and most.

CPU is in seconds per GiB where the unit is MiB/s, and per 1000 operations where it is op/s or us.
`client` is the process that measures, `server` are the others that work for it.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from replicast.native import IMPLEMENTATION
from replicast.units import GIB, MIB

CPU_UNITS = {"MiB/s": "s/GiB", "op/s": "s/1000", "us": "s/1000"}


def say(text: str) -> None:
    """To the terminal at once."""
    print(text, flush=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one cell; None: not measured."""

    value: float
    client_cpu: float | None = None
    server_cpu: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    written: float | None = None  # bytes to the disk for each byte of the user's


COLUMNS = tuple(each.name for each in fields(Sample))[1:]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run took: wall and CPU time in seconds."""

    wall: float
    client: float
    server: float | None = None

    def of_bytes(self, size_bytes: int, **more: float) -> Sample:
        """In MiB/s; `more`: other columns of the sample."""
        return Sample(size_bytes / MIB / self.wall, *self._cpu(size_bytes / GIB), **more)

    def of_operations(self, count: int, **more: float) -> Sample:
        """In op/s; `more`: other columns of the sample."""
        return Sample(count / self.wall, *self._cpu(count / 1000), **more)

    def of_each(self, count: int) -> Sample:
        """In us of one operation."""
        return Sample(self.wall / count * 1e6, *self._cpu(count / 1000))

    def _cpu(self, amount: float) -> tuple[float, float | None]:
        return self.client / amount, None if self.server is None else self.server / amount


@dataclass(slots=True)
class Figure:
    """All runs of one cell."""

    name: str
    unit: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def runs(self) -> list[float]:
        """In their order."""
        return [sample.value for sample in self.samples]

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    def line(self) -> str:
        """Medians for people; of several runs least and most, too."""
        text = _line(self.name, self.unit, self._medians())
        if len(self.samples) > 1:
            text += f"  {min(self.runs):.1f} to {max(self.runs):.1f}"
        return text

    def values(self) -> dict[str, Any]:
        """For JSON; what was not measured is left out."""
        found: dict[str, Any] = {"name": self.name, "unit": self.unit, "runs": self.runs}
        for key in COLUMNS:
            column = [getattr(sample, key) for sample in self.samples]
            if None not in column:
                found[key] = column
        return found

    def _medians(self) -> Sample:
        values = self.values()
        columns = (values.get(key) for key in COLUMNS)
        rest = (None if column is None else statistics.median(column) for column in columns)
        return Sample(self.median, *rest)


class Figures:
    """By name, in the order in which they came first."""

    def __init__(self) -> None:
        self._found: dict[str, Figure] = {}

    def add(self, name: str, unit: str, sample: Sample) -> None:
        """One more run, said aloud."""
        self._found.setdefault(name, Figure(name, unit)).samples.append(sample)
        say(_line(name, unit, sample))

    def named(self, names: list[str]) -> list[Figure]:
        """Those of them that were measured."""
        return [self._found[name] for name in names if name in self._found]

    def say_medians(self) -> None:
        """All of them."""
        rounds = max(len(figure.samples) for figure in self._found.values())
        say(f"\nmedians of {rounds}, least and most; {IMPLEMENTATION}")
        for figure in self._found.values():
            say(figure.line())

    def write(self, path: Path) -> None:
        """As JSON."""
        rows = [figure.values() for figure in self._found.values()]
        text = json.dumps({"implementation": IMPLEMENTATION, "figures": rows}, indent=2)
        path.write_text(text + "\n")


def _line(name: str, unit: str, sample: Sample) -> str:
    text = f"{name:<44} {sample.value:9.1f} {unit:<5}"
    if sample.p50_ms is not None:
        text += f"  p50 {sample.p50_ms:7.2f}"
    if sample.p99_ms is not None:
        text += f"  p99 {sample.p99_ms:7.2f}"
    if sample.p50_ms is not None:
        text += " ms"
    if sample.client_cpu is not None:
        text += f"  CPU {CPU_UNITS[unit]}: {sample.client_cpu:7.3f}"
    if sample.server_cpu is not None:
        text += f", servers {sample.server_cpu:7.3f}"
    if sample.written is not None:
        text += f"  written {sample.written:5.2f}"
    return text
