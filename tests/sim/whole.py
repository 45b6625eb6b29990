"""Runs of whole simulated clusters, as the tests here share them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from replicast.sim.run import Result, run_test
from replicast.sim.test_file import Test, load_test

FOLDER = Path(__file__).parent
TESTS = sorted(path.stem for path in FOLDER.glob("*.toml"))


def named(name: str, seconds: float | None = None) -> Test:
    """A test of this folder, shorter when wanted."""
    test = load_test(FOLDER / f"{name}.toml")
    return test if seconds is None else replace(test, seconds=seconds)


def run(
    name: str, seed: int, seconds: float | None = None, *, buggify: bool | None = None
) -> Result:
    """One run; prints how to replay it."""
    option = {None: "", True: " --buggify", False: " --no-buggify"}[buggify]
    print(f"replay: replicast sim --test tests/sim/{name}.toml --seed {seed}{option}")
    test = named(name, seconds)
    return run_test(test if buggify is None else replace(test, buggify=buggify), seed)
