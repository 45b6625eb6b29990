"""Is a series of samples flat? Its thirds are compared: the first is where caches and buffers fill.

    judge("t1", "PSS MiB", samples)     a Row, whose `problem` is empty when it is

The median of the last third may be above that of the middle third by a part and an absolute step, by what
is measured: memory 10 % and 8 MiB; open files and threads 4; what waits a quarter, and 1 MiB where
it is bytes, else 8. What grows with the bytes that are stored may grow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from process_watch import HANDLES, MEMORY, STORED

from replicast.units import MIB

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One series of one process; medians of its thirds."""

    process: str
    what: str
    first: float
    middle: float
    last: float
    most: float
    problem: str = ""


def thirds(samples: Sequence[T]) -> tuple[Sequence[T], Sequence[T], Sequence[T]]:
    """In their order; none is empty when there are three samples."""
    one, two = len(samples) // 3, len(samples) * 2 // 3
    return samples[:one], samples[one:two], samples[two:]


def allowed(what: str, middle: float) -> float:
    """The most that the last third's median may be."""
    if what in MEMORY:
        return middle * 1.10 + 8
    if what in HANDLES:
        return middle + 4
    if what in STORED:
        return math.inf
    return middle * 1.25 + (MIB if what.endswith("_bytes") else 8)


def judge(process: str, what: str, samples: Sequence[float]) -> Row:
    """See the module header. Fewer than three samples say nothing."""
    if len(samples) < 3:
        return Row(process, what, 0, 0, 0, 0, f"{process} {what}: only {len(samples)} samples")
    first, middle, last = map(statistics.median, thirds(samples))
    problem = ""
    if last > allowed(what, middle):
        problem = f"{process} {what}: {last:.1f} in the last third, {middle:.1f} in the middle one"
    return Row(process, what, first, middle, last, max(samples), problem)
