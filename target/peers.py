"""The peer channel: row messages and keys of pairs between targets over CURVE, driven by asyncio.

    channel = PeerChannel(hub, node_id, bind, key_pair, allow, on_messages, counters)
    channel.update(table)         connections follow the table
    channel.send(node_id, message)    never waits; False = dropped, rows ask again

What may go over UDP instead is row_paths.py's to say.

One server socket, and one client socket per other target, which only sends; so who speaks is
always known from the key, and replies go by the other side's own client. A message is delivered
in on_messages([(message, node_id of the key's owner)]); only targets and voters may speak here.
Limits: ZeroMQ's bounded queues; messages above their size are refused by libzmq.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from replicast.buggify import buggify
from replicast.curve import Allow, CurveClient, CurveHub, CurveServer, Received
from replicast.flexhash.table import Table
from replicast.keys import Identity, KeyPair, Role
from replicast.machine import Address, NodeId
from replicast.metrics import Counters
from replicast.target.names.outbox import MESSAGE_OF
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.row_messages import PairKey
from replicast.wire.schema import Message

log = logging.getLogger(__name__)

CHANNEL = "peer"
MESSAGE_BYTES_MAX = 16 << 20
PEER_MESSAGES: tuple[type[Message], ...] = (*MESSAGE_OF.values(), PairKey)
SPEAKERS = (Role.TARGET, Role.VOTER)

OnMessages = Callable[[list[tuple[Message, NodeId]]], None]


class PeerChannel:
    """One target's end of the channels to all others. Make it inside the running loop."""

    def __init__(
        self,
        hub: CurveHub,
        node_id: NodeId,
        bind: Address,
        key_pair: KeyPair,
        allow: Allow,
        on_messages: OnMessages,
        counters: Counters,
    ) -> None:
        self._hub, self._node_id, self._key_pair = hub, node_id, key_pair
        self._on_messages, self._counters = on_messages, counters
        self._clients: dict[NodeId, tuple[Address, str, CurveClient]] = {}
        self._server: CurveServer = hub.server(
            CHANNEL, bind, key_pair, allow, message_bytes_max=MESSAGE_BYTES_MAX
        )
        self._server.hand_to(self._read)

    @property
    def address(self) -> Address:
        """Where peers reach us."""
        return self._server.address

    def update(self, table: Table) -> None:
        """Connect to the targets of a table, leave those that are gone or moved."""
        wanted = {
            entry.node_id: (entry.peer, entry.public_key)
            for entry in table.targets.values()
            if entry.node_id != self._node_id
        }
        for node_id, (address, key, client) in list(self._clients.items()):
            if wanted.get(node_id) != (address, key):
                client.close()
                del self._clients[node_id]
        for node_id, (address, key) in wanted.items():
            if node_id not in self._clients:
                client = self._hub.client(
                    CHANNEL, address, key, self._key_pair, message_bytes_max=MESSAGE_BYTES_MAX
                )
                client.hear_nothing()  # answers come by the other's own client
                self._clients[node_id] = (address, key, client)

    def send(self, node_id: NodeId, message: Message) -> bool:
        """Hand a message over; False when there is no connection or its queue is full."""
        known = self._clients.get(node_id)
        if known is None or buggify("names/message-lost"):
            return False
        return known[2].send(pack_frame(message))

    async def close(self) -> None:
        """Close all sockets."""
        for _, _, client in self._clients.values():
            client.close()
        self._clients.clear()
        self._server.close()

    def _read(self, frames: list[Received]) -> None:
        batch: list[tuple[Message, NodeId]] = []
        for received in frames:
            message = self._decode(received.identity, received.frame)
            if message is not None:
                batch.append((message, received.identity.node_id))
        if batch:
            self._deliver(batch)

    def _deliver(self, batch: list[tuple[Message, NodeId]]) -> None:
        try:
            self._on_messages(batch)
        except Exception:  # the last resort of a shell: one message must not end the channel
            log.exception("row messages could not be handled")
            self._counters.count("row_entries_refused", "internal")

    def _decode(self, identity: Identity, frame: bytes) -> Message | None:
        try:
            message, _, _ = unpack_frame(frame)
        except WireError as error:
            self._counters.count("row_entries_refused", error.reason)
            return None
        if not isinstance(message, PEER_MESSAGES) or identity.role not in SPEAKERS:
            self._counters.count("row_entries_refused", "role")
            return None
        return message
