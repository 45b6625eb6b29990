"""Name rows on virtual time: targets, their disks, the network and a model of the control plane.

The network loses, duplicates, delays and cuts; targets crash and come back with what they had
synced; leases run out; leaders move. Checked: every acknowledged write is in the final order
exactly once, real time is respected (linearizable names), conditions held, replicas converge.

Fair: the control plane keeps its rules (leases, floor, prepare/acknowledge/activate), a synced
record survives. test_histories.py draws faults at random, test_interleavings.py arranges them.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from replicast.flexhash.entries import NO_VDEV, Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.machine import Incoming
from replicast.metrics import Counters
from replicast.target.names.limits import NameLimits
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.service import NameService
from replicast.target.names.store import AppendRecords, RowsChange, SendPeer, StoreOutcome
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    ALWAYS,
    DELETE_MARKER,
    IF_ABSENT,
    IF_VERSION,
    NO_VERSION,
    Condition,
    NameDelete,
    NameGet,
    NameKey,
    NamePut,
    NameResult,
    NameVersionList,
    NameVersions,
    OperationTime,
    VersionId,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

WALL_NS = 1_800_000_000 * SECOND
LEASE_NS = 600 * MS
ROWS = 4
LIMITS = NameLimits(
    silence_ns=200 * MS, resend_ns=40 * MS, command_retry_ns=120 * MS, add_wait_ns=100 * MS,
    add_wait_max_ns=400 * MS, park_ns=150 * MS, commit_notice_ns=10 * MS,
)  # fmt: skip
BUCKETS: Any = {("default", "b"): SimpleNamespace(incarnation=1, spread=4, state=1)}


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
    cut: bool = False  # off the peer network
    deaf: bool = False  # off the control plane
    counters: Counters = field(default_factory=Counters)


@dataclass
class Operation:
    """One client operation as the checker sees it; `found` is the answer to "versions"."""

    kind: str
    name: str
    operation_id: bytes
    message: Message
    start_ns: int
    end_ns: int | None = None
    version: VersionId | None = None
    reason: int = 0
    condition: Condition | None = None
    found: tuple[Any, ...] = ()


class World:
    """Clock, network, nodes and the control plane's model."""

    def __init__(self, seed: int, count: int = 4, loss: float = 0.0, copies: int = 3) -> None:
        self.rng = random.Random(seed)
        self.now_ns = SECOND
        self.loss = loss
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.trace: list[tuple[int, str]] = []
        self.policy = Policy(row_count=ROWS, group_size=max(copies, count), copies=copies)
        self.nodes = {v: Node(v) for v in range(1, count + 1)}
        self.possible_lease: dict[int, int] = dict.fromkeys(self.nodes, 0)
        self.adopted: dict[int, int] = dict.fromkeys(self.nodes, 0)
        self.states = dict.fromkeys(self.nodes, VdevState.UP)
        self.opens = dict.fromkeys(self.nodes, 1)
        self.edits: list[RowsChange] = []
        self.hold_commands = False
        self.leads: dict[int, int] = {}  # planned moves: row -> who is to lead it
        self.prepared: Table | None = None
        self.acks: set[int] = set()
        self.floor_given = self.activated_ns = 0
        self.dirty = False
        self.operations: list[Operation] = []
        self.waiting: dict[bytes, tuple[Operation, int]] = {}
        self.table = self._first()
        for node in self.nodes.values():
            self._start(node)
        self.at(0, self._control)
        self.at(0, self._tick)

    # -- machinery ---------------------------------------------------------------

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.sequence += 1
        heapq.heappush(self.heap, (self.now_ns + delay_ns, self.sequence, action))

    def lead(self, row: int, vdev: int) -> None:
        """The Raft leader plans that this replica leads the row, if it can."""
        self.leads[row], self.dirty = vdev, True

    def run(self, until_ns: int) -> None:
        while self.heap and self.heap[0][0] <= until_ns:
            self.now_ns, _, action = heapq.heappop(self.heap)
            action()
        self.now_ns = until_ns

    def run_for(self, span_ns: int) -> None:
        self.run(self.now_ns + span_ns)

    def until(self, condition: Callable[[], bool], span_ns: int = 20 * SECOND) -> None:
        end_ns = self.now_ns + span_ns
        while not condition():
            assert self.now_ns < end_ns, "never happened"
            self.run_for(5 * MS)

    def send(self, action: Callable[[], None], loss: float | None = None) -> None:
        """Over the network: lost, late, out of order, sometimes twice."""
        loss = self.loss if loss is None else loss
        if self.rng.random() < loss:
            return
        self.at(self.rng.randrange(100_000, 4 * MS), action)
        if self.rng.random() < loss / 2:
            self.at(self.rng.randrange(MS, 60 * MS), action)

    def _tick(self) -> None:
        for node in self.nodes.values():
            if node.service is not None:
                node.service.expire(self.now_ns)
                self.drain(node)
        self.at(5 * MS, self._tick)

    # -- nodes -----------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        node.life += 1
        node.lease = Lease()
        node.service = NameService(
            node_of(node.vdev), 77, node.lease, BUCKETS, node.counters, LIMITS
        )
        node.service.set_clock(self.now_ns, WALL_NS + self.now_ns)
        node.service.add_vdev(node.vdev, node.store, self.now_ns)
        self.opens[node.vdev] = node.store.open_count
        self.dirty = True
        if node.table is not None:
            node.service.adopt_table(node.table, self.now_ns)

    def crash(self, vdev: int, down_ns: int | None = None) -> None:
        node = self.nodes[vdev]
        if node.service is None:
            return
        node.service = None
        node.store.sync(self.rng.randrange(3))  # reached the disk, nobody was told
        node.store.crash()
        if down_ns is not None:
            self.at(down_ns, lambda: self.start(vdev))

    def start(self, vdev: int) -> None:
        if self.nodes[vdev].service is None:
            self._start(self.nodes[vdev])

    def drain(self, node: Node) -> None:
        service = node.service
        assert service is not None
        for out in service.take_outgoing():
            self.send(partial(self._answered, out.operation_id, out.message))
        for event in service.take_events():
            if isinstance(event, SendPeer):
                self._peer(node, event)
            elif isinstance(event, AppendRecords):
                self._write(node, event)
            elif isinstance(event, RowsChange):
                self.at(self.rng.randrange(MS, 30 * MS), partial(self._command, event))

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

    # -- the control plane's model ---------------------------------------------------------

    def _first(self) -> Table:
        nodes = list(self.nodes)
        members = np.array(
            [[nodes[(r + i) % len(nodes)] for i in range(self.policy.group_size)]
             if len(nodes) == self.policy.group_size else
             [*(nodes[(r + i) % len(nodes)] for i in range(len(nodes))),
              *([NO_VDEV] * (self.policy.group_size - len(nodes)))] for r in range(ROWS)],
            dtype=np.uint16,
        )  # fmt: skip
        names = members.copy()
        names[:, self.policy.copies :] = NO_VDEV
        since = np.ones(ROWS, dtype=np.uint64)
        return self._make(1, members, names, since.copy(), since.copy())

    def _make(
        self, generation: int, members: Any, names: Any, names_since: Any, leader: Any
    ) -> Table:
        ends = [("127.0.0.1", 1)] * 4
        targets = {
            node_of(v): TargetEntry(
                node_of(v), f"t{v}", f"h{v}", "z", ends[0], ends[1], ends[2], "k" * 40, ends[3]
            )
            for v in self.nodes
        }
        vdevs = {
            v: VdevEntry(v, v.to_bytes(16, "big"), node_of(v), 1, self.states[v], self.opens[v])
            for v in self.nodes
        }
        rows = Rows(
            members=members, draining=np.full_like(members, NO_VDEV), names=names,
            members_since=np.ones(ROWS, dtype=np.uint64), names_since=names_since,
            leader_since=leader,
        )  # fmt: skip
        return Table(generation, self.policy, targets, vdevs, rows)

    def _command(self, change: RowsChange) -> None:
        if self.hold_commands:
            self.at(20 * MS, lambda: self._command(change))
        elif self.rng.random() >= self.loss:
            self.edits.append(change)

    def _build(self) -> Table:
        old = self.table
        names = [list(old.name_replicas(r)) for r in range(ROWS)]
        for edit in self.edits:
            if self.opens[edit.by] != edit.by_open_count:
                continue
            for row in edit.rows:
                if old.names_since(row) > edit.seen:
                    continue
                if edit.add and edit.vdev_index not in names[row]:
                    names[row].append(edit.vdev_index)
                elif edit.add or edit.vdev_index not in names[row]:
                    continue
                elif len(names[row]) > self.policy.min_copies:
                    names[row].remove(edit.vdev_index)
        for row, line in enumerate(names):
            best = old.name_candidates(row)
            if all(v in line and self.states[v] == VdevState.UP for v in best):
                names[row] = [v for v in line if v in best]
        for row, vdev in self.leads.items():
            if vdev in names[row] and self.states[vdev] == VdevState.UP:
                names[row] = [vdev, *(v for v in names[row] if v != vdev)]
        self.edits, self.leads = [], {}
        cells = np.full_like(old.rows.names, NO_VDEV)
        for row, line in enumerate(names):
            cells[row, : len(line)] = line
        generation = old.generation + 1
        names_since, leader_since = old.rows.names_since.copy(), old.rows.leader_since.copy()
        new = self._make(generation, old.rows.members, cells, names_since, leader_since)
        names_since, leader_since = names_since.copy(), leader_since.copy()
        for row in range(ROWS):
            moved = new.row_leader(row) != old.row_leader(row)
            if moved:
                leader_since[row] = generation
            if moved or tuple(names[row]) != old.name_replicas(row):
                names_since[row] = generation
        return self._make(generation, old.rows.members, cells, names_since, leader_since)

    def _control(self) -> None:
        for v, node in self.nodes.items():
            ended = self.adopted[v] and self.possible_lease[v] < self.now_ns
            if ended and self.states[v] == VdevState.UP:
                self.states[v], self.dirty = VdevState.DOWN, True
            if node.service is not None and not node.deaf:
                self._renew(v, node)
        if self.prepared is None and (self.dirty or self.edits):
            self.dirty = False
            self.prepared, self.acks = self._build(), set()
        if self.prepared is not None:
            self._spread()
        self.at(20 * MS, self._control)

    def _renew(self, v: int, node: Node) -> None:
        life, sent_ns = node.life, self.now_ns
        adopted = node.table.generation if node.table is not None else 0

        def arrive() -> None:
            self.adopted[v] = max(self.adopted[v], adopted)
            behind = self.adopted[v] < self.table.generation
            late = behind and self.now_ns > self.activated_ns + 200 * MS
            if self.opens[v] != node.store.open_count or self.adopted[v] < self.floor_given or late:
                return
            self.possible_lease[v] = max(self.possible_lease[v], self.now_ns + LEASE_NS)
            if self.states[v] == VdevState.DOWN:
                self.states[v], self.dirty = VdevState.UP, True
            floor = self.floor()
            self.send(lambda: grant(floor))

        def grant(floor: int) -> None:
            if node.life == life and node.service is not None and not node.deaf:
                node.lease.until_ns = max(node.lease.until_ns, sent_ns + LEASE_NS)
                node.lease.floor = max(node.lease.floor, floor)
                if node.table is None or node.table.generation < self.table.generation:
                    self._adopt(node, life, self.table)

        self.send(arrive)
        if node.table is None or node.table.generation < self.table.generation:
            table = self.table
            self.send(lambda: self._adopt(node, life, table))

    def floor(self) -> int:
        alive = [self.adopted[v] for v in self.nodes if self.possible_lease[v] >= self.now_ns]
        self.floor_given = max(self.floor_given, min(alive, default=0))
        return self.floor_given

    def _adopt(self, node: Node, life: int, table: Table) -> None:
        if node.service is None or node.life != life or node.deaf:
            return
        if node.table is None or node.table.generation < table.generation:
            node.service.adopt_table(table, self.now_ns)
            node.table = table
            self.drain(node)

    def _spread(self) -> None:
        table = self.prepared
        assert table is not None

        def prepare(v: int, node: Node, life: int) -> None:
            if node.service is not None and node.life == life and not node.deaf:
                if node.table is None or node.table.generation < table.generation:
                    node.service.prepare_table(table)
                self.send(lambda: self.acks.add(v) if self.prepared is table else None)

        for v, node in self.nodes.items():
            if v not in self.acks and not node.deaf:
                self.send(partial(prepare, v, node, node.life))
        waited = [v for v in self.nodes if self.possible_lease[v] >= self.now_ns]
        if all(v in self.acks for v in waited):
            self.table, self.prepared, self.activated_ns = table, None, self.now_ns
            self.trace.append((self.now_ns, f"generation {table.generation}"))

    # -- clients ---------------------------------------------------------------------------

    def put(self, name: str, condition: Condition | None = None, body: bytes = b"x") -> Operation:
        condition = condition or Condition(kind=ALWAYS, version=NO_VERSION, etag="")
        wall_ns = WALL_NS + self.now_ns
        message = NamePut(
            key=key_of(name), time=OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns),
            condition=condition, logical_size=len(body), etag="e", body_hash=b"h" * 32, body=body,
            short_of_copies=(),
        )  # fmt: skip
        return self.operate("put", name, message, condition)

    def delete(self, name: str) -> Operation:
        condition = Condition(kind=ALWAYS, version=NO_VERSION, etag="")
        wall_ns = WALL_NS + self.now_ns
        message = NameDelete(
            key=key_of(name), time=OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns),
            condition=condition, version=NO_VERSION,
        )  # fmt: skip
        return self.operate("delete", name, message, condition)

    def get(self, name: str) -> Operation:
        message = NameGet(key=key_of(name), version=NO_VERSION, want_body=True)
        return self.operate("get", name, message)

    def versions(self, name: str) -> list[Any]:
        operation = self.operate("versions", name, NameVersions(key=key_of(name)))
        self.until(lambda: operation.end_ns is not None)
        return list(operation.found)

    def operate(
        self, kind: str, name: str, message: Message, condition: Condition | None = None
    ) -> Operation:
        operation = Operation(kind, name, self.rng.randbytes(16), message, self.now_ns)
        operation.condition = condition
        self.operations.append(operation)
        self.waiting[operation.operation_id] = (operation, self.now_ns + 8 * SECOND)
        self._attempt(operation)
        return operation

    def assert_durable(self, operation: Operation) -> None:
        """An acknowledged write is on the disk of every in-sync replica, whoever that is now."""
        row = key_of(operation.name).row
        for vdev in self.table.name_replicas(row):
            store = self.nodes[vdev].store
            entries = (store.entry(row, i) for i in range(1, store.span(row)[0] + 1))
            held = any(operation.operation_id in entry[1] for entry in entries if entry)
            assert held, f"{vdev} is in sync without {operation.kind} {operation.name}"

    def ask(self, vdev: int, operation: Operation) -> None:
        """One attempt at this very target, by the table that it has."""
        node = self.nodes[vdev]
        assert node.service is not None and node.table is not None
        known = node.table.generation
        incoming = Incoming(operation.message, 9, operation.operation_id, known)
        node.service.receive(incoming, self.now_ns)
        self.drain(node)

    def settle(self) -> None:
        """Peace, until everything is where it should be."""
        self.loss, self.hold_commands = 0.0, False
        for node in self.nodes.values():
            node.cut = node.deaf = False
            self.start(node.vdev)
        self.until(lambda: not self.waiting, 30 * SECOND)
        self.until(lambda: converged(self), 60 * SECOND)

    def done(self, *operations: Operation) -> None:
        """Wait for answers."""
        self.until(lambda: all(o.end_ns is not None for o in operations))

    def _attempt(self, operation: Operation) -> None:
        """Ask the leader that some recent table names; again until answered or given up."""
        known = self.waiting.get(operation.operation_id)
        if known is None or self.now_ns > known[1]:
            self.waiting.pop(operation.operation_id, None)
            return
        table = self.table
        row = getattr(operation.message, "key").row  # noqa: B009
        leader = table.row_leader(row)
        if leader is not None:
            node = self.nodes[leader]
            incoming = Incoming(operation.message, 9, operation.operation_id, table.generation)

            def arrive() -> None:
                if node.service is not None:
                    node.service.receive(incoming, self.now_ns)
                    self.drain(node)

            self.send(arrive)
        self.at(self.rng.randrange(60 * MS, 200 * MS), lambda: self._attempt(operation))

    def _answered(self, operation_id: bytes, message: Message) -> None:
        known = self.waiting.get(operation_id)
        if known is None:
            return
        operation = known[0]
        if isinstance(message, Refused):
            final = (Reason.CONDITION_FAILED, Reason.NO_SUCH_NAME, Reason.TOO_OLD)
            if message.reason not in final:
                assert message.reason not in (Reason.BAD_REQUEST, Reason.NO_SUCH_BUCKET)
                return
            operation.reason = message.reason
        elif isinstance(message, NameResult):
            operation.version = message.summary.version
            if operation.kind in ("put", "delete"):
                self.assert_durable(operation)
        else:
            assert isinstance(message, NameVersionList)
            operation.found = message.versions
        del self.waiting[operation_id]
        operation.end_ns = self.now_ns
        self.trace.append((self.now_ns, f"{operation.kind} {operation.name} {operation.reason}"))


