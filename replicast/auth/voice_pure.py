"""What an endpoint says, datagram by datagram: the definition (native/_voice.pyx: the twin).

send() seals all datagrams of a message, emit() one of them once more; say() is the way of the usual
message, to one node, in one call. What goes to groups or has nowhere to go is the endpoint's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from replicast.auth.gate_pure import PAIR_TYPES, UDP_TYPE_MAX
from replicast.auth.keyring import KeyRing, node_tag
from replicast.auth.recent import RecentMessages, Sent
from replicast.auth.seal_pure import Sealer
from replicast.machine import Address, Group, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.wire.codec_pure import WireError, encode
from replicast.wire.fragment import fragment_count, piece_of
from replicast.wire.header_pure import HEADER_BYTES, PAIR
from replicast.wire.schema import Message

PAIR_EPOCH = 0  # in the header of what is MACed with the key of a pair


class Datagram(NamedTuple):
    """One datagram for the shell to send: to an address, or to a group's address."""

    to: Address | Group
    payload: bytes


class Voice:
    """One endpoint's: its keys, the addresses of the table, its last counter, and what is queued."""

    def __init__(
        self,
        node_id: NodeId,
        session: int,
        keys: KeyRing,
        learned: Callable[[NodeId], Address | None],
        recent: RecentMessages,
        counters: Counters,
        body_bytes_max: int,
    ) -> None:
        """`learned`: the addresses of nodes that are not in the table."""
        self._node_id, self._session = node_id, session
        self._learned, self._recent, self._counters = learned, recent, counters
        self._body_bytes_max = body_bytes_max
        self._sealer = Sealer()
        self.keys = keys
        self.spoken_keys: dict[NodeId, tuple[int, bytes]] = {}  # with the session of that node
        self.addresses: dict[NodeId, Address] = {}
        self.counter = 0
        self.datagrams: list[Datagram] = []

    def say(
        self, outgoing: Outgoing, to: NodeId, body: bytes | None, room_bytes: int, now_ns: int
    ) -> bool:
        """Queue and remember a message to a node, in datagrams of at most `room_bytes` of its body.

        `body` None: encoded here. False: it takes more, and nothing was done. Raises WireError
        (range, oversize).
        """
        number = outgoing.message.TYPE
        flags = PAIR if number > UDP_TYPE_MAX else 0
        if flags and (number not in PAIR_TYPES or to not in self.spoken_keys):
            return False
        address = self.addresses.get(to) or self._learned(to)
        if address is None:
            return False
        if body is None:
            body = self.encode(outgoing.message)
        sent = Sent(to, flags, number, outgoing.operation_id, outgoing.generation, now_ns)
        self.send(address, node_tag(to), sent, body, room_bytes)
        self._recent.add(sent)
        return True

    def encode(self, message: Message) -> bytes:
        """The body of a message that leaves, counted. Raises WireError (range, oversize)."""
        body = encode(message)
        if len(body) > self._body_bytes_max:
            raise WireError("oversize")
        self._counters.count("messages_sent", message.NAME)
        return body

    def send(
        self, to: Address | Group, tag: bytes, sent: Sent, body: bytes, room_bytes: int
    ) -> None:
        """Number a message, and queue its datagrams, which are kept in `sent`."""
        count = fragment_count(len(body), room_bytes)
        sent.counter, sent.body_bytes = self.counter + 1, len(body)
        self.counter += count
        sealing = self._sealing(sent, count)
        if sealing is not None:
            sent.datagrams = tuple(
                self._seal(sealing, tag, sent, index, count, piece_of(body, room_bytes, index))
                for index in range(count)
            )
            self.datagrams += [Datagram(to, datagram) for datagram in sent.datagrams]

    def emit(self, to: Address | Group, tag: bytes, sent: Sent, index: int) -> None:
        """Queue one datagram of a message once more, under the key of now."""
        sealing = self._sealing(sent, 1)
        if sealing is not None:
            piece, count = sent.datagrams[index][HEADER_BYTES:], len(sent.datagrams)
            datagram = self._seal(sealing, tag, sent, index, count, piece)
            self.datagrams.append(Datagram(to, datagram))

    def _sealing(self, sent: Sent, count: int) -> tuple[int, bytes] | None:
        """Epoch and key for `count` datagrams; None, and counted, without one for the pair."""
        if not sent.flags & PAIR:
            return self.keys.current, self.keys.mac_keys[self.keys.current]
        assert isinstance(sent.to, int), "a pair has no groups"
        spoken = self.spoken_keys.get(sent.to)
        if spoken is None:
            self._counters.count("datagrams_dropped", "no_pair_key", by=count)
            return None
        return PAIR_EPOCH, spoken[1]

    def _seal(
        self,
        sealing: tuple[int, bytes],
        tag: bytes,
        sent: Sent,
        index: int,
        count: int,
        piece: bytes,
    ) -> bytes:
        epoch, key = sealing
        return self._sealer.seal(
            key,
            tag,
            sent.type,
            sent.flags,
            epoch,
            sent.generation,
            sent.operation_id,
            self._node_id,
            self._session,
            sent.counter + index,
            index,
            count,
            piece,
        )
