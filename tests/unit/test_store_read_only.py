"""The store on a file system that takes no writes, from the start or from some moment on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from replicast.target.store.errors import Outcome, VdevStatus

from .store_bench import Bench, fail


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_read_only_file_system__opens_for_reading(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk)
    bench.vdev.close()
    bench.disk.fault = fail("write", errno.EROFS)
    bench.open()
    assert bench.vdev.status == VdevStatus.READ_ONLY
    assert bench.vdev.open_count == 1 and not bench.vdev.counted
    assert bench.vdev.read_chunk(chunk.chid) == chunk.payload
    assert bench.run(bench.chunk()) == Outcome.READ_ONLY
    bench.vdev.close()
    bench.disk.fault = lambda operation, path: None
    bench.open()
    assert bench.vdev.open_count == 2 and bench.vdev.counted


def test_remount_read_only_while_open(bench: Bench) -> None:
    bench.run(bench.chunk())
    bench.disk.fault = fail("write", errno.EROFS)
    assert bench.run(bench.chunk()) == Outcome.READ_ONLY
    assert bench.vdev.status == VdevStatus.READ_ONLY


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_remount_under_way__says_eio_and_is_read_only_all_the_same(
    bench: Bench, operation: str
) -> None:
    """What is under way while an ext4 stops is told EIO: its journal was aborted."""
    chunk = bench.chunk()
    bench.run(chunk)
    told: list[str] = []

    def fault(what: str, path: Path) -> None:
        if what == operation and not told:
            told.append(what)
            raise OSError(errno.EIO, "the journal is aborted")
        if told and what in ("write", "sync"):
            raise OSError(errno.EROFS, "read-only")

    bench.disk.fault = fault
    assert bench.run(bench.chunk()) == Outcome.READ_ONLY
    assert bench.vdev.status == VdevStatus.READ_ONLY
    assert bench.vdev.read_chunk(chunk.chid) == chunk.payload
