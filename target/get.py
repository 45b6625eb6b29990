"""Get one chunk: the target's side; gateway/get.py is the other half.

    gateway                                target
      | -- CHUNK_QUERY -------------------> |  1. who has it? all VDEVs in one answer
      | <------------------ CHUNK_ANSWER -- |     HIT, MISS (proved: with a lease), UNSURE
      | -- CHUNK_SEND --------------------> |  2. read it from the VDEV
      | <-------------------- PAYLOAD x n - |  3. within the credit
      | -- PAYLOAD_GAPS ------------------> |     resend, new credit
      | -- PAYLOAD_DONE ------------------> |  4. forget the transfer

One SendResponder per target. target/chunks.py drives it; the shell executes
ReadChunk (answer: read_done) and SendPayload (answer: payload_sent).

Invariants: a MISS is said only with a valid lease, by a VDEV that lost nothing,
to a request that is not stale for the row. What is held is sent without a lease too: the hash proves it.
Limits: SENDS_MAX open sends and SEND_BYTES_MAX bytes of them; a silent receiver is dropped after IDLE_NS.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.buggify import buggify
from replicast.ewma import Ewma
from replicast.frozen import frozen
from replicast.machine import Event, Incoming, NodeId
from replicast.target.admission import Admission
from replicast.transfer import BufferLike, Sender
from replicast.transport.reassembly import check_shape
from replicast.units import MIB, MS, SECOND
from replicast.wire.chunk_messages import (
    HIT,
    MISS,
    UNSURE,
    ChunkAnswer,
    ChunkQuery,
    ChunkSend,
    PayloadGaps,
    VdevAnswer,
)
from replicast.wire.reasons import Reason

SENDS_MAX = 256
SEND_BYTES_MAX = 64 * MIB
IDLE_NS = 2 * SECOND
RETRY_AFTER_NS = 20 * MS
READ_NS_START = 2 * MS
BYTE_NS = 1  # 1 GB/s: what reads ahead of this one cost


@frozen
class ReadChunk(Event):
    """Read a chunk off the loop; then read_done(token, buffer or a reason)."""

    token: int
    vdev_index: int
    chid: bytes
    to_kernel: bool  # nobody here looks at the bytes, as who makes MACs of them would


@dataclass(slots=True)
class _Send:
    """One chunk on its way to a reader."""

    node: NodeId
    operation_id: bytes
    transfer_id: bytes
    vdev_index: int
    size_bytes: int
    datagram_bytes: int
    credit_bytes: int
    authenticated: bool
    started_ns: int
    active_ns: int
    sender: Sender | None = None


class SendResponder:
    """All chunk reads of one target."""

    def __init__(
        self,
        admission: Admission,
        *,
        sends_max: int = SENDS_MAX,
        send_bytes_max: int = SEND_BYTES_MAX,
        idle_ns: int = IDLE_NS,
    ) -> None:
        self._admission = admission
        self._sends_max, self._send_bytes_max, self._idle_ns = sends_max, send_bytes_max, idle_ns
        self._sends: dict[tuple[NodeId, bytes], _Send] = {}
        self._by_token: dict[int, _Send] = {}
        self._open_bytes = 0
        self._reading_bytes: dict[int, int] = {}
        self._read_ns: dict[int, Ewma] = {}
        self._token = 0
        # When to look for silent readers: not before the first of them is given up, and no time that
        # moves with every message.
        self.due_ns: int | None = None

    def __len__(self) -> int:
        """Sends that have not ended."""
        return len(self._sends)

    # -- messages -------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """CHUNK_QUERY, CHUNK_SEND or PAYLOAD_GAPS."""
        message = incoming.message
        if type(message) is ChunkQuery:
            self._on_chunk_query(incoming, message, now_ns)
        elif type(message) is ChunkSend:
            self._on_chunk_send(incoming, message, now_ns)
        elif type(message) is PayloadGaps:
            self._on_payload_gaps(incoming, message, now_ns)

    def done(self, node: NodeId, transfer_id: bytes) -> bool:
        """PAYLOAD_DONE: this reader wants no more of it. False: it is no transfer from here."""
        return self._forget((node, transfer_id))

    def _on_chunk_query(self, incoming: Incoming, m: ChunkQuery, now_ns: int) -> None:
        table, views = self._admission.table, self._admission.vdevs
        if m.row != table.row_of_chunk(m.chid):
            self._admission.refuse_malformed(incoming, "row out of range")
            return
        listed = [v for v in (*table.members(m.row), *table.draining(m.row)) if v in views]
        # A copy counts wherever it lies: bytes prove themselves.
        sizes = {v: size for v in views if (size := views[v].size_of(m.chid))}
        stale = incoming.generation < table.members_since(m.row)
        if sizes:
            holders = [v for v in sizes if v not in listed]
            self._send_answer(incoming, sizes, [*listed, *holders], stale, now_ns)
        elif listed and not stale:
            self._send_answer(incoming, sizes, listed, False, now_ns)
        elif listed or incoming.group is None or self._admission.left_out(m.row):
            self._admission.refuse(incoming, self._not_here(m.row, stale))

    def _not_here(self, row: int, stale: bool) -> Reason:
        if stale:
            return Reason.STALE_GENERATION
        return Reason.FAULTED if self._admission.left_out(row) else Reason.NOT_MEMBER

    def _send_answer(
        self,
        incoming: Incoming,
        sizes: dict[int, int],
        vdevs: list[int],
        stale: bool,
        now_ns: int,
    ) -> None:
        """`sizes`: of the copies that are here."""
        ahead = incoming.generation > self._admission.table.generation
        proved = not stale and not ahead and self._admission.lease.valid(now_ns)
        proved = proved and not buggify("chunks/unsure")
        answers = tuple(self._answer(v, sizes.get(v, 0), proved, now_ns) for v in vdevs)
        self._admission.reply(incoming, ChunkAnswer(answers=answers))

    def _answer(self, vdev_index: int, size_bytes: int, proved: bool, now_ns: int) -> VdevAnswer:
        measured = self._read_ns.get(vdev_index)
        view = self._admission.vdevs[vdev_index]
        kind = HIT if size_bytes else MISS if proved and view.proves_misses() else UNSURE
        return VdevAnswer(
            vdev_index=vdev_index,
            kind=kind,
            size_bytes=size_bytes,
            start_ns=self._reading_bytes.get(vdev_index, 0) * BYTE_NS,
            duration_ns=READ_NS_START if measured is None else measured.get(now_ns),
        )

    def _on_chunk_send(self, incoming: Incoming, m: ChunkSend, now_ns: int) -> None:
        known = self._sends.get((incoming.sender, m.transfer_id))
        if known is not None:
            known.active_ns = now_ns  # a repeated request: the read or the sending goes on
            return
        view = self._admission.vdevs.get(m.vdev_index)
        size_bytes = 0 if view is None else view.size_of(m.chid)
        if not size_bytes:
            self._admission.refuse(incoming, Reason.NOT_FOUND_HERE, (m.vdev_index,))
            return
        try:
            check_shape(m.transfer_id, size_bytes, m.datagram_bytes)
        except ValueError as error:
            self._admission.refuse(incoming, Reason.BAD_REQUEST, (m.vdev_index,), detail=str(error))
            return
        if not self._has_room(size_bytes):
            self._admission.refuse(
                incoming, Reason.BUSY, (m.vdev_index,), retry_after_ns=RETRY_AFTER_NS
            )
            return
        self._start(incoming, m, size_bytes, now_ns)

    def _has_room(self, size_bytes: int) -> bool:
        fits = self._open_bytes + size_bytes <= self._send_bytes_max or not self._sends
        return fits and len(self._sends) < self._sends_max and not buggify("chunks/send-busy")

    def _start(self, incoming: Incoming, m: ChunkSend, size_bytes: int, now_ns: int) -> None:
        send = _Send(
            incoming.sender,
            incoming.operation_id,
            m.transfer_id,
            m.vdev_index,
            size_bytes,
            m.datagram_bytes,
            m.credit_bytes,
            m.authenticated,
            now_ns,
            now_ns,
        )
        if not self._sends:
            self.due_ns = now_ns + self._idle_ns
        self._sends[(send.node, send.transfer_id)] = send
        self._open_bytes += size_bytes
        self._reading_bytes[send.vdev_index] = (
            self._reading_bytes.get(send.vdev_index, 0) + size_bytes
        )
        self._token += 1
        self._by_token[self._token] = send
        self._admission.want(ReadChunk(self._token, m.vdev_index, m.chid, not m.authenticated))

    def _on_payload_gaps(self, incoming: Incoming, m: PayloadGaps, now_ns: int) -> None:
        send = self._sends.get((incoming.sender, m.transfer_id))
        if send is None or buggify("chunks/send-forgotten"):
            # Restarted or given up: the reader need not wait for its timer.
            self._admission.refuse(incoming, Reason.NOT_FOUND_HERE, detail="no such transfer")
            return
        send.active_ns = now_ns
        if send.sender is None:
            send.credit_bytes = max(send.credit_bytes, m.credit_bytes)
        else:
            send.sender.gaps(send.node, m)
            self._pump(send)

    # -- what the shell brings --------------------------------------------------------

    def read_done(self, token: int, outcome: BufferLike | Reason, now_ns: int) -> None:
        """The bytes as stored, or why not (NOT_FOUND_HERE, FAULTED)."""
        send = self._by_token.pop(token, None)
        if send is None:
            return
        self._reading_bytes[send.vdev_index] -= send.size_bytes
        measured = self._read_ns.setdefault(send.vdev_index, Ewma())
        measured.add(now_ns - send.started_ns, now_ns)
        key = (send.node, send.transfer_id)
        if self._sends.get(key) is not send:
            return
        if isinstance(outcome, Reason):
            refused = self._admission.refused(outcome, (send.vdev_index,))
            self._admission.send(send.node, send.operation_id, refused)
            self._forget(key)
            return
        send.active_ns = now_ns
        send.sender = Sender(
            send.transfer_id,
            outcome,
            send.size_bytes,
            send.datagram_bytes,
            authenticated=send.authenticated,
        )
        send.sender.add(send.node, send.credit_bytes)
        self._pump(send)

    def payload_sent(self, node: NodeId, transfer_id: bytes, token: int, now_ns: int) -> None:
        """The shell executed a SendPayload of this transfer."""
        send = self._sends.get((node, transfer_id))
        if send is not None and send.sender is not None:
            send.active_ns = now_ns
            send.sender.sent(token)

    def _pump(self, send: _Send) -> None:
        for event in send.sender.take() if send.sender is not None else ():
            if event.resend:
                self._admission.counters.count("payload_resent_bytes", by=event.payload_bytes)
            self._admission.want(event)

    def _forget(self, key: tuple[NodeId, bytes]) -> bool:
        send = self._sends.pop(key, None)
        if send is not None:
            self._open_bytes -= send.size_bytes
            if not self._sends:
                self.due_ns = None
        return send is not None

    # -- time ---------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        """Drop sends whose reader has gone."""
        if self.due_ns is None or now_ns < self.due_ns:
            return
        for key, send in list(self._sends.items()):
            if now_ns >= send.active_ns + self._idle_ns:
                self._forget(key)
        if self._sends:
            self.due_ns = min([send.active_ns for send in self._sends.values()]) + self._idle_ns
