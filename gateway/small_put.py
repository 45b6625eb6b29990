"""Put a small chunk at once, without negotiation: one round trip, two when it needs several datagrams.

    gateway                               `copies` members, in an order fixed by the chunk
      | -- CHUNK_PUT x n ---------------> |  opens the transfer, carries the first bytes
      | <------------ PAYLOAD_GAPS x n -- |  only if there is more, and after loss
      | -- PAYLOAD x n -----------------> |
      | <------------ CHUNK_STORED x n -- |

Equal content goes to the same members and meets its earlier copies there; passed
over are only those known to be down, full or far slower than the rest. When one
refuses or stays silent, gateway/put.py negotiates for the copies that are missing.

Invariants: one PutDone or PutFailed; bytes under way to a target stay within the
small-put credit of stats.py, which every ending gives back.
Limits: ends at `deadline_ns`; at most ANSWER_NS is spent before the negotiation.
"""

from __future__ import annotations

from enum import Enum

from replicast.flexhash.table import Table, VdevState
from replicast.gateway.context import ChunkContext, NeedTable
from replicast.gateway.copies import STALE, Copies, count_done, reason_of
from replicast.gateway.job import PutJob
from replicast.gateway.put import PutChunk
from replicast.gateway.select import order_small
from replicast.gateway.stats import SmallCredit
from replicast.machine import Event, Incoming, NodeId, Outbox, Outgoing
from replicast.transfer import Sender
from replicast.transfer_header import DATAGRAM_BYTES_MIN
from replicast.units import MS
from replicast.wire.chunk_messages import ChunkPut, ChunkStored, PayloadGaps, Refused
from replicast.wire.reasons import Reason

CONTROL_ROOM_BYTES = 160  # what CHUNK_PUT needs in a datagram beyond payload and its header
RESEND_NS = 60 * MS
ANSWER_NS = 500 * MS
CREDIT_POLL_NS = 2 * MS


class Phase(Enum):
    """Where the put stands."""

    CREDIT = 1  # waits for small-put credit
    SENT = 2
    TABLE = 3
    ENDED = 4


