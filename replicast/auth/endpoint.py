"""The endpoint: datagrams of strangers in, authenticated messages out, and back.

A core like the others (no socket, clock or random source); it stands between a
daemon's UDP shell and its protocol cores:

    shell -- receive(datagram) --> checks, session, fragments, decode --> Incoming
    core  -- Outgoing --> send() --> encode, fragments, counter, MAC --> take_datagrams()

The usual datagram passes through a Gate, the usual message through a Voice; the rest is here.

Invariants: nothing is delivered that is not MACed for this node (or a group it
hears) by a holder of a valid key, in a session that answered our challenge,
under a counter not seen before (one fragment's, for a message of several). What only one node may say is MACed with the key that we gave
to it alone (PAIR_TYPES, and the flag PAIR). A datagram that fails is dropped and counted by
reason; only an authentic one of an unknown session is answered, by a challenge
that is never longer. receive() never raises. Messages that belong on CURVE
channels are refused in both directions, whoever signs them.

Limits: EndpointLimits bounds everything that is kept; datagrams wait here only
from one call to the next take_datagrams().
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from replicast.auth.gate import Gate
from replicast.auth.gate_pure import PAIR_TYPES, UDP_TYPE_MAX, Held
from replicast.auth.keyring import GROUP_KINDS, GROUP_NAMES, KeyRing, group_tag, node_tag
from replicast.auth.recent import RecentMessages, Ring, Sent
from replicast.auth.session import Sessions
from replicast.auth.voice import Voice
from replicast.auth.voice_pure import PAIR_EPOCH, Datagram
from replicast.buggify import buggify
from replicast.machine import (
    Address,
    Group,
    Incoming,
    NodeId,
    Outgoing,
    earliest,
)
from replicast.metrics import Counters
from replicast.wire.codec import WireError, decode, decode_pieces
from replicast.wire.fragment import Assembler, FragmentLimits, Gaps
from replicast.wire.header import COPY, HEADER_BYTES, KIND_MASK, PAIR, Header
from replicast.wire.schema import Message
from replicast.wire.session_messages import (
    GAP_RUNS_MAX,
    SESSION_TYPES,
    Challenge,
    ChallengeAnswer,
    FragmentGaps,
    IndexRun,
    pack_pair,
    unpack_pair,
)

COPIED_GROUP = 0xFFFF  # Group.number of a unicast copy: the group's kind is known, not its number
DATAGRAM_BYTES_MIN = 512
# All fragments but the last fill their datagram: so the pieces that are kept cannot be tiny.
ROOM_BYTES_MIN = DATAGRAM_BYTES_MIN - HEADER_BYTES
FRAGMENTS_MAX = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLimits:
    """What one endpoint keeps of others and for others."""

    peers_max: int = 4096
    challenges_max: int = 1024
    recent_count_max: int = 256
    recent_bytes_max: int = 4 << 20
    # In fragments: what a receiver holds of unfinished ones of one sender, for some receivers.
    recent_cut_count_max: int = 1024
    recent_cut_bytes_max: int = 8 << 20
    fragments: FragmentLimits = field(default_factory=FragmentLimits)


class Endpoint:
    """One node's place on the storage network."""

    def __init__(
        self,
        node_id: NodeId,
        session: int,
        keys: KeyRing,
        rng: random.Random,
        counters: Counters,
        datagram_bytes_max: int,
        limits: EndpointLimits | None = None,
    ) -> None:
        """`rng` makes nonces: random.SystemRandom() in production. `session`: make_session()."""
        if datagram_bytes_max < DATAGRAM_BYTES_MIN:
            raise ValueError(f"datagrams of at least {DATAGRAM_BYTES_MIN} bytes are needed")
        limits = limits or EndpointLimits()
        self.node_id = node_id
        self.session = session
        self._counters = counters
        self._room_bytes = datagram_bytes_max - HEADER_BYTES
        self._message_bytes_max = min(
            limits.fragments.message_bytes_max, self._room_bytes * FRAGMENTS_MAX
        )
        self._narrow_rooms: Mapping[Address | Group, int] = {}
        self.due_moved = False  # deadline_ns() may have, since it was asked
        self._sessions = Sessions(rng, limits.peers_max, limits.challenges_max)
        self._assembler = Assembler(limits.fragments, HEADER_BYTES)
        self._gate = Gate(node_tag(node_id), self._sessions.hears, counters)
        self._gate.mac_keys = keys.mac_keys
        self._recent = RecentMessages(
            Ring(limits.recent_count_max, limits.recent_bytes_max),
            Ring(limits.recent_cut_count_max, limits.recent_cut_bytes_max),
        )
        learned, body_bytes_max = self._sessions.addresses.get, self._message_bytes_max
        self._voice = Voice(node_id, session, keys, learned, self._recent, counters, body_bytes_max)

    # -- settings ------------------------------------------------------------------

    def set_keys(self, keys: KeyRing) -> None:
        """Key rotation: what was valid before and is not in `keys` is refused from now."""
        self._gate.mac_keys, self._voice.keys = keys.mac_keys, keys

    def set_heard_key(self, node_id: NodeId, key: bytes) -> None:
        """What this node says as a pair is MACed with that from now."""
        self._gate.heard_keys[node_id] = {PAIR_EPOCH: key}

    def set_spoken_key(self, node_id: NodeId, session: int, key: bytes) -> None:
        """What we say to this node as a pair is MACed with that, until it is known to have another
        session; it told us so."""
        self._voice.spoken_keys[node_id] = session, key

    def speaks_to(self, node_id: NodeId) -> bool:
        """Is there a key for what we say to this node as a pair?"""
        return node_id in self._voice.spoken_keys

    def forget_pairs(self, others: Container[NodeId]) -> None:
        """But with these."""
        heard, spoken = self._gate.heard_keys, self._voice.spoken_keys
        self._gate.heard_keys = {node: keys for node, keys in heard.items() if node in others}
        self._voice.spoken_keys = {node: key for node, key in spoken.items() if node in others}

    def set_address(self, node_id: NodeId, address: Address) -> None:
        """Where a node of the table is; goes before what its datagrams say."""
        self._voice.addresses[node_id] = address

    def set_addresses(self, addresses: Mapping[NodeId, Address]) -> None:
        """All nodes of the table: replaces what set_address() said."""
        self._voice.addresses = dict(addresses)

    def set_narrow(self, datagram_bytes_max: Mapping[Address, int]) -> None:
        """The longest datagrams to the peers that can be sent less than the others."""
        self._narrow_rooms = {
            address: max(most, DATAGRAM_BYTES_MIN) - HEADER_BYTES
            for address, most in datagram_bytes_max.items()
        }

    def address_of(self, node_id: NodeId) -> Address | None:
        """From the table, or learned from the node's last authenticated datagram."""
        return self._voice.addresses.get(node_id) or self._sessions.addresses.get(node_id)

    # -- out -----------------------------------------------------------------------

    def send(self, outgoing: Outgoing, now_ns: int) -> None:
        """Queue the datagrams of one message. Raises WireError (range, oversize) for a bad one."""
        to = outgoing.to
        if (
            type(to) is int
            and not self._narrow_rooms
            and self._voice.say(outgoing, to, None, self._room_bytes, now_ns)
        ):
            return  # nearly all
        self._transmit(*self._encoded(outgoing, now_ns))

    def send_many(self, outgoing: Outgoing, nodes: Iterable[NodeId], now_ns: int) -> None:
        """The same message to each node by unicast: how a Group is reached without multicast."""
        sent, body = self._encoded(outgoing, now_ns)
        say, narrow, room_bytes = self._voice.say, self._narrow_rooms, self._room_bytes
        for node_id in nodes:
            if narrow or not say(outgoing, node_id, body, room_bytes, now_ns):
                self._transmit(replace(sent, to=node_id, flags=0), body)

    def take_datagrams(self) -> list[Datagram]:
        """All datagrams queued since the last call, in order."""
        taken, self._voice.datagrams = self._voice.datagrams, []
        return taken

    def _encoded(self, outgoing: Outgoing, now_ns: int) -> tuple[Sent, bytes]:
        to, message = outgoing.to, outgoing.message
        number = message.TYPE
        flags = GROUP_KINDS[to.kind] if isinstance(to, Group) else 0
        if number > UDP_TYPE_MAX:
            if number not in PAIR_TYPES or isinstance(to, Group):
                raise ValueError(f"{message.NAME} does not travel over UDP")
            flags = PAIR
        sent = Sent(to, flags, number, outgoing.operation_id, outgoing.generation, now_ns)
        return sent, self._voice.encode(message)

    def _transmit(self, sent: Sent, body: bytes, source: Address | None = None) -> None:
        """`source`: where to when the node has no known address."""
        node = sent.to
        to: Address | Group | None
        if isinstance(node, Group):
            to, tag = node, group_tag(node)
        else:
            to, tag = self.address_of(node) or source, node_tag(node)
        if to is None:
            self._counters.count("datagrams_dropped", "no_address")
            return
        self._voice.send(to, tag, sent, body, self._narrow_rooms.get(to, self._room_bytes))
        self._recent.add(sent)

    # -- in ------------------------------------------------------------------------

    def receive(
        self, datagram: bytes, source: Address, group: Group | None, now_ns: int
    ) -> Incoming | None:
        """The message that `datagram` completes, if any. `group`: whose address it came to."""
        try:
            opened = self._gate.open(datagram, source, group)
            if type(opened) is not Held:  # nearly all
                return opened
            self.due_moved = True
            return self._on_held(opened, datagram, source, group, now_ns)
        except WireError as error:
            self._counters.count("datagrams_dropped", error.reason)
            return None

    def _on_held(
        self, held: Held, datagram: bytes, source: Address, group: Group | None, now_ns: int
    ) -> Incoming | None:
        header = held.header
        if not held.known:
            if header.type not in SESSION_TYPES:
                self._send_challenge(header, source, now_ns)
                raise WireError("unknown_session")
            self._on_session_message(header, source, now_ns)
            return None
        if header.fragment_count == 1:
            message = decode(header.type, datagram, HEADER_BYTES)
        else:
            whole = self._assemble(held, datagram, source, now_ns)
            if whole is None:
                return None
            message = decode_pieces(header.type, whole, HEADER_BYTES)
        return self._deliver(header, message, source, group, now_ns)

    def _deliver(
        self,
        header: Header,
        message: Message,
        source: Address,
        group: Group | None,
        now_ns: int,
    ) -> Incoming | None:
        if isinstance(message, FragmentGaps):
            self._on_fragment_gaps(message, header.sender, source, now_ns)
            return None
        self._counters.count("messages_received", message.NAME)
        if header.flags & COPY:
            group = Group(GROUP_NAMES[header.flags & KIND_MASK], COPIED_GROUP)
        return Incoming(
            message, header.sender, header.operation_id, header.generation, source, group
        )

    def _assemble(
        self, held: Held, datagram: bytes, source: Address, now_ns: int
    ) -> list[bytes] | None:
        header = held.header
        size = header.body_bytes  # the gate saw that it is right
        whole = header.fragment_index == header.fragment_count - 1 or size >= ROOM_BYTES_MIN
        if header.fragment_count > self._message_bytes_max or not size or not whole:
            raise WireError("fragment")
        if header.counter <= header.fragment_index:
            raise WireError("fragment")  # fragment 0 would have no counter
        key = (header.sender, header.session, header.counter - header.fragment_index)
        if not held.new and not self._assembler.lacks(key, header.fragment_index):
            raise WireError("replay")
        meta = (header.type, header.operation_id, header.generation, header.fragment_count)
        return self._assembler.add(key, header.fragment_index, meta, datagram, source, now_ns)

    def _on_fragment_gaps(
        self, gaps: FragmentGaps, sender: NodeId, source: Address, now_ns: int
    ) -> None:
        sent = self._recent.repair(gaps.counter, sender, now_ns)
        gone = gaps.session != self.session or buggify("auth/fragment-gone")
        if sent is None or gone:
            raise WireError("fragment_gone")
        to, tag = self.address_of(sender) or source, node_tag(sender)
        count = len(sent.datagrams)
        asked = {i: None for run in gaps.runs for i in range(run.start, min(run.end, count))}
        for index in asked:
            self._voice.emit(to, tag, sent, index)
        self._counters.count("fragments_resent", by=len(asked))

    def _ask_for(self, gaps: Gaps, now_ns: int) -> None:
        sender, session, counter = gaps.key
        runs = tuple(IndexRun(start=start, end=end) for start, end in gaps.runs)
        ask = Outgoing(
            FragmentGaps(session=session, counter=counter, runs=runs), sender, gaps.operation_id, 0
        )
        self._transmit(*self._encoded(ask, now_ns), gaps.source)

    # -- sessions ------------------------------------------------------------------

    def _send_challenge(self, header: Header, source: Address, now_ns: int) -> None:
        if self._sessions.retired(header.sender, header.session):
            raise WireError("old_session")
        nonce = self._sessions.ask(header.sender, header.session, now_ns)
        identity = pack_pair(nonce, header.session)
        self._send_bare(Challenge.TYPE, header.sender, identity, header.counter, source, now_ns)
        self._counters.count("sessions", "challenged")

    def _send_bare(
        self,
        number: int,
        node_id: NodeId,
        operation_id: bytes,
        generation: int,
        to: Address,
        now_ns: int,
    ) -> None:
        sent = Sent(node_id, 0, number, operation_id, generation, now_ns)
        self._voice.send(to, node_tag(node_id), sent, b"", self._room_bytes)

    def _on_session_message(self, header: Header, source: Address, now_ns: int) -> None:
        if header.body_bytes or header.fragment_count != 1 or header.flags:
            raise WireError("trailing")
        if header.type == Challenge.TYPE:
            self._on_challenge(header, source, now_ns)
        else:
            self._on_challenge_answer(header, source, now_ns)

    def _on_challenge(self, header: Header, source: Address, now_ns: int) -> None:
        nonce, challenged = unpack_pair(header.operation_id)
        if challenged != self.session:
            raise WireError("challenge")  # meant for an earlier start of this node
        peer = self._sessions.peer(header.sender)
        ask = 0
        if peer is None or peer.session != header.session:
            if self._sessions.retired(header.sender, header.session):
                raise WireError("old_session")
            ask = self._sessions.ask(header.sender, header.session, now_ns)
        elif not peer.accept(None, header.counter):
            raise WireError("replay")
        answer = pack_pair(nonce, ask)
        self._send_bare(ChallengeAnswer.TYPE, header.sender, answer, 0, source, now_ns)
        self._counters.count("sessions", "answered")
        self._send_again(header, source, now_ns)

    def _send_again(self, header: Header, source: Address, now_ns: int) -> None:
        """What the challenge named goes again; a group's message as a copy for this one member."""
        sent = self._recent.claim(header.generation, header.sender, now_ns)
        if sent is None:
            return
        copy = Sent(
            to=header.sender,
            flags=sent.flags | COPY if sent.flags & KIND_MASK else sent.flags,
            type=sent.type,
            operation_id=sent.operation_id,
            generation=sent.generation,
            sent_ns=now_ns,
            tries=sent.tries + 1,
        )
        self._transmit(copy, sent.body, source)
        self._counters.count("sessions", "resent")

    def _on_challenge_answer(self, header: Header, source: Address, now_ns: int) -> None:
        nonce, ask = unpack_pair(header.operation_id)
        if not self._sessions.confirm(header.sender, header.session, nonce, header.counter, source):
            raise WireError("unexpected_answer")
        self._counters.count("sessions", "confirmed")
        spoken = self._voice.spoken_keys.get(header.sender)
        if spoken is not None and spoken[0] != header.session:
            del self._voice.spoken_keys[header.sender]  # it has started anew and forgotten that key
        if ask:
            answer = pack_pair(ask, 0)
            self._send_bare(ChallengeAnswer.TYPE, header.sender, answer, 0, source, now_ns)

    # -- time ----------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        """Give up old unfinished messages and unanswered challenges; ask for lost fragments."""
        self.due_moved = True
        late = self._assembler.expire(now_ns)
        if late:
            self._counters.count("datagrams_dropped", "fragment_age", by=late)
        for gaps in self._assembler.take_gaps(now_ns, GAP_RUNS_MAX):
            self._ask_for(gaps, now_ns)
        self._sessions.expire(now_ns)

    def deadline_ns(self) -> int | None:
        """When to call expire() next."""
        self.due_moved = False
        due_ns = self._assembler.deadline_ns()
        return earliest(due_ns, self._sessions.deadline_ns()) if self._sessions.asked else due_ns
