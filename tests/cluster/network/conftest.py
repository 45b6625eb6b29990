"""The data path without the control plane: targets and initiators in one process, as a fixture.

Real cores, shells, network threads, sockets and VDEVs; the table is fixed, every lease holds, and
there are no names. For tests of what a chunk costs, which the timers of a whole cluster would hide.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replicast import clocks
from replicast.auth.keyring import KeyRing
from replicast.credit import CreditPool
from replicast.disks import RealDisk
from replicast.flexhash.build import build
from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Table
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.gateway.initiator import UdpInitiator
from replicast.hashing import HashAlgorithm
from replicast.metrics import Counters
from replicast.target.service import TargetService
from replicast.target.store.format import format_vdev
from replicast.target.store.vdev import Vdev, open_vdev
from replicast.target.vdevs import Vdevs
from replicast.transport.open import UdpCallbacks, UdpPlan, make_buffers, open_udp

MIB = 1 << 20
CLUSTER_ID = b"data-path-000001"
KEYS = KeyRing(CLUSTER_ID, 1, {1: b"k" * 32})
HOSTS = 3


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
    return open_udp(plan, buffers, callbacks, Counters())


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
            new_key=lambda: bytes(32),
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
                on_delivered=service.on_delivered,
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


def _initiator(table: Table, **settings: Any) -> tuple[UdpInitiator, Any]:
    buffers = make_buffers(64 * MIB)
    rng = random.Random()
    context = ChunkContext(
        settings=ChunkSettings(**settings),
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
            on_delivered=initiator.on_delivered,
        ),
    )
    context.credit.limit(udp.receive_bytes)
    initiator.connect(udp)
    udp.endpoint.set_addresses({n: t.udp for n, t in table.targets.items()})
    udp.start()
    return initiator, udp


class DataPath:
    """Three targets of one VDEV, and as many initiators as a test asks for."""

    def __init__(self, folder: Path) -> None:
        self.hosts = [Host(n, folder / str(n)) for n in range(1, HOSTS + 1)]
        vdevs = [
            VdevEntry(n, host.vdev.vdev_id, n, 100, VdevState.UP, 1)
            for n, host in enumerate(self.hosts, 1)
        ]
        policy = Policy(row_count=64, group_size=HOSTS)
        self.table = build(None, [h.entry for h in self.hosts], vdevs, policy, (), 1)
        self._initiators: list[tuple[UdpInitiator, Any]] = []
        for host in self.hosts:
            host.service.on_table(self.table)

    def initiator(self, **settings: Any) -> UdpInitiator:
        """One more; `settings` are ChunkSettings."""
        self._initiators.append(_initiator(self.table, **settings))
        return self._initiators[-1][0]

    def close(self) -> None:
        for initiator, udp in self._initiators:
            initiator.close()
            udp.close()
        for host in self.hosts:
            host.close()


@pytest.fixture
def data_path(tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[DataPath]]:
    """`async with data_path() as path`."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[DataPath]:
        path = DataPath(tmp_path)
        try:
            yield path
        finally:
            path.close()

    return opened
