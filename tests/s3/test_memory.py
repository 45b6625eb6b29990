"""Memory of a gateway that many send large bodies to at once: no more than docs/s3.md says."""

from __future__ import annotations

import contextlib
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .wire import Gateway

MIB = 1 << 20
CLIENTS, BODY_BYTES = int(os.environ.get("REPLICAST_S3_CLIENTS", "200")), 8 * MIB
BODIES = 4  # distinct ones: targets keep each once, and the disk small
BODY_BYTES_HELD, BUFFERS, WAITING_EACH = 256 * MIB, (64 + 32) * MIB, 3 * MIB // 4


@pytest.mark.slow
def test_many_large_bodies_at_once(gateway: Gateway, s3_cluster: object) -> None:
    assert gateway.ask("PUT", "/crowd").status == 200
    bodies = [random.Random(seed).randbytes(BODY_BYTES) for seed in range(BODIES)]
    before_bytes = most_resident_bytes(gateway)

    def put(number: int) -> None:
        while True:  # no client that waits to be told to go on
            with contextlib.suppress(ConnectionError):
                reply = gateway.ask("PUT", f"/crowd/{number}", bodies[number % BODIES])
                if reply.status == 200:
                    return
                assert reply.code in ("SlowDown", "ServiceUnavailable")

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(put, range(CLIENTS)))
    grown_bytes = most_resident_bytes(gateway) - before_bytes
    print(f"{CLIENTS} clients: {before_bytes / MIB:.0f} MiB + {grown_bytes / MIB:.0f} MiB")
    assert grown_bytes < BODY_BYTES_HELD + BUFFERS + CLIENTS * WAITING_EACH


def most_resident_bytes(gateway: Gateway) -> int:
    """The most that the gateway's process has held so far."""
    pid = int((gateway.log.parent / "pid").read_text().split()[0])
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
