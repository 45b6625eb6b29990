"""Sweeps as users run them: many seeds of every test, two processes, each verdict ok.

The quick ones end sooner than their tests say, the slow ones run whole: about 100 and 400 runs.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from .whole import FOLDER, TESTS

QUICK, SLOW = -(-100 // len(TESTS)), -(-400 // len(TESTS))
QUICK_SECONDS = 10


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
    printed = sweep(name, "--seeds", QUICK, "--seconds", QUICK_SECONDS)
    assert f"{QUICK} runs, 0 failed" in printed
    print(f"{name}: {printed}")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_long_sweep__keeps_the_contract(name: str) -> None:
    printed = sweep(name, "--seeds", SLOW, "--first", QUICK + 1)
    assert f"{SLOW} runs, 0 failed" in printed
    print(f"{name}: {printed}")
