"""What an endpoint says, datagram by datagram: the definition (native/_voice.pyx: the twin).

emit() seals any datagram; say() is the way of the usual message, one datagram to one node, in
one call. What is longer, goes to groups or has nowhere to go is the endpoint's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from replicast.auth.gate_pure import UDP_TYPE_MAX
from replicast.auth.keyring import KeyRing, node_tag
from replicast.auth.recent import RecentMessages, Sent
from replicast.auth.seal_pure import Sealer
from replicast.machine import Address, Group, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.wire.fragment import piece_of
from replicast.wire.header_pure import PAIR

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
    ) -> None:
        """`learned`: the addresses of nodes that are not in the table."""
        self._node_id, self._session = node_id, session
        self._learned, self._recent, self._counters = learned, recent, counters
        self._sealer = Sealer()
        self.keys = keys
        self.spoken_keys: dict[NodeId, tuple[int, bytes]] = {}  # with the session of that node
        self.addresses: dict[NodeId, Address] = {}
        self.counter = 0
        self.datagrams: list[Datagram] = []

    def say(
        self, outgoing: Outgoing, to: NodeId, body: bytes, room_bytes: int, now_ns: int
    ) -> bool:
        """Queue and remember a message to a node; False: it takes more, and nothing was done."""
        address = self.addresses.get(to) or self._learned(to)
        number = outgoing.message.TYPE
        flags = PAIR if number > UDP_TYPE_MAX else 0
        if address is None or len(body) > room_bytes or (flags and to not in self.spoken_keys):
            return False
        identity, generation = outgoing.operation_id, outgoing.generation
        tag = node_tag(to)
        self.counter += 1
        sent = Sent(
            *(to, flags, number, identity, generation, body, now_ns),
            counter=self.counter,
            room_bytes=room_bytes,
        )
        self.emit(address, tag, sent, 0)
        self._recent.add(sent)
        return True

    def emit(self, to: Address | Group, tag: bytes, sent: Sent, index: int) -> None:
        """Queue one datagram of a message, with piece `index` of its body."""
        epoch = self.keys.current
        if sent.flags & PAIR:
            assert isinstance(sent.to, int), "a pair has no groups"
            spoken = self.spoken_keys.get(sent.to)
            if spoken is None:
                self._counters.count("datagrams_dropped", "no_pair_key")
                return
            epoch, key = PAIR_EPOCH, spoken[1]
        else:
            key = self.keys.mac_keys[epoch]
        payload = self._sealer.seal(
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
            sent.count,
            piece_of(sent.body, sent.room_bytes, index),
        )
        self.datagrams.append(Datagram(to, payload))
