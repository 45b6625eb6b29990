"""One simulated target: a volatile core, durable VDEVs, a lease that can be taken away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from replicast.flexhash.table import Table
from replicast.metrics import Counters
from replicast.target.chunks import ChunkService
from replicast.transport.reassembly import Reassembly
from replicast.units import MIB, MS
from replicast.wire.reasons import Reason


@dataclass
class SimVdev:
    """One disk: what is durable, and how slow it is."""

    delay_ns: int = 2 * MS
    free: int = 900_000
    reason: Reason | None = None
    durable: dict[bytes, bytes] = field(default_factory=dict)
    stored_count: int = 0
    held_count: int = 0
    queued: int = 0
    damaged: bool = False

    def has(self, chid: bytes) -> bool:
        return chid in self.durable

    def size_of(self, chid: bytes) -> int:
        return len(self.durable.get(chid, b""))

    def refusal(self, size_bytes: int) -> Reason | None:
        return self.reason

    def proves_misses(self) -> bool:
        return not self.damaged

    def appraise(self, chid: bytes, size_bytes: int) -> tuple[bool, bool, int, int, int]:
        return self.has(chid), self.reason is None, self.queued, self.delay_ns, self.free

    def free_ppm(self) -> int:
        return self.free


@dataclass
class SimLease:
    until_ns: int = 1 << 62

    def valid(self, now_ns: int) -> bool:
        return now_ns < self.until_ns


class Target:
    """One target process: volatile core, durable VDEVs."""

    def __init__(self, cluster: Any, node_id: int, vdevs: dict[int, SimVdev]) -> None:
        self.cluster, self.node_id, self.vdevs = cluster, node_id, vdevs
        self.lease = SimLease()
        self.table = cluster.table
        self.up = True
        self.incarnation = 0
        self.start()

    def start(self) -> None:
        self.up = True
        self.incarnation += 1
        self.buffers = Reassembly(4 * MIB, 64)
        self.groups: set[int] = set()
        self.counters = Counters()
        self.core = ChunkService(
            node_id=self.node_id,
            table=self.table,
            lease=self.lease,
            vdevs=self.vdevs,
            buffers=self.buffers,
            counters=self.counters,
            credit_bytes=self.cluster.credit_bytes,
        )

    def crash(self) -> None:
        self.up = False
        self.incarnation += 1

    def adopt(self, table: Table) -> None:
        if table.generation > self.table.generation:
            self.table = table
            if self.up:
                self.core.adopt(table, self.cluster.now)
                self.cluster.flush_target(self)
