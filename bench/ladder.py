"""Where the time of a durable put goes: 1 MiB in three copies, with stages of the path left out.

    .venv/bin/python bench/ladder.py [--rounds 5] [--clients 8] [--mib 128] [--dir FOLDER]
        [--shm FOLDER] [--json FILE] [--plot FILE.svg]

The rungs:

    whole                  a cluster of 4 targets x 2 VDEVs on loopback, its files in --dir
    no disk                the same without writing chunks (no_disk.py); names are written, on the tmpfs --shm
    no disk, no hash       and client and daemons with a stand-in for the hash (cheap_hash.py)
    no network             in one process: hash, and three stores on the disk, which verify it
    no network, no hash    and without both hashes: what three stores and the disk take

Every round measures the limits of the machine (limits.py) and then all rungs, which of them first
changes from round to round. Data is new in every phase, incompressible, and made before the clock starts; a quarter as
much is put before that to warm up; `sync` runs between phases. Some objects are read back and
compared, where there is a disk. CPU is per GiB of object data, of the client and of all its servers; without a network
that is the clients' threads and the rest of the process. A rung without room is said and left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from figures import Figure, Figures, Sample, say
from ladder_cluster import ClusterRung
from ladder_stores import COPIES, StoreRung
from limits import CELLS, measure_all
from limits_disk import aligned_blocks
from svg_plot import Bar, BarGroup, bar_chart
from tmpfs import SHM, lacking

from replicast.units import MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS, CLIENTS, ROUND_MIB = (1, 2, 4) if TINY else (5, 8, 128)
PREALLOCATED_BYTES = 8 * 64 * MIB  # segments of all VDEVs that are not full yet
WARM_PART = 4  # of what is measured, put before the clock starts
PREFIX = "replicast-bench-"


class Rung(Protocol):
    """One way to put."""

    name: str

    def measure(self, clients: int, warm: list[memoryview], bodies: list[memoryview]) -> Sample: ...


class Ladder:
    """All rungs, in folders of their own."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._options = options
        self._mib: int = max(options.mib, options.clients)
        self._warm_mib: int = max(self._mib // WARM_PART, options.clients)
        self.figures = Figures()
        self._require_room()
        self._disk = _folder(options.dir, stack)
        self._rungs: list[Rung] = [
            ClusterRung("whole", self._disk),
            *self._on_tmpfs(stack),
            StoreRung("no network", self._disk),
            StoreRung("no network, no hash", self._disk, hashes=False),
        ]

    @property
    def names(self) -> list[str]:
        """Of the rungs."""
        return [rung.name for rung in self._rungs]

    def run(self) -> None:
        """All rounds."""
        for number in range(self._options.rounds):
            measure_all(self.figures, self._disk)
            first = number % len(self._rungs)
            for rung in [*self._rungs[first:], *self._rungs[:first]]:
                warm, bodies = aligned_blocks(self._warm_mib), aligned_blocks(self._mib)
                os.sync()
                sample = rung.measure(self._options.clients, warm, bodies)
                self.figures.add(rung.name, "MiB/s", sample)

    def _on_tmpfs(self, stack: ExitStack) -> list[Rung]:
        names = {"no disk": ("disk",), "no disk, no hash": ("disk", "hash")}
        why = lacking(self._options.shm)
        if why:
            say(f"left out: {' and '.join(repr(name) for name in names)}: {why}")
            return []
        folder = _folder(self._options.shm, stack)
        return [ClusterRung(name, folder, *left_out) for name, left_out in names.items()]

    def _require_room(self) -> None:
        needed = COPIES * (self._mib + self._warm_mib) * MIB + PREALLOCATED_BYTES  # of one rung
        free = shutil.disk_usage(self._options.dir).free
        if free < needed:
            raise SystemExit(f"{self._options.dir}: {free // MIB} MiB free, {needed // MIB} needed")


def _folder(within: Path, stack: ExitStack) -> Path:
    """A new one, which goes with `stack`."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=within)))


def _bars(figures: Sequence[Figure]) -> list[Bar]:
    return [Bar(each.name, each.median, min(each.runs), max(each.runs)) for each in figures]


def plot(ladder: Ladder) -> str:
    """Rungs above limits; one far beyond the rungs is drawn broken, or those would not be seen."""
    limits = [cell.name for cell in CELLS if cell.unit == "MiB/s"]
    groups = [
        BarGroup("Put of 1 MiB, three copies", _bars(ladder.figures.named(ladder.names))),
        BarGroup("What the machine allows", _bars(ladder.figures.named(limits))),
    ]
    longest = max(bar.most for bar in groups[0].bars)
    return bar_chart("Stages of a durable put", "MiB/s", groups, axis_max=2 * longest)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many put at once")
    parser.add_argument("--mib", type=int, default=ROUND_MIB, help="put for a figure")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="on a disk")
    parser.add_argument("--shm", type=Path, default=SHM, help="where a tmpfs is mounted")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--plot", type=Path, help="draw them in this file (SVG)")
    options = parser.parse_args()
    with ExitStack() as stack:
        ladder = Ladder(options, stack)
        ladder.run()
    ladder.figures.say_medians()
    if options.json is not None:
        ladder.figures.write(options.json)
    if options.plot is not None:
        options.plot.write_text(plot(ladder))


if __name__ == "__main__":
    main()
