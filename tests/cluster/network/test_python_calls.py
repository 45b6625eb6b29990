"""The native path is native: what Python does for a chunk does not grow with its datagrams.

The data path of three targets and an initiator in one process, real VDEVs and sockets, without
the control plane (its timers would be counted too). sys.setprofile counts every call of Python and of
its built-ins in all threads while chunks of 1 MiB are put and read, one after the other.
The quietest quarter of the chunks counts: one that met timers, which a busy machine makes many of,
does more at any datagram size.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from replicast.gateway.initiator import UdpInitiator
from replicast.gateway.manifest import payload_reference
from replicast.hashing import HashAlgorithm

MIB = 1 << 20
CHUNKS, WARM_UP = 40, 10
PLAIN = (1400, 8192)
TOLERANCE = 0.10


class Counter:
    """Calls of Python functions and built-ins, in all threads started after start()."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1

    def start(self) -> None:
        threading.setprofile(self)
        sys.setprofile(self)

    @staticmethod
    def stop() -> None:
        sys.setprofile(None)
        threading.setprofile(None)


async def _chunk_calls(initiator: UdpInitiator, counter: Counter, data: bytes) -> tuple[int, int]:
    """Calls of one put and of one get."""
    before = counter.calls
    placed = await initiator.put_chunk(data)
    between = counter.calls
    reference = payload_reference(
        offset=0,
        size_bytes=MIB,
        algorithm=HashAlgorithm.BLAKE3_256,
        chid=placed.chid,
        copies=placed.copies,
    )
    assert await initiator.get_chunk(reference) == data
    return between - before, counter.calls - between


async def _calls(path: Any, counter: Counter) -> dict[int, list[tuple[int, int]]]:
    """By datagram size, in turns: what else the machine does then meets all sizes alike."""
    opened = {size: path.initiator(datagram_bytes=size) for size in PLAIN}
    found: dict[int, list[tuple[int, int]]] = {size: [] for size in PLAIN}
    rng = random.Random(1)
    for _ in range(WARM_UP + CHUNKS):
        for size, initiator in opened.items():
            found[size].append(await _chunk_calls(initiator, counter, rng.randbytes(MIB)))
    return {size: each[WARM_UP:] for size, each in found.items()}


@pytest.mark.usefixtures("native_only")
def test_python_calls__a_chunk_costs_the_same_at_every_datagram_size(data_path):
    counter = Counter()

    async def measure() -> dict[int, list[tuple[int, int]]]:
        async with data_path() as path:
            return await _calls(path, counter)

    counter.start()
    try:
        found = asyncio.run(measure())
    finally:
        counter.stop()
    for number, what in enumerate(("put", "get")):
        small, large = (quiet_mean(each[number] for each in found[size]) for size in PLAIN)
        print(f"\n{what}: {small:.0f} calls at {PLAIN[0]} bytes, {large:.0f} at {PLAIN[1]}")
        assert abs(small - large) <= TOLERANCE * large


def quiet_mean(calls: Iterable[int]) -> float:
    """The mean of the quarter that met the fewest timers."""
    ordered = sorted(calls)
    return statistics.mean(ordered[: len(ordered) // 4])


@pytest.fixture
def native_only(require):
    require("native")
