"""Sweeps as users run them: many seeds of every test, two processes, each verdict ok.

About 100 runs in `make test` and 400 more in `make test-all`, shorter than their tests say.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from .whole import FOLDER, TESTS

QUICK, SLOW = -(-100 // len(TESTS)), -(-400 // len(TESTS))
SECONDS = 10


def sweep(name: str, *options: object) -> str:
    """What the sweep printed; fails with all of it, the replaying commands among it."""
    command = ["sim", "--test", FOLDER / f"{name}.toml", "-j", 2, *options]
    done = subprocess.run(
        [sys.executable, "-m", "replicast.cli", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", TESTS)
def test_sweep__keeps_the_contract(name: str) -> None:
    printed = sweep(name, "--seeds", QUICK, "--seconds", SECONDS)
    assert f"{QUICK} runs, 0 failed" in printed
    print(f"{name}: {printed}")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_long_sweep__keeps_the_contract(name: str) -> None:
    printed = sweep(name, "--seeds", SLOW, "--first", QUICK + 1, "--seconds", SECONDS)
    assert f"{SLOW} runs, 0 failed" in printed
    print(f"{name}: {printed}")
