"""Payload from one network thread to another over loopback, by datagram size.

Prints MB/s (the receiver's bytes), CPU seconds of both sides, and a hash of what arrived.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest

TINY = os.environ.get("REPLICAST_BENCH_TINY") == "1"
CHUNK_BYTES = 64_000 if TINY else 1 << 20
ROUNDS = 1 if TINY else 200


@pytest.mark.parametrize("datagram_bytes", [1400, 8192, 61_440])
def test_throughput(
    benchmark: Any,
    make_node: Callable[[], Any],
    run_transfer: Callable[..., None],
    make_meter: Callable[[], Any],
    datagram_bytes: int,
) -> None:
    sender, receiver = make_node(), make_node()
    chunk = random.Random(1).randbytes(CHUNK_BYTES)
    arrived: list[bytes] = []

    def one() -> None:
        transfer_id = os.urandom(16)
        run_transfer(sender, [receiver], [receiver.address], transfer_id, chunk, datagram_bytes)
        arrived[:] = [receiver.reassembly.take(transfer_id)]

    meter = make_meter()
    benchmark.pedantic(one, rounds=ROUNDS, warmup_rounds=1)
    meter.report(f"payload in {datagram_bytes} B datagrams", CHUNK_BYTES * (ROUNDS + 1))
    print(f"received {blake2b(arrived[0], digest_size=8).hexdigest()}")
    assert arrived[0] == chunk
