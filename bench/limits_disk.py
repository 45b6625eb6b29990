"""What the disk allows: durable writes into preallocated files, as a VDEV's log is written.

New files in every run, allocated and synced before the clock starts, so that no run finds blocks
that an earlier one has written. 1 MiB goes past the page cache (O_DIRECT) where the file system
can, 4 KiB through it. Three files are written by three threads, as three VDEVs of one disk do;
their figures are the user's: a third of what the disk took, the most that a put of three copies can
have. bench/limits.py runs this.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from figures import Sample, Usage, say

from replicast.file_io import write_fully
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
FILE_BYTES = 8 * MIB if TINY else 128 * MIB
SMALL_WRITES = 8 if TINY else 300
COPIES, BATCH = 3, 8


def large_synced(folder: Path) -> Sample:
    """One file, fdatasync after each MiB."""
    return _large(folder, 1, 1)


def large_batched(folder: Path) -> Sample:
    """One file, fdatasync after 8 MiB."""
    return _large(folder, 1, BATCH)


def large_copies(folder: Path) -> Sample:
    """Three files at once, fdatasync after 8 MiB of each."""
    return _large(folder, COPIES, BATCH)


def small_synced(folder: Path) -> Sample:
    """4 KiB and fdatasync, one file."""
    return _small(folder, 1)


def small_copies(folder: Path) -> Sample:
    """The same, three files at once."""
    return _small(folder, COPIES)


def _large(folder: Path, files: int, batch: int) -> Sample:
    blocks = aligned_blocks(BATCH)

    def write(fd: int) -> None:
        for number in range(FILE_BYTES // MIB):
            write_fully(fd, number * MIB, [blocks[number % BATCH]])
            if number % batch == batch - 1:
                os.fdatasync(fd)

    with _preallocated(folder, files, os.O_DIRECT) as fds:
        return _together(fds, write).of_bytes(FILE_BYTES)


def _small(folder: Path, files: int) -> Sample:
    block = aligned_blocks(1)[0][: 4 * KIB]

    def write(fd: int) -> None:
        for number in range(SMALL_WRITES):
            write_fully(fd, number * len(block), [block])
            os.fdatasync(fd)

    with _preallocated(folder, files, 0) as fds:
        return _together(fds, write).of_operations(SMALL_WRITES)


def _together(fds: list[int], write: Callable[[int], None]) -> Usage:
    """`write` for each of the files, all at once."""
    with ThreadPoolExecutor(len(fds)) as threads:
        cpu, began = time.process_time(), time.perf_counter()
        list(threads.map(write, fds))
        return Usage(time.perf_counter() - began, time.process_time() - cpu)


@contextmanager
def _preallocated(folder: Path, count: int, flags: int) -> Iterator[list[int]]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        fds = [_open(Path(place) / f"{n}", flags) for n in range(count)]
        try:
            for fd in fds:
                os.posix_fallocate(fd, 0, FILE_BYTES)
            os.sync()
            yield fds
        finally:
            for fd in fds:
                os.close(fd)


def _open(path: Path, flags: int) -> int:
    plain = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(path, plain | flags, 0o600)
    except OSError as error:
        if not flags or error.errno != errno.EINVAL:
            raise
        say(f"{path.parent}: no O_DIRECT on this file system: through the page cache")
        return os.open(path, plain, 0o600)


def aligned_blocks(mib: int, each_mib: int = 1) -> list[memoryview]:
    """Incompressible, each beginning at a page."""
    memory = memoryview(mmap.mmap(-1, mib * MIB))
    for number in range(mib):
        memory[number * MIB : (number + 1) * MIB] = os.urandom(MIB)
    return [memory[at : at + each_mib * MIB] for at in range(0, mib * MIB, each_mib * MIB)]
