"""The seeds that have found bugs, as docs/simulation.md lists them: each is a good run now.

A change of the product changes what a seed does, so most of them lead elsewhere by now; what a seed
found has a test of its own beside the code that was mended.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .whole import TESTS, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulation.md"
ROW = re.compile(
    r"^\| (?P<test>\w+), (?P<seeds>\d+(?: and \d+)*)"
    r"(?: for (?P<seconds>\d+) s)?(?P<points> with fault points)? \|",
    re.MULTILINE,
)
FOUND = sorted(
    {
        (row["test"], int(seed), float(row["seconds"] or 0), bool(row["points"]))
        for row in ROW.finditer(DOCUMENT.read_text().partition("## Found so far")[2])
        for seed in row["seeds"].split(" and ")
    }
)


def test_the_document_lists_seeds_of_tests_that_exist() -> None:
    assert len(FOUND) > 10 and {name for name, *_ in FOUND} <= set(TESTS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed", "seconds", "points"), FOUND)
def test_found__is_mended(name: str, seed: int, seconds: float, points: bool) -> None:
    result = run(name, seed, seconds or None, buggify=points or None)
    assert result.verdict == "ok", result.problems
