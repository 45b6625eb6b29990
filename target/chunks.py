"""The chunk service of one target: routes messages to put, get and verify.

This is the one core that the daemon shell and the simulator drive for chunks; `told` says whether
it was told anything from which something may follow.
Puts that carry a newer generation than this target has adopted wait here while the
table is fetched; reads are answered at once, with UNSURE for what is not here.

Limits: PARKED_MAX requests and PARKED_BYTES_MAX bytes wait; more are told BUSY.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicast.buggify import buggify
from replicast.credit import CreditPool
from replicast.flexhash.table import Table
from replicast.machine import Event, Incoming, NodeId, earliest
from replicast.metrics import Counters
from replicast.target.admission import Admission, Lease, VdevView
from replicast.target.get import SendResponder
from replicast.target.put import PutResponder
from replicast.target.verify import VerifyResponder
from replicast.transfer import BufferLike, PayloadBuffers
from replicast.units import MIB, MS, SECOND
from replicast.wire.chunk_messages import (
    ChunkPut,
    ChunkQuery,
    ChunkSend,
    ChunkVerify,
    PayloadDone,
    PayloadGaps,
    PutAccept,
    PutPropose,
)
from replicast.wire.reasons import Reason

PARKED_MAX = 256
PARKED_BYTES_MAX = 4 * MIB
PARKED_NS = 2 * SECOND
RETRY_AFTER_NS = 50 * MS
CREDIT_BYTES = 4 * MIB  # where no socket says better

PUT_MESSAGES = frozenset((PutPropose, PutAccept, ChunkPut))
GET_MESSAGES = frozenset((ChunkQuery, ChunkSend, PayloadGaps))
CHUNK_REQUESTS = PUT_MESSAGES | GET_MESSAGES | {PayloadDone, ChunkVerify}


@dataclass(frozen=True, slots=True)
class FetchTable(Event):
    """A request carries this newer generation: fetch it, then adopt(). Asked once for each."""

    generation: int


class ChunkService:
    """All chunk exchanges of one target, as one core."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        table: Table,
        lease: Lease,
        vdevs: Mapping[int, VdevView],
        buffers: PayloadBuffers,
        counters: Counters,
        credit_bytes: int = CREDIT_BYTES,
    ) -> None:
        self._admission = Admission(node_id, table, lease, vdevs, counters)
        self.take_outgoing = self._admission.take_outgoing
        self.take_events = self._admission.take_events
        self._credit = CreditPool(credit_bytes)
        self.put = PutResponder(self._admission, buffers, self._credit)
        self.get = SendResponder(self._admission)
        self.verify = VerifyResponder(self._admission)
        self._parked: list[tuple[int, Incoming]] = []
        self._parked_bytes = 0
        self._wanted_generation = 0
        self.told = False  # the owner says when it has taken what follows

    # -- inputs ---------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """Any message of CHUNK_REQUESTS; others are not for us."""
        self.told = True
        message = incoming.message
        if incoming.generation > self._admission.table.generation:
            self._want_table(incoming.generation)
            # Without a lease the fetch may never end, and the answer is known: NO_LEASE.
            if type(message) in PUT_MESSAGES and self._admission.lease.valid(now_ns):
                self._park(incoming, now_ns)
                return
        if type(message) in PUT_MESSAGES:
            self.put.receive(incoming, now_ns)
        elif type(message) is PayloadDone:
            if not self.get.done(incoming.sender, message.transfer_id):
                self.put.abandon(incoming.sender, message.transfer_id, now_ns)
                self._grant(now_ns)
        elif type(message) in GET_MESSAGES:
            self.get.receive(incoming, now_ns)
        elif type(message) is ChunkVerify:
            self.verify.receive(incoming, now_ns)

    def adopt(self, table: Table, now_ns: int) -> None:
        """A newer table is in force; what waited for it goes on."""
        self.told = True
        self._admission.adopt(table)
        parked, self._parked, self._parked_bytes = self._parked, [], 0
        for _, incoming in parked:
            self.receive(incoming, now_ns)

    def transfer_completed(self, transfer_id: bytes, now_ns: int) -> bool:
        """All payload of a transfer has arrived."""
        self.told = True
        ours = self.put.transfer_completed(transfer_id, now_ns)
        self._grant(now_ns)
        return ours

    def stored(self, token: int, vdev_index: int, outcome: Reason | None, now_ns: int) -> None:
        """Answer to StoreChunk and StoreHold, once per VDEV; None: durable."""
        self.told = True
        self.put.stored(token, vdev_index, outcome, now_ns)

    def group_joined(self, number: int, now_ns: int) -> None:
        """Answer to JoinRendezvous."""
        self.told = True
        self.put.group_joined(number, now_ns)

    def group_left(self, number: int) -> None:
        """The shell left a rendezvous group."""
        self.told = True
        self.put.group_left(number)

    def read_done(self, token: int, outcome: BufferLike | Reason, now_ns: int) -> None:
        """Answer to ReadChunk."""
        self.told = True
        self.get.read_done(token, outcome, now_ns)

    def payload_sent(self, node: NodeId, transfer_id: bytes, token: int, now_ns: int) -> None:
        """Answer to SendPayload; `node` is its only receiver. Nothing follows from it."""
        self.get.payload_sent(node, transfer_id, token, now_ns)

    def verified(self, token: int, result: int, detail: str, now_ns: int) -> None:
        """Answer to VerifyChunk."""
        self.told = True
        self.verify.verified(token, result, detail, now_ns)

    def expire(self, now_ns: int) -> None:
        """Timers of all three, and requests that waited too long for a table."""
        self.told = True
        self.put.expire(now_ns)
        self.get.expire(now_ns)
        self._grant(now_ns)
        while self._parked and now_ns >= self._parked[0][0] + PARKED_NS:
            _, incoming = self._parked.pop(0)
            self._parked_bytes -= _weight(incoming)
            self._wanted_generation = 0  # ask again for the next one
            if incoming.group is None:
                self._admission.refuse(incoming, Reason.BUSY, retry_after_ns=RETRY_AFTER_NS)

    # -- outputs --------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """The earliest of all timers."""
        due_ns, sends_ns = self.put.deadline_ns(), self.get.due_ns
        if sends_ns is None and not self._parked:
            return due_ns
        return earliest(due_ns, sends_ns, self._parked[0][0] + PARKED_NS if self._parked else None)

    # -- steps ----------------------------------------------------------------------

    def _grant(self, now_ns: int) -> None:
        for transfer_id, credit_bytes in self._credit.take_granted():
            self.put.credit_granted(transfer_id, credit_bytes, now_ns)

    def _park(self, incoming: Incoming, now_ns: int) -> None:
        weight = _weight(incoming)
        full = len(self._parked) >= PARKED_MAX or self._parked_bytes + weight > PARKED_BYTES_MAX
        if full or buggify("chunks/parking-full"):
            if incoming.group is None:
                self._admission.refuse(incoming, Reason.BUSY, retry_after_ns=RETRY_AFTER_NS)
            return
        self._parked.append((now_ns, incoming))
        self._parked_bytes += weight

    def _want_table(self, generation: int) -> None:
        if generation > self._wanted_generation:
            self._wanted_generation = generation
            self._admission.want(FetchTable(generation))


def _weight(incoming: Incoming) -> int:
    message = incoming.message
    return 512 + (len(message.data) if isinstance(message, ChunkPut) else 0)
