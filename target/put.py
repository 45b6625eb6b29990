"""Put one chunk: the target's side; gateway/put.py is the other half, same steps, same names.

    gateway                                   target (all its VDEVs of the row)
      | -- PUT_PROPOSE ----------------------> |  1. reserve, look for the chunk
      | <----------------------------- BID --- |  2. one datagram for all VDEVs
      | -- PUT_ACCEPT -----------------------> |  3. open the transfer, or release
      | <-------------------- PUT_ACCEPTED --- |     credit, joined?
      | -- PAYLOAD x n ----------------------> |  4. into the reassembly's buffer
      | <-------------------- PAYLOAD_GAPS --- |  5. on a timer: missing bytes, new credit
      | <-------------------- CHUNK_STORED --- |  6. hash checked, fdatasync returned
      | -- PAYLOAD_DONE ---------------------> |  or: the gateway has no more use for it
      | -- CHUNK_PUT (small: 1 to 4 in one) -> |

One PutResponder per target. target/chunks.py drives it; the VDEV shells execute
StoreChunk and StoreHold and answer with stored().

Invariants: CHUNK_STORED names only VDEVs for which stored(..., None) came back;
nothing is stored without a lease; a repeated request gets its first answer again.
Limits: PUTS_MAX open puts, buffers within the reassembly's budget, payload in
flight within the credit pool; an idle transfer is dropped after IDLE_NS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replicast.buggify import buggified, buggify
from replicast.credit import CreditPool
from replicast.frozen import frozen
from replicast.hashing import made_on_arrival
from replicast.machine import Event, Incoming, NodeId
from replicast.target.admission import Admission
from replicast.target.answers import Answers, TransferKey
from replicast.target.reserve import Reservations, make_bid, refused_bid
from replicast.transfer import BufferLike, PayloadBuffers, Receiver
from replicast.transport.reassembly import Full
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import (
    HELD,
    NO_MULTICAST,
    OFFER,
    STORED,
    Bid,
    ChunkPut,
    ChunkStored,
    PutAccept,
    PutAccepted,
    PutPropose,
    VdevBid,
    VdevStored,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

PUTS_MAX = 1024
IDLE_NS = 2 * SECOND
JOIN_SETTLE_NS = 50 * MS
RETRY_AFTER_NS = 20 * MS


@frozen
class StoreChunk(Event):
    """Check the hash, unless it is `proved`, and make durable on each of `vdevs`; then stored(token,
    vdev, outcome)."""

    token: int
    vdevs: tuple[int, ...]
    chid: bytes
    hash_algorithm: int
    buffer: BufferLike
    proved: bool


@frozen
class StoreHold(Event):
    """Make a hold on a chunk that is there durable; then stored(token, vdev, outcome).
    The outcome is NOT_FOUND_HERE when the chunk has gone."""

    token: int
    vdev_index: int
    chid: bytes


@dataclass(frozen=True, slots=True)
class JoinRendezvous(Event):
    """Join this group (keep the newest in an LRU); then group_joined(number)."""

    number: int


@dataclass(slots=True)
class _Put:
    """One accepted put on its way to durable."""

    sender: NodeId
    operation_id: bytes
    transfer_id: bytes
    chid: bytes
    hash_algorithm: int
    size_bytes: int
    vdevs: tuple[int, ...]  # of ours, that wait for the payload
    started_ns: int
    joined: bool = False
    receiver: Receiver | None = None
    pending: dict[int, int] = field(default_factory=dict)  # vdev -> kind, at the store
    stored: list[VdevStored] = field(default_factory=list)
    refused: dict[Reason, tuple[int, ...]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)


class PutResponder:
    """All puts of one target."""

    def __init__(
        self,
        admission: Admission,
        buffers: PayloadBuffers,
        credit: CreditPool,
        *,
        idle_ns: int = IDLE_NS,
        puts_max: int = PUTS_MAX,
    ) -> None:
        self._admission, self._buffers, self._credit = admission, buffers, credit
        self._idle_ns, self._puts_max = idle_ns, puts_max
        self._reservations = Reservations()
        self._puts: dict[TransferKey, _Put] = {}
        self._by_transfer: dict[bytes, _Put] = {}
        self._by_token: dict[int, _Put] = {}
        self._answers = Answers()
        self._joined_ns: dict[int, int] = {}
        self._token = 0

    def __len__(self) -> int:
        """Puts that have not ended."""
        return len(self._puts)

    # -- messages -------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """PUT_PROPOSE, PUT_ACCEPT or CHUNK_PUT."""
        message = incoming.message
        if type(message) is PutPropose:
            self._on_put_propose(incoming, message, now_ns)
        elif type(message) is PutAccept:
            self._on_put_accept(incoming, message, now_ns)
        elif type(message) is ChunkPut:
            self._on_chunk_put(incoming, message, now_ns)

    def _on_put_propose(self, incoming: Incoming, m: PutPropose, now_ns: int) -> None:
        mine = self._admission.members_for_store(
            incoming, m.row, m.chid, m.hash_algorithm, m.size_bytes, now_ns
        )
        if m.excluded:
            mine = tuple(v for v in mine if v not in m.excluded)
        if mine:
            bids = self._bids(incoming, mine, m, now_ns)
            self._admission.reply(incoming, Bid(bids=tuple(bids)))

    def _bids(
        self, incoming: Incoming, mine: tuple[int, ...], m: PutPropose, now_ns: int
    ) -> list[VdevBid]:
        views = self._admission.vdevs
        credit = max(0, self._credit.total_bytes - self._credit.granted_bytes)
        key = (incoming.sender, incoming.operation_id)
        self._reservations.release(key)
        if len(self._puts) >= self._puts_max or buggify("chunks/bid-busy"):
            return [refused_bid(v, views[v], Reason.BUSY) for v in mine]
        backlog_bytes = self._reservations.backlog_bytes
        bids = [make_bid(v, views[v], m.chid, m.size_bytes, backlog_bytes[v], credit) for v in mine]
        offered = tuple([bid.vdev_index for bid in bids if bid.kind == OFFER])
        if offered and not self._reservations.reserve(key, offered, m.size_bytes, now_ns):
            return [refused_bid(v, views[v], Reason.BUSY) for v in mine]
        return bids

    def _on_put_accept(self, incoming: Incoming, m: PutAccept, now_ns: int) -> None:
        self._reservations.release((incoming.sender, incoming.operation_id))
        named = [v for v in (*m.winners, *m.holders) if v in self._admission.vdevs]
        if not named or self._repeated(incoming, m.transfer_id, now_ns):
            return
        put = self._admit(incoming, m, tuple(named), now_ns)
        if put is None:
            return
        put.joined = self._join(m.rendezvous, now_ns)
        if put.vdevs and self._open(put, m.datagram_bytes, m.authenticated):
            credit_bytes = self._credit.request(put.transfer_id, put.size_bytes)
            self._watch(put, credit_bytes, now_ns)
            self._send_accepted(put, credit_bytes)
        else:
            self._finish_if_done(put, now_ns)

    def _on_chunk_put(self, incoming: Incoming, m: ChunkPut, now_ns: int) -> None:
        named = tuple(v for v in m.vdevs if v in self._admission.vdevs)
        if self._repeated(incoming, m.transfer_id, now_ns):
            return
        put = self._admit(incoming, m, named or m.vdevs, now_ns)
        if put is None:
            return
        if len(m.data) > m.size_bytes:
            self._turn_away(put, Reason.BAD_REQUEST)
        elif put.vdevs and len(m.data) == m.size_bytes:
            self._store(put, m.data, now_ns)
        elif put.vdevs and self._open(put, m.datagram_bytes, False):
            self._buffers.place(put.transfer_id, 0, m.data)
            receiver = self._watch(put, put.size_bytes, now_ns)
            self._admission.send(
                put.sender, put.operation_id, receiver.grant(put.size_bytes, now_ns)
            )
        self._finish_if_done(put, now_ns)

    # -- steps of an accepted put -----------------------------------------------------

    def _repeated(self, incoming: Incoming, transfer_id: bytes, now_ns: int) -> bool:
        """Answer a request that was seen before as far as it has come."""
        key = (incoming.sender, transfer_id)
        put = self._puts.get(key)
        if put is not None:
            self._send_accepted(put, self._credit.granted(transfer_id))
            return True
        messages = self._answers.get(key)
        for message in messages or ():
            self._admission.reply(incoming, message)
        return messages is not None

    def _admit(
        self, incoming: Incoming, m: PutAccept | ChunkPut, named: tuple[int, ...], now_ns: int
    ) -> _Put | None:
        """Check membership, lease, space and duplicates; holds start here."""
        admission = self._admission
        mine = admission.members_for_store(
            incoming, m.row, m.chid, m.hash_algorithm, m.size_bytes, now_ns
        )
        if not mine:
            return None
        if len(self._puts) >= self._puts_max:
            admission.refuse(incoming, Reason.BUSY, named, retry_after_ns=RETRY_AFTER_NS)
            return None
        put = _Put(
            incoming.sender,
            incoming.operation_id,
            m.transfer_id,
            m.chid,
            m.hash_algorithm,
            m.size_bytes,
            (),
            now_ns,
        )
        self._puts[put.sender, put.transfer_id] = put
        self._sort_vdevs(put, named, mine, m.holders if type(m) is PutAccept else ())
        return put

    def _sort_vdevs(
        self, put: _Put, named: tuple[int, ...], mine: tuple[int, ...], holders: tuple[int, ...]
    ) -> None:
        """Each named VDEV holds what it has, waits for the payload, or refuses."""
        waiting = []
        for v in dict.fromkeys(named):
            view = self._admission.vdevs.get(v)
            if view is None or v not in mine:
                self._refuse(put, (v,), Reason.NOT_MEMBER)
            elif view.has(put.chid):
                self._hold(put, v)
            elif v in holders:
                self._refuse(put, (v,), Reason.NOT_FOUND_HERE)
            elif (reason := view.refusal(put.size_bytes)) is not None:
                self._refuse(put, (v,), reason)
            else:
                waiting.append(v)
        put.vdevs = tuple(waiting)

    def _open(self, put: _Put, datagram_bytes: int, authenticated: bool) -> bool:
        """Make room for the payload; False: turned away."""
        try:
            if buggify("chunks/no-buffer"):
                raise Full
            hashed = made_on_arrival(put.hash_algorithm)
            self._buffers.open(
                put.transfer_id, put.size_bytes, datagram_bytes, authenticated, hashed
            )
        except (Full, KeyError):  # no room, or a transfer id that is taken
            self._turn_away(put, Reason.BUSY)
            return False
        except ValueError:
            self._turn_away(put, Reason.BAD_REQUEST)
            return False
        self._by_transfer[put.transfer_id] = put
        for v in put.vdevs:
            self._reservations.backlog_bytes[v] += put.size_bytes
        return True

    def _watch(self, put: _Put, credit_bytes: int, now_ns: int) -> Receiver:
        receiver = Receiver(self._buffers, put.transfer_id, put.sender, credit_bytes, now_ns)
        put.receiver = receiver
        return receiver

    def _send_accepted(self, put: _Put, credit_bytes: int) -> None:
        accepted = PutAccepted(vdevs=put.vdevs, credit_bytes=credit_bytes, joined=put.joined)
        self._admission.send(put.sender, put.operation_id, accepted)

    def transfer_completed(self, transfer_id: bytes, now_ns: int) -> bool:
        """All bytes are in the buffer. False when the transfer is none of ours."""
        put = self._by_transfer.get(transfer_id)
        if put is None:
            return False
        proved = self._buffers.digest(transfer_id) == put.chid
        buffer = self._buffers.take(transfer_id)
        self._close(put)
        self._store(put, buffer, now_ns, proved=proved)
        self._finish_if_done(put, now_ns)
        return True

    def _store(self, put: _Put, buffer: BufferLike, now_ns: int, *, proved: bool = False) -> None:
        if not self._admission.lease.valid(now_ns):
            self._turn_away(put, Reason.NO_LEASE)
        missing = []
        for v in put.vdevs:
            if self._admission.vdevs[v].has(put.chid):
                self._hold(put, v)  # somebody else's put of the same content was faster
            else:
                missing.append(v)
                put.pending[v] = STORED
        if missing:
            event = StoreChunk(
                self._new_token(put), tuple(missing), put.chid, put.hash_algorithm, buffer, proved
            )
            self._admission.want(event)

    def _hold(self, put: _Put, vdev_index: int) -> None:
        put.pending[vdev_index] = HELD
        self._admission.want(StoreHold(self._new_token(put), vdev_index, put.chid))

    def _new_token(self, put: _Put) -> int:
        self._token += 1
        self._by_token[self._token] = put
        put.tokens.append(self._token)
        return self._token

    def stored(self, token: int, vdev_index: int, outcome: Reason | None, now_ns: int) -> None:
        """The store's word on one VDEV of a StoreChunk or StoreHold: None is durable."""
        put = self._by_token.get(token)
        if put is None or vdev_index not in put.pending:
            return
        kind = put.pending.pop(vdev_index)
        if outcome is None and not self._admission.lease.valid(now_ns):
            outcome = Reason.NO_LEASE  # it is there, but nobody may count on this target now
        there = kind == STORED or self._admission.vdevs[vdev_index].has(put.chid)
        if outcome is None and not there:
            outcome = Reason.NOT_FOUND_HERE  # set aside as damaged since the hold was asked for
        if outcome is not None:
            self._refuse(put, (vdev_index,), outcome)
        else:
            self._count_stored(put, vdev_index, kind, now_ns)
        self._finish_if_done(put, now_ns)

    def _count_stored(self, put: _Put, vdev_index: int, kind: int, now_ns: int) -> None:
        how = "stored" if kind == STORED else "held"
        self._admission.counters.count("chunks_stored", how)
        put.stored.append(
            VdevStored(
                vdev_index=vdev_index,
                kind=kind,
                service_ns=now_ns - put.started_ns,
                free_ppm=self._admission.vdevs[vdev_index].free_ppm(),
            )
        )

    def _refuse(self, put: _Put, vdevs: tuple[int, ...], reason: Reason) -> None:
        put.refused[reason] = (*put.refused.get(reason, ()), *vdevs)

    def _turn_away(self, put: _Put, reason: Reason) -> None:
        """No VDEV of ours takes the payload; holds go on."""
        self._refuse(put, put.vdevs, reason)
        put.vdevs = ()

    def _finish_if_done(self, put: _Put, now_ns: int) -> None:
        if put.receiver is not None or put.pending:
            return
        key = (put.sender, put.transfer_id)
        if self._puts.pop(key, None) is None:
            return
        for token in put.tokens:
            del self._by_token[token]
        messages: list[Message] = []
        if put.stored:
            messages.append(ChunkStored(chid=put.chid, vdevs=tuple(put.stored)))
        for reason, vdevs in put.refused.items():
            messages.append(self._admission.refused(reason, vdevs, RETRY_AFTER_NS))
        for message in messages:
            self._admission.send(put.sender, put.operation_id, message)
        if Reason.BUSY not in put.refused:  # asked again later, it may fit
            self._answers.remember(key, tuple(messages), now_ns)

    def _close(self, put: _Put) -> None:
        """The transfer is over: its buffer taken or dropped, its credit free for the next."""
        put.receiver = None
        del self._by_transfer[put.transfer_id]
        for v in put.vdevs:
            self._reservations.backlog_bytes[v] -= put.size_bytes
        self._credit.release(put.transfer_id)

    # -- rendezvous groups ------------------------------------------------------------

    def _join(self, number: int, now_ns: int) -> bool:
        """Is the group joined long enough to rely on? If not joined at all, ask for it."""
        if number == NO_MULTICAST or buggify("chunks/not-joined"):
            return False
        self._admission.want(JoinRendezvous(number))  # also refreshes its place in the LRU
        joined_ns = self._joined_ns.get(number)
        return joined_ns is not None and now_ns >= joined_ns + JOIN_SETTLE_NS

    def group_joined(self, number: int, now_ns: int) -> None:
        """The shell's sockets are members of this rendezvous group."""
        self._joined_ns.setdefault(number, now_ns)

    def group_left(self, number: int) -> None:
        """The shell dropped it from its LRU."""
        self._joined_ns.pop(number, None)

    # -- time and outputs ---------------------------------------------------------------

    def credit_granted(self, transfer_id: bytes, credit_bytes: int, now_ns: int) -> bool:
        """The pool has room for a put that waited. False when it is none of ours."""
        put = self._by_transfer.get(transfer_id)
        if put is None or put.receiver is None:
            return False
        put.receiver.moved_ns = now_ns
        self._admission.send(put.sender, put.operation_id, put.receiver.grant(credit_bytes, now_ns))
        return True

    def expire(self, now_ns: int) -> None:
        """Gap reports, idle transfers, old reservations."""
        self._reservations.expire(now_ns)
        for put in list(self._by_transfer.values()):
            receiver = put.receiver
            if receiver is not None and now_ns >= receiver.next_ns:
                self._check(put, receiver, now_ns)
        self._answers.expire(now_ns)

    def abandon(self, sender: NodeId, transfer_id: bytes, now_ns: int) -> None:
        """PAYLOAD_DONE: no more of it will come. Holds, and what is at the store, go on."""
        put = self._puts.get((sender, transfer_id))
        if put is not None and put.receiver is not None:
            self._buffers.close(transfer_id)
            self._close(put)
            self._finish_if_done(put, now_ns)  # nothing to say: the sender has gone

    def _check(self, put: _Put, receiver: Receiver, now_ns: int) -> None:
        report = receiver.check(now_ns)
        self._credit.left(put.transfer_id, put.size_bytes - receiver.received_bytes)
        if now_ns >= receiver.moved_ns + buggified("chunks/idle-early", self._idle_ns, 50 * MS):
            self._buffers.close(put.transfer_id)
            self._close(put)
            self._turn_away(put, Reason.BUSY)
            self._finish_if_done(put, now_ns)
        elif report is not None:
            self._admission.send(put.sender, put.operation_id, report)

    def deadline_ns(self) -> int | None:
        """The next gap report or reservation; old answers are forgotten when time passes anyway."""
        due_ns = self._reservations.due_ns
        if not self._by_transfer:
            return due_ns
        for put in self._by_transfer.values():
            receiver = put.receiver
            if receiver is not None and (due_ns is None or receiver.next_ns < due_ns):
                due_ns = receiver.next_ns
        return due_ns