def key_of(name: str) -> NameKey:
    row = sum(name.encode()) % ROWS
    return NameKey(row=row, tenant="default", bucket="b", bucket_incarnation=1, name=name)


# -- checkers ----------------------------------------------------------------------------


def check_name(history: list[Operation], order: list[Any]) -> None:
    """`order`: summaries of all versions, oldest first: the one order that must explain all."""
    place = {s.operation_id: i for i, s in enumerate(order)}
    assert len(place) == len(order), "an operation took effect twice"
    for o in history:
        if o.kind in ("put", "delete"):
            check_write(o, place.get(o.operation_id), order)
    check_real_time(history, place, order)


def check_write(o: Operation, at: int | None, order: list[Any]) -> None:
    """An acknowledged write is there, a refused one is not, a condition held."""
    if o.reason:
        assert at is None, "refused and yet done"
    elif o.end_ns is not None:
        assert at is not None, f"acknowledged {o.kind} of {o.name} is lost"
        assert order[at].version == o.version
    if at is None or o.condition is None:
        return
    before = order[at - 1] if at else None
    if o.condition.kind == IF_VERSION:
        held = before.version if before else NO_VERSION
        assert held == o.condition.version, "condition did not hold"
    if o.condition.kind == IF_ABSENT:
        assert before is None or before.kind == DELETE_MARKER, "overwrote what existed"


