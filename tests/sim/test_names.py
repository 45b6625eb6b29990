"""Name rows on virtual time: targets, their disks, the network and a model of the control plane.

The network loses, duplicates, delays and cuts; targets crash and come back with what they had
synced; leases run out; leaders move. Checked: every acknowledged write is in the final order
exactly once, real time is respected (linearizable names), conditions held, replicas converge.

Fair: the control plane keeps its rules (leases, floor, prepare/acknowledge/activate), a synced
record survives. Replay one seed: SIM_SEED=7 pytest tests/sim/test_names.py
"""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
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

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(60))
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
    cut: bool = False  # off the peer network
    deaf: bool = False  # off the control plane
    counters: Counters = field(default_factory=Counters)


@dataclass
class Operation:
    """One client operation as the checker sees it."""

    kind: str
    name: str
    operation_id: bytes
    message: Message
    start_ns: int
    end_ns: int | None = None
    version: VersionId | None = None
    reason: int = 0
    condition: Condition | None = None


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
            self.send(lambda o=out: self._answered(o.operation_id, o.message))
        for event in service.take_events():
            if isinstance(event, SendPeer):
                self._peer(node, event)
            elif isinstance(event, AppendRecords):
                self._write(node, event)
            elif isinstance(event, RowsChange):
                self.at(self.rng.randrange(MS, 30 * MS), lambda e=event: self._command(e))

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
        node.busy_ns = max(getattr(node, "busy_ns", 0), self.now_ns)  # type: ignore[attr-defined]
        node.busy_ns += self.rng.randrange(200_000, 3 * MS)  # type: ignore[attr-defined]
        self.at(node.busy_ns - self.now_ns, synced)  # type: ignore[attr-defined]

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
                elif not edit.add and edit.vdev_index in names[row]:
                    if len(names[row]) > self.policy.min_copies:
                        names[row].remove(edit.vdev_index)
        for row, line in enumerate(names):
            best = old.name_candidates(row)
            if all(v in line and self.states[v] == VdevState.UP for v in best):
                names[row] = [v for v in line if v in best]
        self.edits = []
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
            if self.possible_lease[v] < self.now_ns and self.states[v] == VdevState.UP:
                if self.adopted[v]:
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
        for v, node in self.nodes.items():
            if v not in self.acks and not node.deaf:
                self.send(lambda v=v, n=node, life=node.life: prepare(v, n, life))
        waited = [v for v in self.nodes if self.possible_lease[v] >= self.now_ns]
        if all(v in self.acks for v in waited):
            self.table, self.prepared, self.activated_ns = table, None, self.now_ns
            self.trace.append((self.now_ns, f"generation {table.generation}"))

        def prepare(v: int, node: Node, life: int) -> None:
            if node.service is not None and node.life == life and not node.deaf:
                if node.table is None or node.table.generation < table.generation:
                    node.service.prepare_table(table)
                self.send(lambda: self.acks.add(v) if self.prepared is table else None)

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
        return list(getattr(operation, "found"))  # noqa: B009

    def operate(
        self, kind: str, name: str, message: Message, condition: Condition | None = None
    ) -> Operation:
        operation = Operation(kind, name, self.rng.randbytes(16), message, self.now_ns)
        operation.condition = condition
        self.operations.append(operation)
        self.waiting[operation.operation_id] = (operation, self.now_ns + 8 * SECOND)
        self._attempt(operation)
        return operation

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
        else:
            assert isinstance(message, NameVersionList)
            operation.found = message.versions  # type: ignore[attr-defined]
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
    by_version = {s.version: i for i, s in enumerate(order)}
    assert len(place) == len(order), "an operation took effect twice"
    writes = [o for o in history if o.kind in ("put", "delete")]
    for o in writes:
        if o.end_ns is not None and not o.reason:
            assert o.operation_id in place, f"acknowledged {o.kind} of {o.name} is lost"
            assert order[place[o.operation_id]].version == o.version
        if o.reason:
            assert o.operation_id not in place, "refused and yet done"
    started = {place[o.operation_id]: o.start_ns for o in writes if o.operation_id in place}
    bounds = [(o, *_interval(o, place, by_version, order)) for o in history if o.end_ns is not None]
    bounds = [(o, low, high) for o, low, high in bounds if high is not None]
    for o, low, high in bounds:
        if high >= 0:
            assert started[high] <= (o.end_ns or 0), "saw what had not begun"
        for p, _low, other in bounds:
            if p.end_ns is not None and p.end_ns < o.start_ns:
                floor = other
                assert low is None or low >= floor or o is p, f"{o.kind} missed a finished {p.kind}"
    for o in writes:
        if o.operation_id in place and o.condition is not None and o.condition.kind == IF_VERSION:
            i = place[o.operation_id]
            before = order[i - 1].version if i else NO_VERSION
            assert before == o.condition.version, "condition did not hold"
        if o.operation_id in place and o.condition is not None and o.condition.kind == IF_ABSENT:
            i = place[o.operation_id]
            assert i == 0 or order[i - 1].kind == 2, "overwrote what existed"


