"""How often a store asks the file system what is free, and what it takes by that."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicast.memory_disk import MemoryDisk
from replicast.target.store import engine as engine_module
from replicast.target.store.errors import Outcome
from replicast.target.store.record import RowEntry

from .store_bench import Bench


def test_free_space__is_asked_for_now_and_then_and_at_once_when_it_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    free_bytes = MemoryDisk.free_bytes

    def ask(disk: MemoryDisk, path: Path) -> int:
        asked.append(free_bytes(disk, path))
        return asked[-1]

    monkeypatch.setattr(MemoryDisk, "free_bytes", ask)
    monkeypatch.setattr(engine_module, "MEASURE_BYTES", 1 << 20)
    bench = Bench()
    asked.clear()
    for _ in range(100):
        assert bench.run(bench.chunk(20_000)) == Outcome.STORED
    assert 1 <= len(asked) <= 3  # 2 MB
    bench.disk.capacity_bytes = bench.disk.used_bytes() + 300_000  # somebody else filled it
    bench.run(bench.chunk(1 << 20))
    asked.clear()
    assert bench.run(bench.chunk(40_000)) == Outcome.NO_SPACE
    assert bench.run(RowEntry(1, 1, 1, bytes(40_000))) == Outcome.STORED
    assert len(asked) == 1
