"""Memory that malloc keeps is given back, and not asked for when there is none."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from replicast.trimming import GROWN_BYTES, Trimmer, resident_bytes
from replicast.units import MIB

# Blocks too small for mmap, freed but for a few that lie between them: nothing is at the top.
FREED_BETWEEN = """
from replicast.trimming import malloc_trim, resident_bytes
blocks = [bytearray(b"x" * 20_000) for _ in range(5_000)]
kept = blocks[::50]
del blocks
before = resident_bytes()
malloc_trim()(0)
print(before, resident_bytes())
"""


def test_due__once_it_has_grown() -> None:
    trimmer = Trimmer()
    assert not trimmer.due(50 * MIB)
    assert not trimmer.due(50 * MIB + GROWN_BYTES - 1)
    assert trimmer.due(50 * MIB + GROWN_BYTES)


def test_due__counts_from_the_least() -> None:
    trimmer = Trimmer()
    assert not trimmer.due(90 * MIB)
    assert not trimmer.due(50 * MIB)
    assert trimmer.due(80 * MIB)


def test_trimmed__what_is_in_use_is_not_asked_for_again() -> None:
    trimmer = Trimmer()
    assert not trimmer.due(50 * MIB) and trimmer.due(90 * MIB)
    trimmer.trimmed(88 * MIB)
    assert not trimmer.due(88 * MIB + GROWN_BYTES - 1)
    assert trimmer.due(88 * MIB + GROWN_BYTES)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_malloc_trim__gives_back_what_lies_between() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FREED_BETWEEN], check=True, capture_output=True, text=True
    )
    before, after = map(int, told.stdout.split())
    assert before - after > 50 * MIB


def test_resident_bytes__of_this_process() -> None:
    assert resident_bytes() > MIB
