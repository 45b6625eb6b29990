"""A model of the control plane: leases, the floor, tables prepared and then activated."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from replicast.flexhash.entries import NO_VDEV, Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.target.names.limits import NameLimits
from replicast.target.names.store import RowsChange
from replicast.units import MS

from .targets import Node, Targets, node_of

LEASE_NS = 600 * MS
ROWS = 4


class ControlPlane(Targets):
    """Keeps its rules whatever the network does; looks at everything every 20 ms."""

    def __init__(self, seed: int, count: int, loss: float, copies: int, limits: NameLimits) -> None:
        super().__init__(seed, count, loss, limits)
        self.policy = Policy(row_count=ROWS, group_size=max(copies, count), copies=copies)
        self.possible_lease: dict[int, int] = dict.fromkeys(self.nodes, 0)
        self.adopted: dict[int, int] = dict.fromkeys(self.nodes, 0)
        self.states = dict.fromkeys(self.nodes, VdevState.UP)
        self.edits: list[RowsChange] = []
        self.hold_commands = False
        self.leads: dict[int, int] = {}  # planned moves: row -> who is to lead it
        self.prepared: Table | None = None
        self.acks: set[int] = set()
        self.floor_given = self.activated_ns = 0
        self.table = self._first()
        for node in self.nodes.values():
            self._start(node)
        self.at(0, self._control)

    def lead(self, row: int, vdev: int) -> None:
        """The Raft leader plans that this replica leads the row, if it can."""
        self.leads[row], self.dirty = vdev, True

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
