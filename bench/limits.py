"""What this machine allows, right now: memory, hashes, durable writes, UDP on loopback.

    .venv/bin/python bench/limits.py [--rounds 5] [--dir FOLDER] [--json FILE]

Each round measures every cell once. Prints the runs, then medians with least and most, and CPU
seconds next to them (bench/figures.py says of what). Files lie in a new folder in FOLDER (default:
the system's for temporary files), less than 1 GiB, and are removed. Other benches take `CELLS`, so
that their figures stand beside limits of the same hour.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figures, Sample, Usage
from limits_disk import large_batched, large_copies, large_synced, small_copies, small_synced
from limits_udp import ping_pong, stream_of_datagrams, stream_of_segments

from replicast.hashing import DEFAULT_ALGORITHM, content_hash
from replicast.units import KIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS, SECONDS = (1, 0.02) if TINY else (5, 0.5)
COPY_BYTES = 16 * MIB if TINY else 256 * MIB
BLOCKS = 64  # of 1 MiB, so that no cache holds what is hashed
SMALL_AT_ONCE = 64  # hashes between two looks at the clock


@dataclass(frozen=True, slots=True)
class Cell:
    """One limit; `measure` is given a folder for its files."""

    name: str
    unit: str
    measure: Callable[[Path], Sample]


def copy_memory(_: Path) -> Sample:
    """Blocks that were touched before."""
    source, target = (np.full(COPY_BYTES, value, np.uint8) for value in (1, 2))

    def once() -> int:
        np.copyto(target, source)
        return COPY_BYTES

    return _repeated(once)


def sha256_large(_: Path) -> Sample:
    """One thread, 1 MiB each."""
    return _hashed(lambda block: hashlib.sha256(block).digest())


def sha256_small(_: Path) -> Sample:
    """One thread, 4 KiB each."""
    block = os.urandom(4 * KIB)

    def once() -> int:
        for _ in range(SMALL_AT_ONCE):
            hashlib.sha256(block).digest()
        return SMALL_AT_ONCE * len(block)

    return _repeated(once)


def content_hash_large(_: Path) -> Sample:
    """One thread, 1 MiB each, by the algorithm of a new cluster."""
    return _hashed(lambda block: content_hash(DEFAULT_ALGORITHM, block))


def _hashed(digest: Callable[[bytes], bytes]) -> Sample:
    blocks = itertools.cycle([os.urandom(MIB) for _ in range(BLOCKS)])

    def once() -> int:
        digest(next(blocks))
        return MIB

    return _repeated(once)


def _repeated(once: Callable[[], int]) -> Sample:
    """Once to warm up, then until the time is over; `once` returns how many bytes it did."""
    once()
    done_bytes, cpu, began = 0, time.process_time(), time.perf_counter()
    while (wall := time.perf_counter() - began) < SECONDS or not done_bytes:
        done_bytes += once()
    return Usage(wall, time.process_time() - cpu).of_bytes(done_bytes)


CELLS = (
    Cell("memcpy, 256 MiB", "MiB/s", copy_memory),
    Cell("SHA-256, 1 MiB", "MiB/s", sha256_large),
    Cell("SHA-256, 4 KiB", "MiB/s", sha256_small),
    Cell("content hash, 1 MiB", "MiB/s", content_hash_large),
    Cell("disk, sync each MiB", "MiB/s", large_synced),
    Cell("disk, sync each 8 MiB", "MiB/s", large_batched),
    Cell("disk, sync each 8 MiB, three copies", "MiB/s", large_copies),
    Cell("disk, 4 KiB and sync", "op/s", small_synced),
    Cell("disk, 4 KiB and sync, three copies", "op/s", small_copies),
    Cell("UDP stream, 61440 B", "MiB/s", stream_of_datagrams),
    Cell("UDP stream, UDP_SEGMENT", "MiB/s", stream_of_segments),
    Cell("UDP ping-pong, 64 B", "us", ping_pong),
)


def measure_all(figures: Figures, folder: Path) -> None:
    """Every cell once."""
    for cell in CELLS:
        os.sync()
        figures.add(cell.name, cell.unit, cell.measure(folder))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for files")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="replicast-bench-", dir=options.dir) as folder:
        for _ in range(options.rounds):
            measure_all(figures, Path(folder))
    figures.say_medians()
    if options.json is not None:
        figures.write(options.json)


if __name__ == "__main__":
    main()