class SmallPut(Outbox):
    """One small chunk."""

    def __init__(
        self,
        context: ChunkContext,
        table: Table,
        *,
        job: PutJob,
        now_ns: int,
    ) -> None:
        super().__init__()
        self._context = context
        self._table = self._newest = table  # of the attempt; of the next attempt
        self._job, self._number, self._started_ns = job, 0, now_ns
        self._copies = Copies(table)
        self._negotiation: PutChunk | None = None
        self._asked: dict[int, NodeId] = {}  # no word from them yet
        self._authenticated = False  # the negotiation's payload carries MACs
        self._sent_bytes = 0
        self._sent_ns = self._next_ns = now_ns
        self._start(now_ns)

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply to this attempt."""
        if self._negotiation is not None:
            self._negotiation.receive(incoming, now_ns)
            return
        m, node = incoming.message, incoming.sender
        if self._phase is not Phase.SENT or incoming.operation_id != self._attempt_id:
            return
        if isinstance(m, ChunkStored):
            self._on_chunk_stored(node, m, now_ns)
        elif isinstance(m, PayloadGaps) and m.transfer_id == self._attempt_id:
            self._sender.gaps(node, m)
            self._pump()
        elif isinstance(m, Refused):
            self._on_refused(node, m, now_ns)

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table: start anew if the last one was stale."""
        if self._negotiation is not None:
            self._negotiation.table_changed(table, now_ns)
        elif table.generation > self._newest.generation:
            self._newest = table
            if self._phase in (Phase.TABLE, Phase.CREDIT):
                self._start(now_ns)

    def payload_sent(self, transfer_id: bytes, token: int, now_ns: int) -> None:
        """The shell executed a SendPayload."""
        if self._negotiation is not None:
            self._negotiation.payload_sent(transfer_id, token, now_ns)
        elif self._phase is Phase.SENT and transfer_id == self._attempt_id:
            self._sender.sent(token)

    def expire(self, now_ns: int) -> None:
        """Try for credit, resend, or negotiate."""
        if self._negotiation is not None:
            self._negotiation.expire(now_ns)
        elif self._phase is Phase.ENDED or now_ns < min(self._next_ns, self._job.deadline_ns):
            return
        elif now_ns >= self._job.deadline_ns or self._phase is Phase.TABLE:
            self._negotiate(now_ns)  # it knows how to fail
        elif self._phase is Phase.CREDIT:
            # Whoever failed while this put waited is not worth waiting for any longer.
            unfit = any(self._unfit(v, now_ns) for v in self._chosen)
            (self._start if unfit else self._send)(now_ns)
        elif now_ns >= self._sent_ns + ANSWER_NS:
            for v in list(self._asked):
                self._context.stats.silent(v, now_ns)
                self._take_asked(v).give_back(self._job.size_bytes, lost=True)
            self._negotiate(now_ns)
        else:
            self._next_ns = min(now_ns + 2 * RESEND_NS, self._sent_ns + ANSWER_NS)
            self._send_chunk_put()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._forget_asked()
        self._phase = Phase.ENDED
        if self._negotiation is not None:
            self._negotiation.cancel()

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """When to call expire(); None at the end."""
        if self._negotiation is not None:
            return self._negotiation.deadline_ns()
        return None if self._phase is Phase.ENDED else min(self._next_ns, self._job.deadline_ns)

    def take_outgoing(self) -> list[Outgoing]:
        """Its own messages, then the negotiation's."""
        own = super().take_outgoing()
        return own + (self._negotiation.take_outgoing() if self._negotiation else [])

    def take_events(self) -> list[Event]:
        """Its own events, then the negotiation's."""
        own = super().take_events()
        return own + (self._negotiation.take_events() if self._negotiation else [])

    # -- CHUNK_PUT ----------------------------------------------------------------------

    def _start(self, now_ns: int) -> None:
        self._table = self._newest
        self._row = self._table.row_of_chunk(self._job.chid)
        self._copies.table_changed(self._table, self._row)
        self._chosen = self._choose(now_ns)
        if len(self._chosen) + len(self._copies.hosts) < self._table.policy.copies:
            self._negotiate(now_ns)
        else:
            self._send(now_ns)

    def _choose(self, now_ns: int) -> tuple[int, ...]:
        """The first members in the chunk's order, on distinct hosts, that are fit."""
        table, stats = self._table, self._context.stats
        members = [v for v in table.members(self._row) if table.vdevs[v].state == VdevState.UP]
        hosts = dict.fromkeys(self._copies.hosts)
        missing = table.policy.copies - len(hosts)
        chosen: list[int] = []
        for v in order_small(self._job.chid, members):
            taken = table.host_of(v) in hosts
            if taken or self._unfit(v, now_ns) or stats.slow(v, members, now_ns):
                continue
            hosts[table.host_of(v)] = None
            chosen.append(v)
        return tuple(chosen[:missing])

    def _unfit(self, vdev_index: int, now_ns: int) -> bool:
        stats = self._context.stats
        return stats.suspect(vdev_index, now_ns) or stats.full(vdev_index, now_ns)

    def _send(self, now_ns: int) -> None:
        """Everything at once, when all targets have credit for it."""
        nodes = {v: self._table.target_of(v).node_id for v in self._chosen}
        taken: list[NodeId] = []
        for node in nodes.values():
            if not self._context.stats.credit(node).take(self._job.size_bytes):
                for other in taken:
                    self._context.stats.credit(other).cancel(self._job.size_bytes)
                self._phase, self._next_ns = Phase.CREDIT, now_ns + CREDIT_POLL_NS
                return
            taken.append(node)
        self._number += 1
        self._attempt_id = self._job.id_of(self._number)
        self._asked, self._phase = nodes, Phase.SENT
        self._sent_ns, self._next_ns = now_ns, now_ns + RESEND_NS
        room_bytes = self._context.datagram_bytes(nodes.values()) - CONTROL_ROOM_BYTES
        self._datagram_bytes = max(DATAGRAM_BYTES_MIN, room_bytes)
        self._send_chunk_put()
        self._prepare_rest(tuple(nodes.values()))

    def _send_chunk_put(self) -> None:
        datagram_bytes = self._datagram_bytes
        message = ChunkPut(
            row=self._row,
            chid=self._job.chid,
            hash_algorithm=self._job.hash_algorithm,
            size_bytes=self._job.size_bytes,
            vdevs=self._chosen,
            transfer_id=self._attempt_id,
            datagram_bytes=datagram_bytes,
            data=bytes(memoryview(self._job.buffer)[:datagram_bytes]),
        )
        for node in dict.fromkeys(self._asked.values()):
            self._sent_bytes += len(message.data)
            self._outgoing.append(Outgoing(message, node, self._attempt_id, self._table.generation))

    def _prepare_rest(self, nodes: tuple[NodeId, ...]) -> None:
        skip_bytes = min(self._job.size_bytes, self._datagram_bytes)
        self._sender = Sender(
            self._attempt_id,
            self._job.buffer,
            self._job.size_bytes,
            self._datagram_bytes,
            skip_bytes=skip_bytes,
        )
        # Not before a target has opened the transfer, and says so: what overtakes CHUNK_PUT is lost.
        self._sender.add_all(nodes, 0)

    def _pump(self) -> None:
        for event in self._sender.take():
            self._sent_bytes += event.payload_bytes
            if event.resend:
                self._context.counters.count("payload_resent_bytes", by=event.payload_bytes)
            self._events.append(event)

    # -- answers ------------------------------------------------------------------------

    def _on_chunk_stored(self, node: NodeId, m: ChunkStored, now_ns: int) -> None:
        if m.chid != self._job.chid:
            return
        for stored in m.vdevs:
            v = stored.vdev_index
            if self._asked.get(v) == node:
                self._copies.add(v, stored.kind)
                memory = self._context.stats.vdevs[v]
                memory.small_ns.add(now_ns - self._sent_ns, now_ns)
                memory.failed_ns = None
                self._take_asked(v).give_back(self._job.size_bytes, lost=False)
        self._advance(now_ns)

    def _on_refused(self, node: NodeId, m: Refused, now_ns: int) -> None:
        reason = reason_of(m.reason)
        mine = [v for v, owner in self._asked.items() if owner == node]
        self._context.counters.count("refusals", reason.name.lower())
        for v in mine:
            self._context.stats.refused(v, reason, now_ns)
            self._take_asked(v).cancel(self._job.size_bytes)
        if reason is Reason.HASH_MISMATCH:
            self._authenticated = True
            self._context.counters.count("hash_mismatches", "received")
        if reason in STALE and m.current_generation > self._table.generation:
            self._on_stale(m.current_generation, now_ns)
        else:
            self._advance(now_ns)

    def _on_stale(self, generation: int, now_ns: int) -> None:
        """The first one ends the attempt, so that several members count once."""
        self._forget_asked()
        self._phase, self._next_ns = Phase.TABLE, self._job.deadline_ns
        if self._newest.generation >= generation:
            self._start(now_ns)
        else:
            self._events.append(NeedTable(generation))

    def _take_asked(self, vdev_index: int) -> SmallCredit:
        """Nothing more is awaited from this VDEV; returns the credit that it was asked on."""
        node = self._asked.pop(vdev_index)
        if node not in self._asked.values():
            self._sender.remove(node)
        return self._context.stats.credit(node)

    def _forget_asked(self) -> None:
        for v in list(self._asked):
            self._take_asked(v).cancel(self._job.size_bytes)

    def _advance(self, now_ns: int) -> None:
        if len(self._copies.hosts) >= self._table.policy.copies:
            self._end_done(now_ns)
        elif not self._asked:
            self._negotiate(now_ns)

    def _negotiate(self, now_ns: int) -> None:
        """For the copies that are missing; those that are there keep counting."""
        self._forget_asked()
        self._phase = Phase.ENDED
        self._negotiation = PutChunk(
            self._context,
            self._newest,
            job=self._job,
            now_ns=now_ns,
            copies=self._copies,
            numbered_from=self._number,
            sent_bytes=self._sent_bytes,
            authenticated=self._authenticated,
        )

    def _end_done(self, now_ns: int) -> None:
        self._forget_asked()
        self._phase = Phase.ENDED
        done = self._copies.done(self._job.chid, self._job.size_bytes, self._sent_bytes)
        elapsed_ns = now_ns - self._started_ns
        count_done(self._context.counters, done, "immediate", elapsed_ns)
        self._events.append(done)
