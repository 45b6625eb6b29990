"""One page of a bucket's names: asks every leader of the bucket's rows, merges in byte order.

    gateway                          leaders of the bucket's rows
      | -- NAME_LIST (rows it leads) --> | one request a target, for all its rows
      | <---- NAME_ENTRIES ------------- |

Contract C3: the page is whole or the operation fails. Rows that a target did
not answer for (moved, taking over) are asked again at their leader by the
newest table; a row that stays silent until the deadline fails the page.

The page ends at the smallest last name of any answer that had more: beyond it
that target may hold names which were not sent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from replicast.flexhash.table import Table
from replicast.gateway.answer_times import RESEND_FIRST_NS
from replicast.gateway.context import Backoff, NeedTable
from replicast.gateway.names import (
    REFETCH,
    RESEND_MAX_NS,
    WAIT,
    NameFailed,
)
from replicast.machine import Event, Incoming, NodeId, Outbox, Outgoing
from replicast.metrics import Counters
from replicast.units import MS
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import ListEntry, NameEntries, NameList
from replicast.wire.reasons import Reason

RETRY_NS = 20 * MS


@dataclass(frozen=True, slots=True)
class ListDone(Event):
    """The page, in byte order of the names; `more`: there are names beyond its last one."""

    entries: tuple[ListEntry, ...]
    more: bool


@dataclass(slots=True)
class _Part:
    entries: tuple[ListEntry, ...]
    more: bool


@dataclass(slots=True)
class _Asked:
    rows: tuple[int, ...]
    operation_id: bytes = field(default=b"")


class ListOperation(Outbox):
    """Core of one page; `request.rows` must be all rows of the bucket. Its requests have
    operation ids of `operation_base` (12 bytes) and a number."""

    def __init__(
        self,
        *,
        request: NameList,
        operation_base: bytes,
        table: Table,
        deadline_ns: int,
        rng: random.Random,
        counters: Counters,
        now_ns: int,
    ) -> None:
        super().__init__()
        self._request, self._table, self._end_ns = request, table, deadline_ns
        self._base, self._number, self._counters = operation_base, 0, counters
        self._missing = set(request.rows)
        self._parts: list[_Part] = []
        self._asked: dict[NodeId, _Asked] = {}
        self._resend = Backoff(rng, RESEND_FIRST_NS, RESEND_MAX_NS)
        self._asked_generation = 0
        self._last_heard = "no answer"
        self._next_ns: int | None = now_ns
        self._ask(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        asked = self._asked.get(incoming.sender)
        if self._next_ns is None or asked is None or asked.operation_id != incoming.operation_id:
            return
        message = incoming.message
        if isinstance(message, NameEntries):
            self._on_entries(message, incoming.sender, asked, now_ns)
        elif isinstance(message, Refused):
            self._on_refused(message, incoming.sender, now_ns)

    def table_changed(self, table: Table, now_ns: int) -> None:
        if self._next_ns is None or table.generation <= self._table.generation:
            return
        self._table = table
        self._asked_generation = 0
        self._ask(now_ns)

    def expire(self, now_ns: int) -> None:
        if self._next_ns is None or now_ns < self._next_ns:
            return
        if now_ns >= self._end_ns:
            rows = len(self._missing)
            detail = f"{rows} rows of the bucket did not answer: {self._last_heard}"
            self._finish(NameFailed(Reason.ROW_UNAVAILABLE, detail))
            return
        self._need_table(self._table.generation + 1)
        self._ask(now_ns, again=True)

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        return self._next_ns

    # -- steps ----------------------------------------------------------------------

    def _ask(self, now_ns: int, *, again: bool = False) -> None:
        """`again`: those who have not answered, too."""
        by_target: dict[NodeId, list[int]] = {}
        for row in sorted(self._missing):
            leader = self._table.row_leader(row)
            if leader is not None:
                by_target.setdefault(self._table.target_of(leader).node_id, []).append(row)
        if again:
            self._asked = {node: a for node, a in self._asked.items() if node in by_target}
        for target, rows in sorted(by_target.items()):
            asked = self._asked.get(target)
            if again or asked is None or asked.rows != tuple(rows):
                self._send(target, tuple(rows))
        self._next_ns = min(self._end_ns, now_ns + self._resend.take_ns())

    def _send(self, target: NodeId, rows: tuple[int, ...]) -> None:
        # Requests for other rows have other ids, so that a late answer cannot be taken for this one.
        # One for the same rows can: where a page takes longer than our patience, the answer to the
        # first is on its way, and those to all others are behind it.
        asked = self._asked.get(target)
        if asked is None or asked.rows != rows:
            self._number += 1
            asked = _Asked(rows, self._base + self._number.to_bytes(4, "little"))
            self._asked[target] = asked
        request = replace(self._request, rows=rows)
        self._outgoing.append(Outgoing(request, target, asked.operation_id, self._table.generation))

    def _on_entries(self, reply: NameEntries, target: NodeId, asked: _Asked, now_ns: int) -> None:
        del self._asked[target]
        answered = self._missing.intersection(reply.rows)
        if not answered.issubset(asked.rows):
            return  # an answer for rows that were not asked: a bug over there, ask again later
        self._missing -= answered
        self._parts.append(_Part(reply.entries, reply.more))
        if not self._missing:
            self._finish(self._merge())
        elif not self._asked:
            self._next_ns = min(self._end_ns, now_ns + RETRY_NS)

    def _on_refused(self, refused: Refused, target: NodeId, now_ns: int) -> None:
        try:
            reason = Reason(refused.reason)
        except ValueError:
            return
        self._counters.count("refusals", reason.name.lower())
        self._last_heard = f"{reason.name} {refused.detail}".strip()
        if reason not in REFETCH and reason not in WAIT:
            self._finish(NameFailed(reason, refused.detail))
            return
        del self._asked[target]
        if reason in REFETCH:
            self._need_table(max(refused.current_generation, self._table.generation + 1))
        self._next_ns = min(self._end_ns, now_ns + max(RETRY_NS, refused.retry_after_ns))

    def _need_table(self, generation: int) -> None:
        if generation > self._asked_generation:
            self._asked_generation = generation
            self._events.append(NeedTable(generation))

    def _merge(self) -> ListDone:
        entries = sorted(
            (entry for part in self._parts for entry in part.entries),
            key=lambda entry: entry.name.encode(),
        )
        ends = [p.entries[-1].name.encode() for p in self._parts if p.more and p.entries]
        if ends:
            cut = min(ends)
            entries = [entry for entry in entries if entry.name.encode() <= cut]
        limit = self._request.limit
        return ListDone(tuple(entries[:limit]), bool(ends) or len(entries) > limit)

    def _finish(self, event: Event) -> None:
        self._next_ns = None
        self._outgoing.clear()
        self._asked.clear()
        self._events.append(event)
