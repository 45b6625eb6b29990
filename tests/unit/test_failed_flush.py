"""target/store/engine.py: what a flush that failed leaves behind in memory."""

from __future__ import annotations

import errno
import gc
import weakref
from dataclasses import replace

import pytest

from replicast.target.store.errors import Outcome, VdevStatus
from replicast.target.store.record import RowEntry

from .store_bench import Bench, fail


class Payload(bytearray):
    """Says when it is gone."""


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_flush_that_failed__keeps_no_payload(operation: str) -> None:
    bench = Bench()
    chunk = bench.chunk()
    payload = Payload(chunk.payload)
    gone = weakref.ref(payload)
    bench.disk.fault = fail(operation, errno.ENOSPC, "seg")
    gc.disable()
    try:
        bench.run(replace(chunk, payload=memoryview(payload)))
        del payload
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_write_and_sync_in_one__acknowledges_nothing_when_either_fails(operation: str) -> None:
    bench = Bench()
    bench.run(RowEntry(1, 1, 1, b"stored"))
    engine = bench.vdev._engine
    core = engine.core
    core.append([RowEntry(1, 1, 2, b"stored too")], "good", None)
    assert engine.run() == [("good", Outcome.STORED)]
    bench.disk.fault = fail(operation, errno.EIO, "seg")
    core.append([RowEntry(1, 1, 3, b"lost")], "bad", None)
    assert engine.run() == [("bad", Outcome.FAULTED)]
    assert bench.vdev.status == VdevStatus.FAULTED
    assert [entry.index for entry in bench.vdev.row_log(1, 0)] == [1, 2]


def test_abandoned_flush__tells_each_once_and_nobody_that_it_is_stored() -> None:
    bench = Bench()
    core = bench.vdev._engine.core
    core.append([replace(bench.chunk(), algorithm=1, chid=bytes(32))], "wrong hash", None)
    core.append([RowEntry(1, 1, 1, b"entry")], "row", None)
    plan = core.begin_flush()
    assert plan is not None and plan.refused == [("wrong hash", Outcome.HASH_MISMATCH)]
    told = core.abandon(OSError(errno.EIO, "internal error"))
    assert sorted(told, key=str) == [("row", Outcome.FAULTED), ("wrong hash", Outcome.FAULTED)]
    assert core.abandon(OSError(errno.EIO, "again")) == []
    assert bench.vdev.row_log(1, 0) == []
