"""target/store/engine.py: what a flush that failed leaves behind in memory."""

from __future__ import annotations

import errno
import gc
import weakref
from dataclasses import replace

import pytest

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
