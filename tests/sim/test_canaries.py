"""Each planted bug is seen by the checker whose clause it breaks; without it the same run is good."""

from __future__ import annotations

import functools

import pytest

from .canary_rows import ROWS, Row, seen
from .whole import run

# A change of the product changes what a seed does: the bug must show soon, not in one given run.
SEEDS_TRIED = 24


@functools.cache
def problems(test: str, seed: int, seconds: float | None) -> list[str]:
    """Of a run without any bug planted."""
    return run(test, seed, seconds, buggify=False).problems


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_canary__is_seen_by_its_checker(row: Row) -> None:
    for seed in range(row.seed, row.seed + SEEDS_TRIED):
        assert problems(row.test, seed, row.seconds) == []
        if row.checker in seen(row, seed):
            return
    pytest.fail(f"{row.checker} sees nothing in {SEEDS_TRIED} seeds")