def check_real_time(history: list[Operation], place: dict[bytes, int], order: list[Any]) -> None:
    """What finished before something began is seen by it; nothing is seen before it began."""
    by_version = {s.version: i for i, s in enumerate(order)}
    begun = {place[o.operation_id]: o.start_ns for o in history if o.operation_id in place}
    seen: list[tuple[int, int, int, Operation]] = []
    for o in history:
        at = place.get(o.operation_id)
        if o.kind == "get" and o.end_ns is not None:
            at = by_version[o.version] if o.version is not None else gone_at(o, order)
        if at is not None and o.end_ns is not None:
            seen.append((o.start_ns, o.end_ns, at, o))
            assert at < 0 or begun[at] <= o.end_ns, "saw what had not begun"
    for start_ns, _, at, o in seen:
        for _, end_ns, other, p in seen:
            assert end_ns >= start_ns or at >= other, f"{o.kind} missed a finished {p.kind}"


def gone_at(o: Operation, order: list[Any]) -> int | None:
    """NotFound is explained by the absence before the first version, when nothing was deleted."""
    deleted = any(s.kind == DELETE_MARKER for s in order)
    return None if o.reason != Reason.NO_SUCH_NAME or deleted else -1


def check(world: World, names: list[str]) -> None:
    for name in names:
        order = list(reversed(world.versions(name)))
        assert [s.version for s in order] == sorted(
            (s.version for s in order), key=lambda v: (v.time_ns, v.segment_id)
        )
        check_name([o for o in world.operations if o.name == name], order)


def views(world: World, row: int) -> list[dict[bytes, bytes]]:
    head = row.to_bytes(4, "big")
    replicas = world.table.name_replicas(row)
    return [
        {k: v for k, v in world.nodes[r].store.values.items() if k.startswith(head)}
        for r in replicas
    ]


def converged(world: World) -> bool:
    full = all(len(world.table.name_replicas(r)) == 3 for r in range(ROWS))
    return full and all(views(world, r).count(views(world, r)[0]) == 3 for r in range(ROWS))


@pytest.fixture(scope="session")
def sim() -> Any:
    """What the tests here use."""
    return SimpleNamespace(
        World=World, check=check, check_name=check_name, converged=converged, ROWS=ROWS
    )
