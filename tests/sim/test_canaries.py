"""Each planted bug is seen by the checker whose clause it breaks; without it the same run is good."""

from __future__ import annotations

import functools

import pytest

from .canary_rows import ROWS, Row, seen
from .whole import run


@functools.cache
def problems(test: str, seed: int, seconds: float | None) -> list[str]:
    """Of a run without any bug planted."""
    return run(test, seed, seconds, buggify=False).problems


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_canary__is_seen_by_its_checker(row: Row) -> None:
    assert problems(row.test, row.seed, row.seconds) == []
    assert row.checker in seen(row, row.seed)
