"""A chunk that is in memory is read without waiting for the device, or not at all."""

from __future__ import annotations

import errno

import pytest

from replicast import memory_disk

from .store_bench import FIRST, Bench, fail


def test_read_cached__or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    chunk = bench.chunk()
    bench.run(chunk)
    bench.vdev.read_chunk(chunk.chid)  # opens the segment
    assert bench.vdev.read_cached(chunk.chid, 5000) is None  # as nothing is in memory here
    monkeypatch.setattr(memory_disk, "buggify", lambda name: name == "store/cached")
    assert bench.vdev.read_cached(chunk.chid, 5000) == chunk.payload
    assert bench.vdev.read_cached(chunk.chid, 4999) is None
    assert bench.vdev.read_cached(b"x" * 32, 5000) is None
    bench.disk.fault = fail("read", errno.EIO)
    assert bench.vdev.read_cached(chunk.chid, 5000) is None
    bench.disk.fault = lambda operation, path: None
    info = bench.vdev.chunk(chunk.chid)
    assert info is not None
    bench.disk.flip_bit(FIRST, info.header_offset)
    assert bench.vdev.read_cached(chunk.chid, 5000) is None
    bench.reopen()
    assert bench.vdev.read_cached(chunk.chid, 5000) is None
