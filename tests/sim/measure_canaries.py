"""How many seeds each canary needs until its checker reports it, from several seeds on.

    python -m tests.sim.measure_canaries [--first 1 101 201] [--most 30] [canary ...]

One line a canary: how many runs it took from each first seed, and the median; `-` means not within
`--most`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from statistics import median_high

from .canary_rows import HARMLESS_ALONE, ROWS, Row, seen


def seeds_needed(row: Row, first: int, most: int) -> int | None:
    """Runs from seed `first` on until the row's checker reports; None: not within `most`."""
    for number in range(most):
        with contextlib.redirect_stdout(io.StringIO()):
            found = row.checker in seen(row, first + number)
        if found:
            return number + 1
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, nargs="+", default=[1, 101, 201])
    parser.add_argument("--most", type=int, default=30)
    parser.add_argument("canaries", nargs="*", help="their names; all when none is given")
    asked = parser.parse_args()
    for row in (*ROWS, *HARMLESS_ALONE):
        if asked.canaries and row.name not in asked.canaries:
            continue
        needed = [seeds_needed(row, first, asked.most) for first in asked.first]
        shown = " ".join(str(n) if n is not None else "-" for n in needed)
        middle = median_high([n if n is not None else asked.most + 1 for n in needed])
        print(f"{row.name}: {row.test}, {row.checker}: {shown}; median {middle}", flush=True)


if __name__ == "__main__":
    main()
