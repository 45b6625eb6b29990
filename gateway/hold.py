"""Hold a chunk where it lies already: what a copy of an object needs of each of its chunks.

    gateway                                   negotiating group
      | -- PUT_PROPOSE (group or fan-out) ---> |  who has it?
      | <----------------------- BID x n ----- |  already stored, or an offer
      | -- PUT_ACCEPT, holders only ---------> |  offers are free again
      | <-------------- CHUNK_STORED x n ----- |  HELD: the hold is durable

No payload moves. When it does not lie on `copies` hosts, or a holder changes its mind or stays
silent, this fails, and the caller reads the chunk and puts it: gateway/put.py meets the same
holders and sends only what is missing.

Invariants: one PutDone, with `copies` hosts, or one PutFailed (NOT_FOUND_HERE).
Limits: ends after HOLD_NS.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from replicast.flexhash.table import Table
from replicast.gateway.ballot import Ballot
from replicast.gateway.context import ChunkContext
from replicast.gateway.copies import Copies, PutFailed, count_done, reason_of
from replicast.gateway.job import PutJob
from replicast.machine import Destination, Group, Incoming, NodeId, Outbox, Outgoing
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import NO_MULTICAST, Bid, ChunkStored, PutAccept, Refused
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

RESEND_FIRST_NS = 25 * MS
RESEND_MAX_NS = 400 * MS
HOLD_NS = 2 * SECOND


class Phase(Enum):
    """Where the hold stands."""

    PROPOSING = 1
    HOLDING = 2
    ENDED = 3


class HoldChunk(Outbox):
    """One chunk, held."""

    def __init__(self, context: ChunkContext, table: Table, *, job: PutJob, now_ns: int) -> None:
        super().__init__()
        self._context, self._table, self._job = context, table, job
        self._row = table.row_of_chunk(job.chid)
        self._copies = Copies(table)
        self._ballot = Ballot(context, table, self._row, ())
        self._attempt_id = job.id_of(1)
        self._accept: PutAccept | None = None
        self._phase = Phase.PROPOSING
        self._started_ns, self._end_ns = now_ns, min(job.deadline_ns, now_ns + HOLD_NS)
        self._window_ns = now_ns + self._ballot.held_window_ns
        self._interval_ns = RESEND_FIRST_NS
        self._resend_ns = now_ns + self._interval_ns
        self._send_proposal(self._group_or(tuple(self._ballot.nodes)))
        self._decide(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply to this attempt."""
        m, node = incoming.message, incoming.sender
        if incoming.operation_id != self._attempt_id or self._phase is Phase.ENDED:
            return
        if isinstance(m, Bid) and self._phase is Phase.PROPOSING:
            self._ballot.add(node, m.bids)
            self._decide(now_ns)
        elif isinstance(m, Refused):
            self._on_refused(node, m, now_ns)
        elif isinstance(m, ChunkStored) and m.chid == self._job.chid:
            self._on_chunk_stored(node, m, now_ns)

    def table_changed(self, table: Table, now_ns: int) -> None:
        """What began under one table ends under it: members that it does not suit refuse."""

    def payload_sent(self, transfer_id: bytes, token: int, now_ns: int) -> None:
        """Nothing is sent."""

    def expire(self, now_ns: int) -> None:
        """Ask again, close the window, give up."""
        if self._phase is Phase.ENDED:
            return
        if now_ns >= self._end_ns:
            self._fail("not held in time")
            return
        if now_ns >= self._resend_ns:
            self._interval_ns = min(RESEND_MAX_NS, self._interval_ns * 2)
            self._resend_ns = now_ns + self._interval_ns
            if self._phase is Phase.PROPOSING:
                self._send_proposal(self._ballot.silent_nodes())
            else:
                self._send_accept(self._nodes_of(self._awaited))
        if self._phase is Phase.PROPOSING:
            self._decide(now_ns)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._phase = Phase.ENDED

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """When to call expire(); None at the end."""
        if self._phase is Phase.ENDED:
            return None
        times = [self._end_ns, self._resend_ns]
        if self._phase is Phase.PROPOSING:
            times.append(self._window_ns)
        return min(times)

    # -- steps ----------------------------------------------------------------------

    def _decide(self, now_ns: int) -> None:
        """Accept when enough hosts have it; a late one that has it costs less than its payload."""
        if len(self._ballot.held_hosts()) >= self._table.policy.copies:
            plan = self._ballot.plan(
                self._job.chid, self._copies, self._table.policy.copies, now_ns
            )
            self._phase = Phase.HOLDING
            self._accept = self._job.accept(
                self._row,
                plan,
                self._job.id_of(2),
                self._context.settings.datagram_bytes,
                rendezvous=NO_MULTICAST,
                authenticated=False,
            )
            self._interval_ns = RESEND_FIRST_NS
            self._resend_ns = now_ns + self._interval_ns
            named = self._nodes_of((*plan.holders, *self._ballot.bids))
            self._send_accept(self._group_or(tuple(named)))
        elif now_ns >= self._window_ns or not self._ballot.silent_nodes():
            self._fail("not stored on enough hosts")

    def _on_refused(self, node: NodeId, m: Refused, now_ns: int) -> None:
        reason = reason_of(m.reason)
        self._context.counters.count("refusals", reason.name.lower())
        if self._phase is Phase.HOLDING:
            if node in self._nodes_of(self._awaited):
                self._fail(f"{reason.name}: {m.detail}")
            return
        owned = self._ballot.nodes.get(node, ())
        for v in tuple(v for v in m.vdevs if v in owned) or owned:
            self._ballot.refuse(v, reason)
        self._ballot.heard(node)
        self._decide(now_ns)

    def _on_chunk_stored(self, node: NodeId, m: ChunkStored, now_ns: int) -> None:
        for stored in m.vdevs:
            if stored.vdev_index in self._awaited and node == self._node(stored.vdev_index):
                self._copies.add(stored.vdev_index, stored.kind)
        if self._phase is Phase.HOLDING and not self._awaited:
            self._phase = Phase.ENDED
            done = self._copies.done(self._job.chid, self._job.size_bytes, sent_bytes=0)
            count_done(self._context.counters, done, "held", now_ns - self._started_ns)
            self._events.append(done)

    def _fail(self, detail: str) -> None:
        self._phase = Phase.ENDED
        self._outgoing.clear()
        self._events.append(PutFailed(self._job.chid, Reason.NOT_FOUND_HERE, detail, ()))

    # -- small things -----------------------------------------------------------------

    @property
    def _awaited(self) -> tuple[int, ...]:
        """Holders that have not answered."""
        if self._accept is None:
            return ()
        return tuple(v for v in self._accept.holders if v not in self._copies.vdevs)

    def _node(self, vdev_index: int) -> NodeId:
        return self._table.target_of(vdev_index).node_id

    def _nodes_of(self, vdevs: Iterable[int]) -> dict[NodeId, None]:
        return dict.fromkeys(self._node(v) for v in vdevs)

    def _group_or(self, nodes: tuple[NodeId, ...]) -> tuple[Destination, ...]:
        settings = self._context.settings
        if settings.multicast:
            return (Group("negotiating", self._row % settings.multicast_groups),)
        return nodes

    def _send_proposal(self, to: Iterable[Destination]) -> None:
        self._send(self._job.proposal(self._row, self._table.policy.copies, ()), to)

    def _send_accept(self, to: Iterable[Destination]) -> None:
        assert self._accept is not None
        self._send(self._accept, to)

    def _send(self, message: Message, to: Iterable[Destination]) -> None:
        generation = self._table.generation
        self._outgoing += [Outgoing(message, each, self._attempt_id, generation) for each in to]