def _interval(
    o: Operation, place: dict[bytes, int], by_version: dict[Any, int], order: list[Any]
) -> tuple[int | None, int | None]:
    """Position in the order that a finished operation saw or made: (it, it); None: unknown."""
    if o.kind == "get" and o.version is not None:
        return by_version[o.version], by_version[o.version]
    if o.operation_id in place:
        return place[o.operation_id], place[o.operation_id]
    return None, None


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


# -- random histories ----------------------------------------------------------------------


def run_random(seed: int) -> World:
    """A few names, many operations, faults for a while; then peace and the checks."""
    rng = random.Random(seed + 1_000_003)
    world = World(seed, count=rng.choice((3, 4, 4, 5)), loss=rng.choice((0.0, 0.02, 0.1)))
    names = ["a", "b", "bb"]
    world.until(lambda: world.table.generation > 0 and world.nodes[1].table is not None)
    for _ in range(rng.randrange(20, 60)):
        world.run_for(rng.randrange(1, 120) * MS)
        client(world, rng, rng.choice(names))
        if rng.random() < 0.25:
            disturb(world, rng)
    heal(world)
    world.until(lambda: not world.waiting, 30 * SECOND)
    world.until(lambda: converged(world), 60 * SECOND)
    check(world, names)
    return world


def client(world: World, rng: random.Random, name: str) -> None:
    dice = rng.random()
    seen = [o.version for o in world.operations if o.name == name and o.version is not None]
    if dice < 0.35:
        world.put(name, body=rng.randbytes(rng.choice((8, 3000))))
    elif dice < 0.5:
        version = rng.choice(seen) if seen else NO_VERSION
        world.put(name, Condition(kind=IF_VERSION, version=version, etag=""))
    elif dice < 0.6:
        world.put(name, Condition(kind=IF_ABSENT, version=NO_VERSION, etag=""))
    elif dice < 0.7:
        world.delete(name)
    else:
        world.get(name)


def disturb(world: World, rng: random.Random) -> None:
    node = world.nodes[rng.choice(list(world.nodes))]
    dice = rng.random()
    if dice < 0.5:
        world.crash(node.vdev, rng.choice((10, 100, 1500)) * MS)
    elif dice < 0.7:
        node.cut = not node.cut
    elif dice < 0.85:
        node.deaf = not node.deaf
    else:
        node.store.checkpoint()


def heal(world: World) -> None:
    world.loss = 0.0
    for node in world.nodes.values():
        node.cut = node.deaf = False
        world.start(node.vdev)


def test_same_seed_same_trace() -> None:
    assert run_random(3).trace == run_random(3).trace


@pytest.mark.parametrize("seed", SEEDS)
def test_names_are_linearizable_and_durable(seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/test_names.py")
    run_random(seed)
