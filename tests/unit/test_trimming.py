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


# What a body of 1 MiB in pieces costs a heap that is in use already: page faults.
COMES_AND_GOES = """
import ctypes, resource, sys
from replicast.trimming import keep_heap
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: or one fault may be for 2 MiB
if sys.argv[1] == "keep":
    keep_heap()
def body():
    return b"".join([bytes(65536) for _ in range(16)] + [bytes(3 << 20)])
body()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    body()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they like"
)
def test_keep_heap__what_comes_and_goes_takes_no_new_pages() -> None:
    def faults(how: str) -> int:
        run = [sys.executable, "-c", COMES_AND_GOES, how]
        return int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 2000 < faults("as usual")


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
