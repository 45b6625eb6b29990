"""Get one chunk: the gateway's side; target/get.py is the other half.

    gateway                                members of the row, draining included
      | -- CHUNK_QUERY (group or fan-out) -> |  1. who has it?  (or 2. at once, with a hint)
      | <------------- CHUNK_ANSWER x n ---- |
      | -- CHUNK_SEND ---------------------> |  2. the best one is asked to send
      | <--------------- PAYLOAD x n ------- |  3. a second one when it is later than promised,
      | -- PAYLOAD_GAPS -------------------> |     until one of them makes progress
      |    VerifyPayload -> verified()       |  4. unless the hash was made while they came and is
      |                                      |     right, the shell hashes off the loop
      | -- PAYLOAD_DONE -------------------> |

No sockets, no clock: gateway/chunks.py drives it.

After a wrong hash the next source sends with a MAC per datagram (CHUNK_SEND.authenticated).

Invariants: ends in one ChunkRead (bytes that match the CHID) or one ChunkFailed. DATA_LOST only
when in two rounds every listed VDEV, draining included, was up and proved its miss.
Limits: two sources at a time; ends at `deadline_ns`.
"""

from __future__ import annotations

from replicast.flexhash.table import Table, VdevState
from replicast.gateway.context import OPERATION_BASE_BYTES, Backoff, ChunkContext, NeedTable
from replicast.gateway.copies import reason_of
from replicast.gateway.landing import Landing
from replicast.gateway.query_round import QueryRound, listed
from replicast.gateway.read_events import ChunkFailed, ChunkRead, Outcome, VerifyPayload
from replicast.gateway.source import Source, best_of, patience_ns
from replicast.gateway.stats import resend_ns
from replicast.hashing import made_on_arrival
from replicast.machine import Destination, Group, Incoming, NodeId, Outbox, Outgoing
from replicast.transfer import LONG_JOB_DATAGRAMS, Receiver
from replicast.transport.reassembly import Full
from replicast.transport.result import Section
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import (
    HIT,
    MISS,
    UNSURE,
    ChunkAnswer,
    ChunkQuery,
    ChunkSend,
    ChunkVerify,
    PayloadDone,
    Refused,
    VdevAnswer,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

RESEND_MAX_NS = 400 * MS
PATIENCE_NS = 1 * SECOND
HIT_WINDOW_NS = 5 * MS
SOURCES_MAX = 2
MISS_ROUNDS = 2


class GetChunk(Outbox):
    """One chunk read."""

    def __init__(
        self,
        context: ChunkContext,
        table: Table,
        *,
        chid: bytes,
        hash_algorithm: int,
        size_bytes: int,
        operation_base: bytes,
        deadline_ns: int,
        now_ns: int,
        hints: tuple[int, ...] = (),
        section: Section | None = None,
    ) -> None:
        super().__init__()
        self._context, self._table = context, table
        self._chid, self._hash_algorithm, self._size_bytes = chid, hash_algorithm, size_bytes
        self._base, self._number, self._asks = operation_base, 0, 0
        self._started_ns, self._end_ns = now_ns, deadline_ns
        self._backoff, self._landing = Backoff(context.rng), Landing(section)
        self._round: QueryRound | None = None  # None: a pause, or only hints so far
        self._row = table.row_of_chunk(chid)
        self._hits: dict[int, VdevAnswer | None] = {}  # not tried; None: only a hint
        self._said: dict[int, str] = {}
        self._bad: dict[int, bool] = {}  # sent wrong bytes; True: although with MACs
        self._sources: dict[bytes, Source] = {}
        self._miss_rounds, self._wanted_generation = 0, 0
        self._first_hit_ns: int | None = None
        self._next_ns = now_ns  # resend, or the end of a pause
        self._ended = False
        self._start(hints, now_ns)

    def _start(self, hints: tuple[int, ...], now_ns: int) -> None:
        vdevs = self._table.vdevs
        for v in self._context.stats.sound(hints, now_ns) if hints else ():
            entry = vdevs.get(v)
            if entry is not None and entry.state == VdevState.UP:
                self._hits[v] = None
        if not self._hits or not self._ask_best(now_ns):
            self._query(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """An answer to the current query, or a refusal of a source."""
        m, node = incoming.message, incoming.sender
        if self._ended:
            return
        source, asked = self._sources.get(incoming.operation_id), self._round
        if source is not None and isinstance(m, Refused) and node == source.node:
            if not source.complete:  # else it speaks of a transfer that has ended well
                self._on_source_refused(incoming.operation_id, source, m, now_ns)
        elif asked is None or incoming.operation_id != asked.query_id or node not in asked.asked:
            return
        elif isinstance(m, ChunkAnswer):
            self._on_chunk_answer(asked, node, m, now_ns)
        elif isinstance(m, Refused):
            self._on_query_refused(asked, node, m, now_ns)

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table: if one was missing, ask its row anew."""
        if table.generation <= self._table.generation or self._ended:
            return
        self._table = table
        if self._wanted_generation and not self._sources:
            self._query(now_ns)
        self._wanted_generation = 0

    def transfer_completed(self, transfer_id: bytes, now_ns: int) -> bool:
        """All bytes of a transfer are there. False when it is none of ours."""
        source = self._sources.get(transfer_id)
        if source is None or source.complete:
            return False
        source.complete = True
        source.receiver.complete(now_ns)
        if len(self._sources) > 1:
            self._leave_behind(transfer_id, self._size_bytes)
        self._context.stats.read(source.vdev_index, now_ns - source.asked_ns, now_ns)
        proved = self._context.buffers.digest(transfer_id) == self._chid
        source.buffer = self._context.buffers.take(transfer_id)
        self._context.credit.release(transfer_id)
        self._send(PayloadDone(transfer_id=transfer_id), source.node, transfer_id)
        if proved:
            self.verified(transfer_id, True, now_ns)
        else:
            self._events.append(
                VerifyPayload(transfer_id, source.buffer, self._hash_algorithm, self._chid)
            )
        return True

    def credit_granted(self, transfer_id: bytes, credit_bytes: int, now_ns: int) -> None:
        """The pool has room for a source that waited."""
        source = self._sources.get(transfer_id)
        if source is not None and not source.complete:
            source.asked_ns = now_ns  # that it had to wait was our doing
            wait_ns = patience_ns(self._context.settings, None) + 2 * source.receiver.round_trip_ns
            source.late_ns = max(source.late_ns, now_ns + wait_ns)
            report = source.receiver.grant(credit_bytes, now_ns)
            self._send(report, source.node, transfer_id)

    def verified(self, transfer_id: bytes, ok: bool, now_ns: int) -> None:
        """The shell's answer to VerifyPayload."""
        source = self._sources.pop(transfer_id, None)
        if source is None or self._ended:
            return
        if ok:
            self._end_read(source, now_ns)
            return
        self._context.counters.count("hash_mismatches", "read")
        # With plain datagrams anybody on the way may have changed them: from now with MACs.
        self._bad[source.vdev_index] = source.request.authenticated
        self._said[source.vdev_index] = "wrong bytes"
        # Its own check of the disk decides whether the copy is bad; a bad one is set aside.
        verify = ChunkVerify(
            chid=self._chid, hash_algorithm=self._hash_algorithm, vdev_index=source.vdev_index
        )
        self._send(verify, source.node, self._new_id())
        self._go_on(now_ns)

    def expire(self, now_ns: int) -> None:
        """Resend, choose, ask a second source, start a new round, give up."""
        if self._ended:
            return
        if now_ns >= self._end_ns:
            self._end_failed(Outcome.UNAVAILABLE)
            return
        for transfer_id, source in list(self._sources.items()):
            if not source.complete and transfer_id in self._sources:
                self._check(transfer_id, source, now_ns)
        if not self._on_time():
            if now_ns >= self._next_ns:
                self._resend_or_query(now_ns)
            self._choose(now_ns)

    def cancel(self) -> None:
        """Nobody waits for it any more: close its transfers."""
        self._end()

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """When to call expire(); None at the end."""
        if self._ended:
            return None
        due_ns, on_time = self._end_ns, False
        for source in self._sources.values():
            on_time = on_time or not source.late
            if not source.complete:
                due_ns = min(due_ns, source.receiver.next_ns, source.late_ns)
        if not on_time:
            due_ns = min(due_ns, self._next_ns)
            room = len(self._sources) < SOURCES_MAX
            if self._first_hit_ns is not None and self._hits and room:
                due_ns = min(due_ns, self._first_hit_ns + HIT_WINDOW_NS)
        return due_ns

    # -- 1. CHUNK_QUERY ---------------------------------------------------------------

    def _query(self, now_ns: int) -> None:
        """A new round: all answers are asked for anew."""
        self._round = QueryRound(self._new_id(), self._table, self._row, now_ns)
        self._first_hit_ns = None
        asked = [v for vdevs in self._round.asked.values() for v in vdevs]
        self._interval_ns = resend_ns(self._context.stats.bid_wait_ns(asked, now_ns))
        self._next_ns = now_ns + self._interval_ns
        multicast = self._context.settings.multicast
        number = self._row % self._context.settings.multicast_groups
        group: tuple[Destination, ...] = (Group("negotiating", number),)
        self._send_query(self._round, group if multicast else tuple(self._round.asked), now_ns)

    def _send_query(self, asked: QueryRound, to: tuple[Destination, ...], now_ns: int) -> None:
        self._asked_ns = now_ns
        for destination in to:
            self._send(ChunkQuery(row=self._row, chid=self._chid), destination, asked.query_id)

    def _resend_or_query(self, now_ns: int) -> None:
        asked = self._round
        if asked is None or not (silent := asked.silent()):
            self._query(now_ns)
            return
        if now_ns >= asked.asked_ns + PATIENCE_NS:
            for v in (v for node in silent for v in asked.asked[node]):
                self._context.stats.silent(v, now_ns)
                self._said[v] = "no answer"
            self._query(now_ns)
            return
        self._interval_ns = min(RESEND_MAX_NS, self._interval_ns * 2)
        self._next_ns = now_ns + self._interval_ns
        self._send_query(asked, silent, now_ns)

    def _on_chunk_answer(
        self, asked: QueryRound, node: NodeId, m: ChunkAnswer, now_ns: int
    ) -> None:
        fresh = node not in asked.answers
        answers = asked.answers.setdefault(node, {})
        owned = self._table.vdevs_of(node)
        for answer in m.answers:
            v = answer.vdev_index
            if v in owned:
                answers[v] = self._take_answer(answer, now_ns)
        if fresh:
            self._context.stats.answered(answers, now_ns - self._asked_ns, now_ns)
            for v in answers:
                self._context.stats.heard(v, now_ns - asked.asked_ns, now_ns)
        self._choose(now_ns)

    def _take_answer(self, answer: VdevAnswer, now_ns: int) -> int:
        v = answer.vdev_index
        if answer.kind == HIT and answer.size_bytes != self._size_bytes:
            self._said[v] = f"has {answer.size_bytes} bytes"
            return UNSURE
        self._said.setdefault(v, "")
        if answer.kind == HIT and not self._bad.get(v):
            self._said[v] = "hit"
            if any(source.vdev_index == v for source in self._sources.values()):
                return HIT  # it is at it
            self._hits[v] = answer
            if self._first_hit_ns is None:
                self._first_hit_ns = now_ns
        elif answer.kind != HIT:
            self._said[v] = "miss" if answer.kind == MISS else "unsure"
        return answer.kind

    def _on_query_refused(self, asked: QueryRound, node: NodeId, m: Refused, now_ns: int) -> None:
        asked.answers.setdefault(node, {})
        reason = reason_of(m.reason)
        for v in asked.asked[node]:
            self._said[v] = reason.name.lower()
        if reason in (Reason.STALE_GENERATION, Reason.NOT_MEMBER) and m.current_generation > max(
            self._table.generation, self._wanted_generation
        ):
            self._wanted_generation = m.current_generation
            self._context.counters.count("refusals", Reason.STALE_GENERATION.name.lower())
            self._events.append(NeedTable(m.current_generation))
        self._choose(now_ns)

    # -- 2. CHUNK_SEND ------------------------------------------------------------------

    def _choose(self, now_ns: int) -> None:
        """Ask the best holder when all have answered, or the first hit has waited long enough."""
        if self._ended or self._on_time():
            return
        waited = self._first_hit_ns is not None and now_ns >= self._first_hit_ns + HIT_WINDOW_NS
        asked = self._round
        all_in = asked is not None and asked.all_in(self._table, self._context.stats, now_ns)
        if self._hits and (waited or all_in):
            self._ask_best(now_ns)
        elif not self._hits and asked is not None and not asked.silent():
            self._conclude_round(asked, now_ns)

    def _on_time(self) -> bool:
        """Is there a source that need not be helped?"""
        for source in self._sources.values():  # noqa: SIM110  # asked often: no generator
            if not source.late:
                return True
        return False

    def _conclude_round(self, asked: QueryRound, now_ns: int) -> None:
        """All have spoken and nobody else has it: lost if all proved it, else again later."""
        lost = asked.lost(self._table) and not self._sources
        self._miss_rounds = self._miss_rounds + 1 if lost else 0
        if self._miss_rounds >= MISS_ROUNDS:
            self._end_failed(Outcome.DATA_LOST)
        else:
            self._pause(now_ns)

    def _pause(self, now_ns: int) -> None:
        """Answers of a round are used once; the next one starts after a wait."""
        self._round = None
        self._next_ns = now_ns + self._backoff.take_ns()

    def _ask_best(self, now_ns: int) -> bool:
        """Open a transfer from the best holder that is not tried. False: there is none."""
        if len(self._sources) >= SOURCES_MAX or not self._hits:
            return False
        best = best_of(self._chid, self._hits)
        transfer_id = self._new_id()
        datagram_bytes = self._context.datagram_bytes((self._node(best),))
        try:
            self._context.buffers.open(
                transfer_id,
                self._size_bytes,
                datagram_bytes,
                bool(self._bad),
                made_on_arrival(self._hash_algorithm),
                self._landing.section_for(transfer_id),
            )
        except Full:
            self._next_ns = now_ns + self._backoff.take_ns()
            self._first_hit_ns = self._next_ns
            return True
        self._ask(best, self._hits.pop(best), transfer_id, datagram_bytes, now_ns)
        return True

    def _ask(
        self,
        vdev_index: int,
        answer: VdevAnswer | None,
        transfer_id: bytes,
        datagram_bytes: int,
        now_ns: int,
    ) -> None:
        self._asks += 1
        credit_bytes = self._context.credit.request(transfer_id, self._size_bytes)
        request = ChunkSend(
            chid=self._chid,
            vdev_index=vdev_index,
            transfer_id=transfer_id,
            datagram_bytes=datagram_bytes,
            credit_bytes=credit_bytes,
            authenticated=bool(self._bad),
        )
        node = self._node(vdev_index)
        context = self._context
        receiver = Receiver(
            context.buffers,
            transfer_id,
            node,
            credit_bytes,
            now_ns,
            pool=context.credit,
            round_trip_ns=context.stats.round_trip_ns(vdev_index, now_ns),
            long=self._size_bytes >= LONG_JOB_DATAGRAMS * datagram_bytes,
        )
        late_ns = now_ns + patience_ns(context.settings, answer) + 2 * receiver.round_trip_ns
        self._sources[transfer_id] = Source(vdev_index, node, request, receiver, now_ns, late_ns)
        self._send(request, node, transfer_id)

    def _check(self, transfer_id: bytes, source: Source, now_ns: int) -> None:
        """Gap report when due; company for a sender that is later than its promise."""
        receiver = source.receiver
        before_bytes = receiver.received_bytes
        report = receiver.check(now_ns)
        self._context.credit.left(transfer_id, self._size_bytes - receiver.received_bytes)
        if report is not None:
            if receiver.received_bytes == 0:
                self._send(source.request, source.node, transfer_id)  # perhaps it was lost
            self._send(report, source.node, transfer_id)
        quiet_ns = source.quiet_ns(self._context.settings)
        if receiver.received_bytes > before_bytes:
            if source.late:
                source.late, source.late_ns = False, now_ns + quiet_ns
            self._leave_behind(transfer_id, receiver.received_bytes)
        if now_ns < source.late_ns:
            return
        if self._context.credit.waiting(transfer_id):
            source.late_ns = now_ns + quiet_ns  # it may not send yet: the delay is ours
            return
        if now_ns < receiver.progress_ns + quiet_ns:
            source.late_ns = receiver.progress_ns + quiet_ns
            return
        self._said[source.vdev_index] = "late"
        if source.late:
            self._drop_late(transfer_id, source, now_ns)
            return
        source.late, source.late_ns = True, now_ns + PATIENCE_NS
        self._context.stats.read(source.vdev_index, now_ns - source.asked_ns, now_ns)
        if not self._ask_best(now_ns) and self._round is None:
            self._query(now_ns)

    def _leave_behind(self, transfer_id: bytes, received_bytes: int) -> None:
        """One goes on alone: two that send the same would fill a slow line with it. Whoever has
        sent less is a holder that can be asked again."""
        for other_id, other in list(self._sources.items()):
            behind = not other.complete and other.receiver.received_bytes < received_bytes
            if behind and other_id != transfer_id:
                self._close(other_id)
                self._hits.setdefault(other.vdev_index, None)

    def _drop_late(self, transfer_id: bytes, source: Source, now_ns: int) -> None:
        """Quiet for a whole PATIENCE_NS: it makes room, and gets another go if nobody else has it."""
        self._context.stats.silent(source.vdev_index, now_ns)
        self._close(transfer_id)
        self._go_on(now_ns)
        if not self._sources:
            self._hits.setdefault(source.vdev_index, None)
            self._first_hit_ns = now_ns + self._backoff.take_ns()

    def _on_source_refused(
        self, transfer_id: bytes, source: Source, m: Refused, now_ns: int
    ) -> None:
        reason = reason_of(m.reason)
        self._context.counters.count("refusals", reason.name.lower())
        self._said[source.vdev_index] = reason.name.lower()
        self._close(transfer_id)
        self._go_on(now_ns)

    def _go_on(self, now_ns: int) -> None:
        """A source dropped out: another holder, or ask the row again."""
        if self._on_time() or self._ask_best(now_ns):
            return
        if self._round is None or not self._round.silent():
            self._pause(now_ns)

    def _close(self, transfer_id: bytes) -> None:
        source = self._sources.pop(transfer_id)
        if not source.complete:
            self._context.buffers.close(transfer_id)
            self._context.credit.release(transfer_id)
            self._send(PayloadDone(transfer_id=transfer_id), source.node, transfer_id)

    # -- the end ------------------------------------------------------------------------------

    def _end_read(self, source: Source, now_ns: int) -> None:
        self._end()
        self._landing.settle(source.request.transfer_id, source.buffer)
        counters = self._context.counters
        counters.count("chunks_read", "verified" if self._asks == 1 else "second_source")
        counters.observe_ns("get_seconds", elapsed_ns=now_ns - self._started_ns)
        sender, said = source.vdev_index, self._said.items()
        holders = (sender, *(v for v, word in said if word == "hit" and v != sender))
        self._events.append(ChunkRead(self._chid, source.buffer, sender, holders, tuple(self._bad)))

    def _end_failed(self, outcome: Outcome) -> None:
        self._end()
        self._context.counters.count("chunks_read", outcome.value)
        answers = tuple(
            (v, self._said.get(v) or "no answer") for v in listed(self._table, self._row)
        )
        self._events.append(ChunkFailed(self._chid, outcome, answers))

    def _end(self) -> None:
        self._ended = True
        for transfer_id in list(self._sources):
            self._close(transfer_id)

    # -- small things -----------------------------------------------------------------------------

    def _node(self, vdev_index: int) -> NodeId:
        return self._table.vdevs[vdev_index].target

    def _new_id(self) -> bytes:
        self._number += 1
        return self._base + self._number.to_bytes(16 - OPERATION_BASE_BYTES, "little")

    def _send(self, message: Message, to: Destination, operation_id: bytes) -> None:
        self._outgoing.append(Outgoing(message, to, operation_id, self._table.generation))
