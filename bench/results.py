"""One way for all benches to report: a line each, and a JSON file for bench/compare.py.

    report(Result("crc32 4 KiB", "MiB/s", runs, client_cpu, None, digest_of(result)))

CPU is in seconds per 1000 operations. An operation is what the name says, once: one object put, one chunk
hashed, one table built. The digest is of what was computed, so that nobody gets faster by computing
something else; it is the same from run to run.

With REPLICAST_BENCH_JSON=FILE that file holds everything reported so far by this process, also when it is
interrupted.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from replicast.native import IMPLEMENTATION
from replicast.units import KIB, MIB

JSON_FILE = "REPLICAST_BENCH_JSON"
DIGEST_BYTES = 8
Unit = Literal["MiB/s", "op/s"]


@dataclass(frozen=True, slots=True)
class Result:
    """One figure: `runs` in its unit, CPU seconds per 1000 operations of this process and, where there
    are any, of the servers."""

    name: str
    unit: Unit
    runs: Sequence[float]
    client_cpu: float
    server_cpu: float | None
    digest: str
    implementation: str = IMPLEMENTATION

    @property
    def value(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs)

    def line(self) -> str:
        """For people."""
        servers = "-" if self.server_cpu is None else f"{self.server_cpu:.4g}"
        return (
            f"{self.name:38} {self.value:12,.2f} {self.unit:5}  CPU s/1000: client "
            f"{self.client_cpu:9.4g} servers {servers:>9}  {self.implementation}  {self.digest}"
        )


_reported: dict[str, Result] = {}


def report(result: Result) -> None:
    """Print it, and add it to the file. Names are different, or figures could not be compared."""
    if result.name in _reported:
        raise ValueError(f"two figures are called {result.name!r}")
    _reported[result.name] = result
    print(f"\n{result.line()} ", end="", flush=True)  # pytest's dot comes behind
    if path := os.environ.get(JSON_FILE):
        write_results(Path(path), list(_reported.values()))


def write_results(path: Path, results: Sequence[Result]) -> None:
    """In one step, so that the file is whole at any time."""
    figures = [asdict(result) for result in results]
    for figure in figures:
        del figure["implementation"]
    unfinished = path.with_name(path.name + ".new")
    document = {"implementation": IMPLEMENTATION, "figures": figures}
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(path)


def digest_of(result: object) -> str:
    """Of bytes, or of what repr() shows of anything else."""
    whole = bytes(result) if isinstance(result, bytes | bytearray | memoryview) else None
    data = repr(result).encode() if whole is None else whole
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def size_text(size_bytes: int) -> str:
    """4 KiB, 16 MiB; bytes where it is not a whole number of them."""
    for unit_bytes, unit in ((MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes} {unit}"
    return f"{size_bytes} B"
