"""Put one chunk by negotiation: the gateway's side; target/put.py is the other half.

    gateway                                   negotiating group
      | -- PUT_PROPOSE (group or fan-out) ---> |  1. offer chid and size
      | <----------------------- BID x n ----- |  2. ballot.py gathers, select.py chooses
      | -- PUT_ACCEPT (group or fan-out) ----> |  3. winners, holders; losers are free
      | <-------------- PUT_ACCEPTED x n ----- |     credit; joined the rendezvous group?
      | -- PAYLOAD (rendezvous or unicast) --> |  4. wave.py, replicast/transfer.py
      | <-------------- PAYLOAD_GAPS --------- |  5. only gaps are sent again, by unicast
      | <-------------- CHUNK_STORED x n ----- |  6. copies.py counts distinct hosts
      | -- PAYLOAD_DONE ---------------------> |  to whoever is not done when we are

No sockets, no clock: gateway/chunks.py drives it. An attempt ends early when
the table is stale (NeedTable, then a new attempt) or too few members can take
the chunk now (a wait, then a new attempt for the missing copies only).

Invariants: one PutDone or PutFailed; PutDone counts only CHUNK_STORED of VDEVs asked
in the current attempt, or counted in an earlier one and still members.
Limits: ends at `deadline_ns`; one attempt and at most members-many waves at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from replicast.buggify import buggify
from replicast.flexhash.table import Table
from replicast.gateway.ballot import Ballot, Plan
from replicast.gateway.context import Backoff, ChunkContext, NeedTable, rendezvous_number
from replicast.gateway.copies import (
    FATAL,
    LASTING,
    STALE,
    Copies,
    PutFailed,
    count_done,
    reason_of,
    worst_reason,
)
from replicast.gateway.job import PutJob
from replicast.gateway.stats import resend_ns
from replicast.gateway.wave import Wave, Waves
from replicast.machine import Destination, Group, Incoming, NodeId, Outbox, Outgoing
from replicast.units import MS
from replicast.wire.chunk_messages import (
    NO_MULTICAST,
    Bid,
    ChunkStored,
    PayloadDone,
    PayloadGaps,
    PutAccepted,
    Refused,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

RESEND_MAX_NS = 400 * MS
ACCEPT_AGAIN_NS_MAX = 100 * MS  # small beside the payload; a lost CHUNK_STORED costs as much
MISMATCHES_MAX = 3


class Phase(Enum):
    """Where the put stands."""

    PROPOSING = 1
    TRANSFER = 2
    PAUSE = 3  # a wait before the next attempt
    TABLE = 4  # a newer table is on its way
    ENDED = 5


class PutChunk(Outbox):
    """One chunk, negotiated."""

    def __init__(
        self,
        context: ChunkContext,
        table: Table,
        *,
        job: PutJob,
        now_ns: int,
        copies: Copies | None = None,
        numbered_from: int = 0,
        sent_bytes: int = 0,
        authenticated: bool = False,
    ) -> None:
        super().__init__()
        self._context, self._settings = context, context.settings
        self._table = self._newest = table  # of the attempt; of the next attempt
        self._job, self._number, self._started_ns = job, numbered_from, now_ns
        self._patience_ns = now_ns + self._settings.patience_ms * MS
        self._row = table.row_of_chunk(job.chid)
        self._copies = copies or Copies(table)
        self._backoff = Backoff(context.rng)
        self._given_up: dict[int, Reason] = {}  # not asked again in this put
        self._last_said: dict[int, Reason] = {}
        self._authenticated = authenticated  # after a hash mismatch
        self._mismatches = 0  # although authenticated
        self._sent_bytes = sent_bytes
        self._waves = Waves()
        self.was_busy = False  # it had to pause, as too few VDEVs could take it now
        self._propose(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply; of another attempt: dropped."""
        node, transfer = incoming.sender, self._phase is Phase.TRANSFER
        if incoming.operation_id != self._attempt_id or self._phase is Phase.ENDED:
            return
        match incoming.message:
            case Bid() as m:
                self._on_bid(node, m, now_ns)
            case Refused() as m:
                self._on_refused(node, m, now_ns)
            case PutAccepted() as m if transfer:
                self._waves.accepted(node, m)
            case ChunkStored() as m if transfer:
                self._on_chunk_stored(node, m, now_ns)
            case PayloadGaps() as m if transfer:
                self._waves.gaps(node, m, now_ns)
        if self._waves.payload:
            self._pump()

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table: an attempt that waits for it starts anew, others may finish."""
        if table.generation <= self._newest.generation:
            return
        self._newest = table
        if self._phase in (Phase.TABLE, Phase.PAUSE):
            self._propose(now_ns)

    def payload_sent(self, transfer_id: bytes, token: int, now_ns: int) -> None:
        """The shell executed a SendPayload."""
        self._waves.sent(transfer_id, token)

    def expire(self, now_ns: int) -> None:
        """Resend, close the bid window, replace stragglers, give up."""
        if self._phase is Phase.ENDED:
            return
        if now_ns >= self._job.deadline_ns:
            self._give_up(now_ns)
        elif self._phase is Phase.PROPOSING:
            self._expire_proposal(now_ns)
        elif self._phase is Phase.TRANSFER:
            self._expire_transfer(now_ns)
        elif self._phase is Phase.PAUSE and now_ns >= self._resend_ns:
            self._propose(now_ns)
        self._pump()

    def cancel(self) -> None:
        """Nobody waits for it any more; what the targets stored is garbage for the audit."""
        self._abandon()
        self._phase = Phase.ENDED

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """When to call expire(); None at the end."""
        phase = self._phase
        if phase is Phase.ENDED:
            return None
        if phase is Phase.TABLE:
            return self._job.deadline_ns
        due_ns = min(self._job.deadline_ns, self._resend_ns)
        if phase is Phase.TRANSFER:
            return self._waves.deadline_ns(due_ns)
        if phase is Phase.PROPOSING:
            for time_ns in (self._window_ns, self._patience_ns):
                if self._looked_ns < time_ns < due_ns:
                    due_ns = time_ns
        return due_ns

    # -- 1. PUT_PROPOSE ---------------------------------------------------------------

    def _propose(self, now_ns: int) -> None:
        # What has left us whole may still be stored: the next attempt finds it there.
        self._abandon(whole_too=False)
        self._number += 1
        self._attempt_id = self._new_id()
        self._phase = Phase.PROPOSING
        self._table = self._newest
        self._row = self._table.row_of_chunk(self._job.chid)
        self._copies.table_changed(self._table, self._row)
        excluded = (*self._copies.vdevs, *self._given_up)
        self._ballot = Ballot(self._context, self._table, self._row, excluded)
        self._proposed_ns = self._looked_ns = now_ns
        wait_ns = self._context.stats.bid_wait_ns(self._ballot.asked, now_ns)
        self._window_ns = now_ns + self._ballot.window_ns(wait_ns)
        self._first_interval_ns = self._interval_ns = resend_ns(wait_ns)
        self._resend_ns = now_ns + self._interval_ns
        self._send_put_propose(self._group_or(tuple(self._ballot.nodes)), now_ns)
        self._decide(now_ns)

    def _send_put_propose(self, to: Iterable[Destination], now_ns: int) -> None:
        self._asked_ns = now_ns
        excluded = (*self._copies.vdevs, *self._given_up)
        proposal = self._job.proposal(self._row, self._table.policy.copies, excluded)
        self._send(proposal, to)

    def _expire_proposal(self, now_ns: int) -> None:
        self._looked_ns = now_ns
        silent = self._ballot.silent_nodes()
        if now_ns >= self._patience_ns and now_ns >= self._window_ns:
            self._ballot.mark_silent(now_ns)
        if now_ns >= self._resend_ns:
            self._interval_ns = min(RESEND_MAX_NS, self._interval_ns * 2)
            self._resend_ns = now_ns + self._interval_ns
            # By unicast: perhaps the group is not heard there.
            self._send_put_propose(silent, now_ns)
        self._decide(now_ns)

    # -- 2. BID -----------------------------------------------------------------------

    def _on_bid(self, node: NodeId, m: Bid, now_ns: int) -> None:
        fresh = node not in self._ballot.answered
        if not fresh and self._phase is Phase.TRANSFER:
            return  # older than what this target has said since
        vdevs = self._ballot.add(node, m.bids)
        if not fresh:
            return
        # Lost ones are no measure.
        self._context.stats.answered(vdevs, now_ns - self._asked_ns, now_ns)
        for v in vdevs:
            if v in self._ballot.refused:
                self._note_refusal(v, self._ballot.refused[v], now_ns)
            elif self._phase is Phase.TRANSFER and v in self._ballot.bids:
                self._context.counters.count("bids", "late")
        if self._phase is Phase.PROPOSING:
            if self._ballot.held:
                held_ns = self._proposed_ns + self._ballot.held_window_ns
                self._window_ns = max(self._window_ns, held_ns)
            self._decide(now_ns)

    def _decide(self, now_ns: int) -> None:
        """Accept when enough hosts offer and nobody is worth waiting for."""
        ballot, policy = self._ballot, self._table.policy
        wait = now_ns < self._window_ns and not ballot.all_in(now_ns)
        if wait and len({*ballot.held_hosts(), *self._copies.hosts}) < policy.copies:
            return
        plan = ballot.plan(self._job.chid, self._copies, policy.copies, now_ns)
        if len(plan.hosts) >= policy.copies or len(plan.hosts) >= self._goal(now_ns):
            if plan.holders or plan.winners:
                self._accept(plan, now_ns)
            else:
                self._end_done(now_ns)
        elif not ballot.silent_nodes():
            self._retry_or_fail(now_ns)

    def _goal(self, now_ns: int) -> int:
        """Copies to go for: what the policy wants, or what can be had, never below min_copies."""
        policy = self._table.policy
        if now_ns >= self._patience_ns or buggify("gateway/few-copies"):
            return policy.min_copies
        # A moment's silence excuses nobody before the window has closed.
        possible = self._ballot.reachable_hosts(now_ns, trust_silent=now_ns < self._window_ns)
        possible |= set(self._copies.hosts)
        return max(policy.min_copies, min(policy.copies, len(possible)))

    def _retry_or_fail(self, now_ns: int) -> None:
        """Everybody has answered and it is not enough: hopeless, or again after a wait."""
        hosts = self._ballot.reachable_hosts(now_ns, trust_silent=True) | set(self._copies.hosts)
        if len(hosts) < self._table.policy.min_copies and self._given_up:
            self._fail(worst_reason(self._given_up.values()), "too few VDEVs can take the chunk")
            return
        self._pause(now_ns)

    def _pause(self, now_ns: int) -> None:
        self._phase = Phase.PAUSE
        self._resend_ns = now_ns + self._backoff.take_ns()
        self.was_busy = self.was_busy or Reason.BUSY in self._last_said.values()

    # -- 3. PUT_ACCEPT ------------------------------------------------------------------

    def _accept(self, plan: Plan, now_ns: int) -> None:
        """The first wave of the attempt; everybody who bid hears who won."""
        context = self._context
        context.counters.observe_ns("negotiation_seconds", elapsed_ns=now_ns - self._proposed_ns)
        self._phase = Phase.TRANSFER
        if now_ns >= self._proposed_ns + self._ballot.held_window_ns:
            self._ballot.mark_silent(now_ns)  # the next puts do not wait as long for it again
        self._interval_ns = self._first_interval_ns
        self._resend_ns = now_ns + self._interval_ns
        named = (*plan.holders, *plan.winners)
        context.counters.count("bids", "won", by=len(named))
        lost = len([v for v in self._ballot.bids if v not in named])
        if lost:
            context.counters.count("bids", "lost", by=lost)
        wave = self._new_wave(plan, self._settings.multicast, now_ns)
        nodes = dict.fromkeys([w.node for w in wave.winners] + self._ballot.bidders())
        self._send(wave.accept, self._group_or(tuple(nodes)))

    def _new_wave(self, plan: Plan, multicast: bool, now_ns: int) -> Wave:
        nodes = {self._node(v) for v in plan.winners}
        rendezvous = NO_MULTICAST
        if multicast and len(nodes) > 1:
            rendezvous = rendezvous_number(nodes, self._settings.rendezvous_groups)
        datagram_bytes = self._context.datagram_bytes(nodes)
        accept = self._job.accept(
            self._row, plan, self._new_id(), datagram_bytes, rendezvous, self._authenticated
        )
        payload = self._waves.payload
        wave = Wave(accept, self._job.buffer, self._ballot, self._settings, now_ns, payload)
        self._waves.add(wave)
        return wave

    # -- 4. PAYLOAD, 5. PAYLOAD_GAPS --------------------------------------------------------

    def _pump(self) -> None:
        for event in self._waves.payload:
            payload_bytes = event.payload_bytes
            self._sent_bytes += payload_bytes
            if event.resend:
                self._context.counters.count("payload_resent_bytes", by=payload_bytes)
        self._events += self._waves.payload
        self._waves.payload.clear()

    # -- 6. CHUNK_STORED --------------------------------------------------------------------

    def _on_chunk_stored(self, node: NodeId, m: ChunkStored, now_ns: int) -> None:
        if m.chid != self._job.chid:
            return
        for stored in m.vdevs:
            found = self._waves.find(node, stored.vdev_index)
            if found is None:
                continue
            wave, winner = found
            self._copies.add(stored.vdev_index, stored.kind)
            if self._waves.first_stored_ns is None:
                self._waves.first_stored_ns = now_ns
            stats = self._context.stats
            stats.took_to_store(now_ns - winner.accepted_ns, now_ns)
            excess_ns = wave.excess_ns(winner, now_ns)
            if excess_ns is not None:
                stats.stored(stored.vdev_index, excess_ns, now_ns)
            wave.drop(winner)
        self._advance(now_ns)

    def _advance(self, now_ns: int) -> None:
        """Done, or replace who dropped out, or wait, or a new attempt for what is missing."""
        wanted = self._table.policy.copies
        if len(self._copies.hosts) >= wanted:
            self._end_done(now_ns)
            return
        if len({*self._waves.hosts(), *self._copies.hosts}) >= wanted:
            return  # nearly always, once a chunk is under way
        live, late = self._waves.standing()
        for v in late:
            self._ballot.forget(v)
        plan = self._ballot.plan(self._job.chid, self._copies, wanted, now_ns, skip=live)
        if plan.holders or plan.winners:
            wave = self._new_wave(plan, False, now_ns)
            self._send(wave.accept, dict.fromkeys(w.node for w in wave.winners))
        elif not live:
            self._attempt_over(now_ns)

    def _attempt_over(self, now_ns: int) -> None:
        if len(self._copies.hosts) >= self._goal(now_ns):
            self._end_done(now_ns)
        else:
            self._pause(now_ns)

    def _expire_transfer(self, now_ns: int) -> None:
        if self._waves.too_long(self._context):
            self._propose(now_ns)  # a path has turned out to be narrower than we thought
            return
        for v in self._waves.expire(now_ns):
            self._context.stats.silent(v, now_ns)
        if now_ns >= self._resend_ns:
            self._interval_ns = min(ACCEPT_AGAIN_NS_MAX, self._interval_ns * 2)
            self._resend_ns = now_ns + self._interval_ns
            before_ns = now_ns - self._context.stats.stored_again_ns(now_ns)
            for accept, node in self._waves.unanswered(before_ns):
                self._send(accept, (node,))  # mends a lost PUT_ACCEPT and a lost reply
        self._advance(now_ns)

    # -- refusals: each has one reaction -------------------------------------------------------

    def _on_refused(self, node: NodeId, m: Refused, now_ns: int) -> None:
        reason = reason_of(m.reason)
        if reason in STALE and m.current_generation > self._table.generation:
            self._on_stale(m.current_generation, now_ns)
        elif reason in FATAL:
            self._context.counters.count("refusals", reason.name.lower())
            self._fail(reason, m.detail)
        elif self._phase in (Phase.PROPOSING, Phase.TRANSFER):
            self._on_member_refused(node, m, reason, now_ns)

    def _on_stale(self, generation: int, now_ns: int) -> None:
        """Counted once for the attempt, however many members say so."""
        if self._phase is Phase.TABLE:
            return
        self._context.counters.count("refusals", Reason.STALE_GENERATION.name.lower())
        self._phase = Phase.TABLE
        if self._newest.generation >= generation:
            self._propose(now_ns)
        else:
            self._events.append(NeedTable(generation))

    def _on_member_refused(self, node: NodeId, m: Refused, reason: Reason, now_ns: int) -> None:
        owned = self._ballot.nodes.get(node, ())
        vdevs = tuple(v for v in m.vdevs if v in owned) or owned
        for v in vdevs:
            self._ballot.refuse(v, reason)
            self._note_refusal(v, reason, now_ns)
            found = self._waves.find(node, v)
            if found is not None:
                wave, winner = found
                wave.drop(winner)
                self._mismatches += reason == Reason.HASH_MISMATCH and wave.accept.authenticated
        self._ballot.heard(node)
        if self._phase is Phase.PROPOSING:
            self._decide(now_ns)
        elif reason == Reason.HASH_MISMATCH:
            self._on_hash_mismatch(now_ns)
        else:
            self._advance(now_ns)

    def _note_refusal(self, vdev_index: int, reason: Reason, now_ns: int) -> None:
        self._last_said[vdev_index] = reason
        if reason in LASTING:
            self._given_up[vdev_index] = reason
        self._context.stats.refused(vdev_index, reason, now_ns)
        self._context.counters.count("refusals", reason.name.lower())
        self._context.counters.count("bids", "refused")

    def _on_hash_mismatch(self, now_ns: int) -> None:
        """Somebody changed payload on the way: again, every datagram with a MAC."""
        self._authenticated = True
        self._context.counters.count("hash_mismatches", "received")
        if self._mismatches >= MISMATCHES_MAX:
            self._fail(Reason.HASH_MISMATCH, "the bytes do not match the CHID, even with MACs")
        else:
            self._advance(now_ns)

    # -- the end ------------------------------------------------------------------------------

    def _give_up(self, now_ns: int) -> None:
        if len(self._copies.hosts) >= self._table.policy.min_copies:
            self._end_done(now_ns)
            return
        members = self._table.members(self._row)
        reason = worst_reason(self._last_said.get(v) for v in members)
        up = len({self._table.host_of(v) for v in self._ballot.asked})
        least = self._table.policy.min_copies
        detail = f"{len(self._copies.hosts)} of at least {least} copies; {up} hosts were asked last"
        self._fail(reason, detail)

    def _fail(self, reason: Reason, detail: str) -> None:
        members = self._table.members(self._row)
        said = tuple((v, self._last_said.get(v)) for v in members)
        self._phase = Phase.ENDED
        self._outgoing.clear()
        self._abandon()
        self._events.append(PutFailed(self._job.chid, reason, detail, said))

    def _end_done(self, now_ns: int) -> None:
        self._pump()
        self._abandon()
        self._phase = Phase.ENDED
        done = self._copies.done(self._job.chid, self._job.size_bytes, self._sent_bytes)
        elapsed_ns = now_ns - self._started_ns
        count_done(self._context.counters, done, "negotiated", elapsed_ns)
        self._events.append(done)

    def _abandon(self, *, whole_too: bool = True) -> None:
        """Let the targets that are not done with the payload free its buffer and credit."""
        if not self._waves:
            return
        for transfer_id, node in self._waves.transfers(whole_too=whole_too):
            self._send(PayloadDone(transfer_id=transfer_id), (node,))
        self._waves = Waves(self._waves.first_stored_ns)

    # -- small things -----------------------------------------------------------------------------

    def _new_id(self) -> bytes:
        self._number += 1
        return self._job.id_of(self._number)

    def _node(self, vdev_index: int) -> NodeId:
        return self._table.vdevs[vdev_index].target

    def _group_or(self, nodes: tuple[NodeId, ...]) -> tuple[Destination, ...]:
        if self._settings.multicast:
            return (Group("negotiating", self._row % self._settings.multicast_groups),)
        return nodes

    def _send(self, message: Message, to: Iterable[Destination]) -> None:
        attempt_id, generation = self._attempt_id, self._table.generation
        self._outgoing += [Outgoing(message, each, attempt_id, generation) for each in to]
