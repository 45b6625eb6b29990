"""Payload from one network thread to another over loopback, by datagram size.

In MiB/s of what the receiver has; CPU is of both sides, the digest of what arrived.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from meter import TINY, Case, measure

CHUNK_BYTES = 64_000 if TINY else 1 << 20


@pytest.mark.parametrize("datagram_bytes", [1400, 8192, 61_440])
def test_throughput(
    benchmark: Any,
    make_node: Callable[[], Any],
    run_transfer: Callable[..., None],
    datagram_bytes: int,
) -> None:
    sender, receiver = make_node(), make_node()
    chunk = random.Random(1).randbytes(CHUNK_BYTES)

    def one() -> bytes:
        transfer_id = os.urandom(16)
        run_transfer(sender, [receiver], [receiver.address], transfer_id, chunk, datagram_bytes)
        return receiver.reassembly.take(transfer_id)

    case = Case(f"payload in {datagram_bytes} B datagrams", size_bytes=CHUNK_BYTES)
    assert measure(benchmark, case, one) == chunk
