"""Targets with one VDEV each: real name services over disks in memory; crash and return."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from replicast.flexhash.table import Table
from replicast.metrics import Counters
from replicast.target.names.limits import NameLimits
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.service import NameService
from replicast.target.names.store import AppendRecords, RowsChange, SendPeer, StoreOutcome
from replicast.units import MS, SECOND
from replicast.wire.schema import Message

from .network import Network

WALL_NS = 1_800_000_000 * SECOND
LIMITS = NameLimits(
    silence_ns=200 * MS, resend_ns=40 * MS, command_retry_ns=120 * MS, add_wait_ns=100 * MS,
    add_wait_max_ns=400 * MS, park_ns=150 * MS, commit_notice_ns=10 * MS,
)  # fmt: skip
BUCKETS: Any = {("default", "b"): SimpleNamespace(incarnation=1, spread=4, state=1, versioning=1)}


TIMER_NS = 20_000  # what is due at once is done a wake-up later


def node_of(vdev: int) -> int:
    return 100 + vdev


class Lease:
    def __init__(self) -> None:
        self.until_ns = self.floor = 0

    def valid(self, now_ns: int) -> bool:
        return now_ns < self.until_ns


@dataclass
class Node:
    """One target with one VDEV; `table` is on its disk."""

    vdev: int
    store: MemoryRowStore = field(default_factory=MemoryRowStore)
    lease: Lease = field(default_factory=Lease)
    table: Table | None = None
    service: NameService | None = None
    life: int = 0
    busy_ns: int = 0
    due_ns: int | None = None  # when its timer rings
    cut: bool = False  # off the peer network
    deaf: bool = False  # off the control plane
    counters: Counters = field(default_factory=Counters)


class Targets(Network):
    """Targets 1 to `count` on one network; what they say to others goes to the two hooks."""

    def __init__(self, seed: int, count: int, loss: float, limits: NameLimits) -> None:
        super().__init__(seed, loss)
        self.limits = limits
        self.nodes = {v: Node(v) for v in range(1, count + 1)}
        self.opens = dict.fromkeys(self.nodes, 1)
        self.dirty = False  # something changed that the control plane has to look at

    def _answered(self, operation_id: bytes, message: Message) -> None:
        """An answer reaches its client."""
        raise NotImplementedError

    def _command(self, change: RowsChange) -> None:
        """A leader's command reaches the control plane."""
        raise NotImplementedError

    def _tick(self) -> None:
        """As a daemon does each second; the rest is up to the service's own deadlines."""
        for node in self.nodes.values():
            if node.service is not None:
                node.service.expire(self.now_ns)
                self.drain(node)
        self.at(SECOND, self._tick)

    def _arm(self, node: Node) -> None:
        assert node.service is not None
        due_ns, life = node.service.deadline_ns(), node.life
        if due_ns is None or (node.due_ns is not None and node.due_ns <= due_ns):
            return
        node.due_ns = due_ns = max(due_ns, self.now_ns + TIMER_NS)

        def ring() -> None:
            if node.service is not None and (node.life, node.due_ns) == (life, due_ns):
                node.due_ns = None
                node.service.expire(self.now_ns)
                self.drain(node)

        self.at(due_ns - self.now_ns, ring)

    def _start(self, node: Node) -> None:
        node.life += 1
        node.due_ns = None
        node.lease = Lease()
        node.service = NameService(
            node_of(node.vdev), 77, node.lease, BUCKETS, node.counters, self.limits
        )
        node.service.set_clock(self.now_ns, WALL_NS + self.now_ns)
        node.service.add_vdev(node.vdev, node.store, self.now_ns)
        self.opens[node.vdev] = node.store.open_count
        self.dirty = True
        if node.table is not None:
            node.service.adopt_table(node.table, self.now_ns)
        self.drain(node)

    def crash(self, vdev: int, down_ns: int | None = None, lose_index: bool = False) -> None:
        node = self.nodes[vdev]
        if node.service is None:
            return
        node.service = None
        node.store.sync(self.rng.randrange(3))  # reached the disk, nobody was told
        node.store.crash(lose_index)
        if down_ns is not None:
            self.at(down_ns, lambda: self.start(vdev))

    def start(self, vdev: int) -> None:
        if self.nodes[vdev].service is None:
            self._start(self.nodes[vdev])

    def drain(self, node: Node) -> None:
        service = node.service
        assert service is not None
        if not service.told and not service.answered:  # as a daemon does
            return
        for out in service.take_outgoing():
            self.send(partial(self._answered, out.operation_id, out.message))
        for event in service.take_events():
            if isinstance(event, SendPeer):
                self._peer(node, event)
            elif isinstance(event, AppendRecords):
                self._write(node, event)
            elif isinstance(event, RowsChange):
                self.at(self.rng.randrange(MS, 30 * MS), partial(self._command, event))
        self._arm(node)

    def _peer(self, node: Node, event: SendPeer) -> None:
        target = self.nodes[event.node_id - 100]

        def deliver() -> None:
            if target.service is not None and not target.cut and not node.cut:
                target.service.receive_peer(event.message, node_of(node.vdev), self.now_ns)
                self.drain(target)

        self.send(deliver)

    def _write(self, node: Node, event: AppendRecords) -> None:
        life = node.life
        if self.rng.random() < self.loss / 4:  # the queue is full
            full = StoreOutcome.AGAIN
            assert node.service is not None
            node.service.stored(event.vdev_index, event.token, full, self.now_ns)
            return
        node.store.append(event.records)

        def synced() -> None:
            if node.service is None or node.life != life:
                return
            node.store.sync(len(event.records))
            node.service.stored(event.vdev_index, event.token, StoreOutcome.STORED, self.now_ns)
            self.drain(node)
            if self.rng.random() < 0.05:
                node.store.checkpoint()

        # One after the other, as a commit thread does.
        node.busy_ns = max(node.busy_ns, self.now_ns) + self.rng.randrange(200_000, 3 * MS)
        self.at(node.busy_ns - self.now_ns, synced)
