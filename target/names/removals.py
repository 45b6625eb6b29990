"""VDEVs that are down leave the replica sets of all rows led here, in one command each (DESIGN 9).

Writes of a row wait for its replica that is down, so all rows of that VDEV are asked for at
once, touched before or not: one by one they would make a queue of commands and of generations
that outlasts the lease of the dead. Silent VDEVs that are up are judged row by row (members.py).

NameService drives it: plan() with each table, sweep() in each wake-up. A row is asked for
only while the VDEV that leads it may act, and again every command_retry_ns until a table
shows the outcome. The state machine keeps every row at min_copies.
"""

from __future__ import annotations

from collections.abc import Iterable

from replicast.target.names.context import RowContext
from replicast.target.names.fence import Fence
from replicast.target.names.members import POLL_NS
from replicast.target.names.outbox import Outbox

LeaderAndReplica = tuple[int, int]


class Removals:
    """What the adopted table still lists and should not. `due_ns`: when to sweep again; mostly never."""

    def __init__(self, context: RowContext, outbox: Outbox) -> None:
        self._context, self._outbox = context, outbox
        self._rows: dict[LeaderAndReplica, list[int]] = {}  # not asked for yet
        self._asked: dict[LeaderAndReplica, list[int]] = {}
        self._again_ns = 0  # when what was asked for is asked for again
        self.due_ns: int | None = None

    def plan(self, rows: Iterable[int], now_ns: int) -> None:
        """A new table; `rows` are those that it lets this target lead."""
        self.clear()
        table = self._context.table
        assert table is not None
        down = dict.fromkeys(index for index in table.vdevs if not self._context.is_up(index))
        for row in rows if down else ():
            replicas, leader = table.name_replicas(row), table.row_leader(row)
            if leader is None or len(replicas) <= table.policy.min_copies:
                continue
            for vdev in replicas:
                if vdev in down:
                    self._rows.setdefault((leader, vdev), []).append(row)
        self.due_ns = now_ns if self._rows else None

    def clear(self) -> None:
        """Nothing is led here any more."""
        self._rows, self._asked, self.due_ns = {}, {}, None

    def sweep(self, now_ns: int) -> None:
        """Ask for what may be asked for now."""
        if self.due_ns is None or now_ns < self.due_ns:
            return
        if self._asked and now_ns >= self._again_ns:
            for key, rows in self._asked.items():
                self._rows.setdefault(key, []).extend(rows)
            self._asked = {}
        for (leader, vdev), rows in list(self._rows.items()):
            acting = [row for row in rows if Fence(self._context, row, leader).open(now_ns)]
            if acting:
                self._ask(leader, vdev, acting, now_ns)
        self.due_ns = now_ns + POLL_NS if self._rows else self._again_ns

    def _ask(self, leader: int, vdev: int, rows: list[int], now_ns: int) -> None:
        context = self._context
        assert context.table is not None
        lives = context.open_count(vdev), context.open_count(leader)
        key = (False, vdev, lives[0], leader, lives[1], context.table.generation)
        for row in rows:
            self._outbox.change(key, row)
        context.note_removal(vdev, now_ns)
        if not self._asked:
            self._again_ns = now_ns + context.limits.command_retry_ns
        asked = dict.fromkeys(rows)
        self._asked.setdefault((leader, vdev), []).extend(rows)
        left = [row for row in self._rows.pop((leader, vdev)) if row not in asked]
        if left:
            self._rows[leader, vdev] = left
