"""One named operation: the gateway's side (DESIGN 9); target/names is the other half.

    gateway                               row leader
      | -- NAME_PUT / DELETE / GET ... ----> |  same operation_id in every retry
      | <---- NAME_RESULT / REFUSED -------- |

Driven by gateway/initiator.py. Refusals have one reaction each
(replicast.wire.reasons): refetch and resend, wait and resend, or a final
answer. Silence is answered by the same request again, to whoever leads by
then; the operation id makes that take effect once.

Invariants: exactly one NameDone or NameFailed; nothing is sent after it; a
refetch is asked at most once for each generation that replies named.
Limits: ends by `deadline_ns` at the latest; a body is sent again ever more rarely, down to
PATIENT_BYTES a second: were it as often as the rest, a slow link would carry nothing but
repetitions of what it has yet to deliver.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from replicast.flexhash.table import Table
from replicast.gateway.answer_times import RESEND_FIRST_NS
from replicast.gateway.context import Backoff, NeedTable
from replicast.machine import Event, Incoming, Outbox, Outgoing
from replicast.metrics import Counters
from replicast.units import KIB, MS
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import NameDelete, NamePut, NameResult, NameVersionList
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

RESEND_MAX_NS = 1000 * MS
LOST_AT_ONCE = 2  # requests without an answer that may just have been lost
WAIT_FIRST_NS = 20 * MS
WAIT_MAX_NS = 500 * MS
PATIENT_BYTES = 16 * KIB

REFETCH = frozenset({Reason.STALE_GENERATION, Reason.NOT_LEADER, Reason.NOT_MEMBER})
WAIT = frozenset(
    {
        Reason.NO_LEASE,
        Reason.BUSY,
        Reason.NOT_READY,
        Reason.ROW_UNAVAILABLE,
        Reason.FAULTED,
    }
)


@dataclass(frozen=True, slots=True)
class NameDone(Event):
    """The leader's answer."""

    reply: Message


@dataclass(frozen=True, slots=True)
class NameFailed(Event):
    """A final refusal, or the deadline passed; `detail` says what was last heard."""

    reason: Reason
    detail: str
    uncertain: bool = False  # a write of which some earlier attempt may have taken effect


class NamedOperation(Outbox):
    """Core of one operation on one name; `request` is any message of name_messages with a key."""

    def __init__(
        self,
        *,
        request: Message,
        row: int,
        operation_id: bytes,
        table: Table,
        deadline_ns: int,
        rng: random.Random,
        counters: Counters,
        now_ns: int,
        resend_ns: int = RESEND_FIRST_NS,
    ) -> None:
        """`resend_ns`: when to send it again for the first time (AnswerTimes)."""
        super().__init__()
        self._request, self._row, self._operation_id = request, row, operation_id
        self._table, self._end_ns, self._counters = table, deadline_ns, counters
        body_bytes = len(request.body) if isinstance(request, NamePut) else 0
        patience = 1 + body_bytes // PATIENT_BYTES
        self._resend = Backoff(rng, resend_ns, RESEND_MAX_NS * patience)
        self._wait = Backoff(rng, WAIT_FIRST_NS, WAIT_MAX_NS * patience)
        self._asked_generation = 0
        self._last_heard = "no answer"
        self._last_reason = Reason.ROW_UNAVAILABLE
        self._next_ns: int | None = None
        self.attempts = 0
        self._silent = False  # no answer since the last request
        self._uncertain = False  # some attempt was never answered
        self._send(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply to this operation id; replies of anybody else's attempt never get here."""
        if self._next_ns is None or incoming.operation_id != self._operation_id:
            return
        message = incoming.message
        if isinstance(message, (NameResult, NameVersionList)):
            self._finish(NameDone(message))
        elif isinstance(message, Refused):
            self._on_refused(message, incoming, now_ns)

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table: ask its leader at once."""
        if table.generation <= self._table.generation:
            return
        moved = self._leader_of(self._table) != self._leader_of(table)
        self._table = table
        if self._next_ns is not None and (moved or self._asked_generation):
            self._asked_generation = 0
            self._send(now_ns)

    def expire(self, now_ns: int) -> None:
        if self._next_ns is None or now_ns < self._next_ns:
            return
        self._uncertain = self._uncertain or self._silent
        if now_ns >= self._end_ns:
            self._fail(self._last_reason, f"deadline passed: {self._last_heard}")
            return
        self._send(now_ns)

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        return self._next_ns

    # -- steps ----------------------------------------------------------------------

    def _leader_of(self, table: Table) -> int | None:
        leader = table.row_leader(self._row)
        return None if leader is None else table.target_of(leader).node_id

    def _send(self, now_ns: int) -> None:
        target = self._leader_of(self._table)
        wait_ns = self._resend.take_ns()
        self._uncertain = self._uncertain or self._silent
        if target is None:
            self._last_heard = f"row {self._row} has no leader in the table"
            self._need_table(self._table.generation + 1)
        else:
            self.attempts += 1
            self._outgoing.append(
                Outgoing(self._request, target, self._operation_id, self._table.generation)
            )
            if self._silent and self.attempts > LOST_AT_ONCE:
                # The leader may have changed without our hearing of it.
                self._need_table(self._table.generation + 1)
            self._silent = True
        self._next_ns = min(self._end_ns, now_ns + wait_ns)

    def _on_refused(self, refused: Refused, incoming: Incoming, now_ns: int) -> None:
        try:
            reason = Reason(refused.reason)
        except ValueError:
            return
        self._counters.count("refusals", reason.name.lower())
        self._last_heard = f"{reason.name} {refused.detail}".strip()
        self._last_reason = reason
        self._silent = False
        if reason in REFETCH:
            self._on_stale(refused, incoming, now_ns)
        elif reason in WAIT:
            wait_ns = max(self._wait.take_ns(), min(refused.retry_after_ns, WAIT_MAX_NS))
            self._next_ns = min(self._end_ns, now_ns + wait_ns)
        else:
            self._fail(reason, refused.detail)

    def _on_stale(self, refused: Refused, incoming: Incoming, now_ns: int) -> None:
        if refused.current_generation > self._table.generation:
            self._need_table(refused.current_generation)
            return  # table_changed() sends again
        # It knows no more than we do (it lags, or leadership is moving): wait for news.
        self._need_table(self._table.generation + 1)
        self._next_ns = min(self._end_ns, now_ns + self._wait.take_ns())

    def _need_table(self, generation: int) -> None:
        if generation > self._asked_generation:
            self._asked_generation = generation
            self._events.append(NeedTable(generation))

    def _fail(self, reason: Reason, detail: str) -> None:
        uncertain = self._uncertain and isinstance(self._request, (NamePut, NameDelete))
        self._finish(NameFailed(reason, detail, uncertain))

    def _finish(self, event: Event) -> None:
        assert self._next_ns is not None
        self._next_ns = None
        self._outgoing.clear()
        self._events.append(event)
