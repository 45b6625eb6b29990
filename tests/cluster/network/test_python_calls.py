"""The native path is native: what Python does for a chunk does not grow with its datagrams.

The data path of three targets and an initiator in one process, real VDEVs and sockets, without
the control plane (its timers would be counted too). sys.setprofile counts every call of Python and of
its built-ins in all threads while chunks of 1 MiB are put and read, one after the other.
The lower quartile counts: a chunk that met a retransmission timer or one wake-up more of a busy
machine does more, at any datagram size.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replicast import clocks
from replicast.auth.keyring import KeyRing
from replicast.disks import RealDisk
from replicast.flexhash.build import build
from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Table
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.gateway.initiator import UdpInitiator
from replicast.gateway.manifest import payload_reference
from replicast.hashing import HashAlgorithm
from replicast.metrics import Counters
from replicast.target.service import TargetService
from replicast.target.store.format import format_vdev
from replicast.target.store.vdev import Vdev, open_vdev
from replicast.target.vdevs import Vdevs
from replicast.transfer import CreditPool
from replicast.transport.open import UdpCallbacks, UdpPlan, make_buffers, open_udp

MIB = 1 << 20
CLUSTER_ID = b"python-calls-001"
KEYS = KeyRing(CLUSTER_ID, 1, {1: b"k" * 32})
HOSTS, CHUNKS, WARM_UP = 3, 30, 10
PLAIN = (1400, 8192)
TOLERANCE = 0.10


class Nothing:
    """Stands for the row core, peers and the control plane: never asked for anything."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments, **_more: None

    def take_outgoing(self) -> list[Any]:
        return []

    take_events = take_outgoing


class Lease:
    def valid(self, now_ns: int) -> bool:
        return True


def _udp(node_id: int, buffers: Any, callbacks: UdpCallbacks) -> Any:
    plan = UdpPlan(
        node_id=node_id, bind=("127.0.0.1", 0), boot_number=1, keys=KEYS, buffer_bytes=64 * MIB
    )
    return open_udp(plan, buffers, callbacks, Counters(), clocks.now_ns)


class Host:
    """One target's data plane."""

    def __init__(self, node_id: int, folder: Path) -> None:
        format_vdev(RealDisk(), folder, CLUSTER_ID, None, random.Random(node_id))
        self.vdev: Vdev = open_vdev(folder, CLUSTER_ID)
        buffers, nothing = make_buffers(64 * MIB), Nothing()
        self.service = TargetService(
            node_id,
            nothing,  # type: ignore[arg-type]
            Vdevs([self.vdev], asyncio.get_running_loop()),
            Lease(),  # type: ignore[arg-type]
            buffers,
            Counters(),
            now_ns=clocks.now_ns,
            wall_ns=clocks.wall_ns,
            raft_status=lambda: None,  # type: ignore[arg-type, return-value]
        )
        service = self.service
        self.udp = _udp(
            node_id,
            buffers,
            UdpCallbacks(
                on_incoming=service.on_incoming,
                on_completed=service.on_completed,
                on_sent=service.on_sent,
            ),
        )
        service.connect(self.udp, nothing, nothing)  # type: ignore[arg-type]
        at = self.udp._socket.getsockname()
        nowhere = ("127.0.0.1", 1)
        self.entry = TargetEntry(
            node_id, f"t{node_id}", f"host{node_id}", "z", at, nowhere, nowhere, "", nowhere
        )
        self.udp.start()

    def close(self) -> None:
        self.service.stop()
        self.udp.close()
        self.vdev.close()


def _initiator(table: Table, datagram_bytes: int) -> tuple[UdpInitiator, Any]:
    buffers = make_buffers(64 * MIB)
    rng = random.Random(datagram_bytes)
    context = ChunkContext(
        settings=ChunkSettings(datagram_bytes=datagram_bytes),
        buffers=buffers,
        counters=Counters(),
        rng=rng,
        credit=CreditPool(4 * MIB),
    )
    initiator = UdpInitiator(
        source=SimpleNamespace(table=table, source_age_ns=lambda now_ns: 0),  # type: ignore[arg-type]
        context=context,
        algorithm=HashAlgorithm.BLAKE3_256,
        rng=rng,
        now_ns=clocks.now_ns,
        wall_ns=clocks.wall_ns,
    )
    udp = _udp(
        rng.getrandbits(64),
        buffers,
        UdpCallbacks(
            on_incoming=initiator.on_incoming,
            on_completed=initiator.on_completed,
            on_sent=initiator.on_sent,
        ),
    )
    initiator.connect(udp)
    udp.endpoint.set_addresses({n: t.udp for n, t in table.targets.items()})
    udp.start()
    return initiator, udp


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


async def _calls(table: Table, counter: Counter) -> dict[int, list[tuple[int, int]]]:
    """By datagram size, in turns: what else the machine does then meets all sizes alike."""
    opened = {size: _initiator(table, size) for size in PLAIN}
    found: dict[int, list[tuple[int, int]]] = {size: [] for size in PLAIN}
    rng = random.Random(1)
    for _ in range(WARM_UP + CHUNKS):
        for size, (initiator, _) in opened.items():
            found[size].append(await _chunk_calls(initiator, counter, rng.randbytes(MIB)))
    for initiator, udp in opened.values():
        initiator.close()
        udp.close()
    return {size: each[WARM_UP:] for size, each in found.items()}


async def _measure(folder: Path, counter: Counter) -> dict[int, list[tuple[int, int]]]:
    hosts = [Host(n, folder / str(n)) for n in range(1, HOSTS + 1)]
    vdevs = [
        VdevEntry(n, host.vdev.vdev_id, n, 100, VdevState.UP, 1) for n, host in enumerate(hosts, 1)
    ]
    policy = Policy(row_count=64, group_size=HOSTS)
    table = build(None, [h.entry for h in hosts], vdevs, policy, (), 1)
    try:
        for host in hosts:
            host.service.on_table(table)
        return await _calls(table, counter)
    finally:
        for host in hosts:
            host.close()


@pytest.mark.usefixtures("native_only")
def test_python_calls__a_chunk_costs_the_same_at_every_datagram_size(tmp_path):
    counter = Counter()
    counter.start()
    try:
        found = asyncio.run(_measure(tmp_path, counter))
    finally:
        counter.stop()
    for number, what in enumerate(("put", "get")):
        small, large = (quietest(each[number] for each in found[size]) for size in PLAIN)
        print(f"\n{what}: {small:.0f} calls at {PLAIN[0]} bytes, {large:.0f} at {PLAIN[1]}")
        assert abs(small - large) <= TOLERANCE * large


def quietest(calls: Iterable[int]) -> float:
    """The quartile that met the fewest timers."""
    return statistics.quantiles(calls, n=4)[0]


@pytest.fixture
def native_only(require):
    require("native")
