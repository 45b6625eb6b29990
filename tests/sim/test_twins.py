"""The simulator's compiled core runs the same run as its definition in Python."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# The status answer tells which implementation a target has: the one difference that is allowed.
PROGRAM = """
import replicast.native
replicast.native.IMPLEMENTATION = "either"
from tests.sim.whole import run
result = run({test!r}, {seed}, {seconds})
print(result.verdict, result.events, result.fingerprint)
"""


def outcome(pure: str, test: str, seed: int, seconds: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(test=test, seed=seed, seconds=seconds)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"REPLICAST_PURE": pure},
    )
    return done.stdout


@pytest.mark.parametrize(("test", "seed"), [("mixed", 1), ("everything", 2)])
def test_twins__a_run_is_the_same_run_in_both(test: str, seed: int) -> None:
    assert outcome("", test, seed, 8) == outcome("1", test, seed, 8)
    assert "ok " in outcome("", test, seed, 8)
