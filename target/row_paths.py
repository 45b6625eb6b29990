"""Which way a row message goes to another target: over UDP under the key of the pair, or over CURVE.

    follower                               leader
      | <------------- ROW_APPEND, CURVE -- |
      | -- PAIR_KEY, CURVE ---------------> |  the key that the leader's datagrams need from now
      | <--------------- ROW_APPEND, UDP -- |  no thread between, no encryption; but it may be lost
      | -- ROW_STATUS, UDP ---------------> |  the way that the last ROW_APPEND came

Who hears one of the two over CURVE, or is asked there where it stands, tells the sender a key; that
mends whatever either side has forgotten by a restart. An answer goes the way that the leader spoke last. A ROW_APPEND that brings no answer
is sent once more the same way: a datagram was lost, or the peer has much to do, and CURVE would be
more to do. The next time it goes over CURVE and rests the UDP way of that peer, longer when the last rest
is not long ago: so a path on which very many datagrams are lost, or all, costs about as much as if it
were not there. All that is large, rare or
more than the peer's socket may hold goes over CURVE, which waits where UDP would lose.

A core: no socket, clock or random source (the keys are made by `new_key`).
Limits: one entry for each target of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from replicast.buggify import buggify
from replicast.machine import NodeId
from replicast.target.names.store import SendPeer
from replicast.units import KIB, MS, SECOND
from replicast.wire.row_messages import RowAppend, RowQuery, RowStatus
from replicast.wire.schema import Message

MESSAGE_BYTES_MAX = 256 * KIB
TELL_AGAIN_NS = 1 * SECOND
# An answer to a query brings entries, by a key of our last life if we have told no other.
KEY_FOR = RowAppend, RowStatus, RowQuery
REST_NS, REST_NS_MAX = 100 * MS, 10 * SECOND
WORKED_TIMES = (
    4  # what a way has worked between two rests, in lengths of the first, for a shorter one
)
# So many bytes in such a time are a burst: what follows rests for as long as it goes on, that rows
# do not change their way all the time (what overtakes the message before is refused).
BURST_NS, BURST_REST_NS = 5 * MS, 1 * SECOND


@dataclass(slots=True)
class _Peer:
    """Times in ns. `until_ns`: the end of its rest, the last of which took `rest_ns`."""

    told_ns: int | None = None
    until_ns: int = 0
    rest_ns: int = 0
    burst_ns: int = 0
    burst_bytes: int = 0
    heard_by_udp: bool = False  # what it said last as a leader


class RowPaths:
    """Of one target to all others."""

    def __init__(self, new_key: Callable[[], bytes], burst_bytes: int) -> None:
        """`burst_bytes`: what may be on its way to one peer within BURST_NS."""
        self._new_key, self._burst_bytes = new_key, burst_bytes
        self._peers: dict[NodeId, _Peer] = {}
        self._keys: dict[NodeId, bytes] = {}

    def keep(self, others: Container[NodeId]) -> None:
        """Forget all but these: they are in no table any more."""
        self._peers = {node: peer for node, peer in self._peers.items() if node in others}
        self._keys = {node: key for node, key in self._keys.items() if node in others}

    # -- keys -------------------------------------------------------------------------

    def heard_over_curve(self, node_id: NodeId, message: Message, now_ns: int) -> bytes | None:
        """The key to be told to a node that has said what could have gone over UDP, or will go there
        next, unless it was told that just now."""
        peer = self._peer(node_id)
        if not isinstance(message, RowStatus):
            peer.heard_by_udp = False
        if not isinstance(message, KEY_FOR):
            return None
        if peer.told_ns is not None and now_ns < peer.told_ns + TELL_AGAIN_NS:
            return None
        peer.told_ns = now_ns
        if node_id not in self._keys:
            self._keys[node_id] = self._new_key()
        return self._keys[node_id]

    # -- the choice -------------------------------------------------------------------

    def by_udp(self, event: SendPeer, now_ns: int) -> bool:
        """Does it go over UDP, where there is a key for that?"""
        peer, message = self._peers.get(event.node_id) or self._peer(event.node_id), event.message
        if type(message) is RowStatus:
            return peer.heard_by_udp
        if type(message) is not RowAppend:
            return False
        if event.again:
            if now_ns >= peer.until_ns:
                self._rest(peer, now_ns)
            return False
        if now_ns < peer.until_ns or event.size_bytes > MESSAGE_BYTES_MAX:
            return False
        if buggify("names/other-way"):
            return False
        if now_ns >= peer.burst_ns + BURST_NS:
            peer.burst_ns, peer.burst_bytes = now_ns, 0
        peer.burst_bytes += event.size_bytes
        if peer.burst_bytes > self._burst_bytes:
            peer.until_ns = now_ns + BURST_REST_NS
            return False
        return True

    def heard_over_udp(self, node_id: NodeId, message: RowAppend | RowStatus) -> None:
        """The way from there is open."""
        if type(message) is RowAppend:
            peer = self._peers.get(node_id) or self._peer(node_id)
            peer.heard_by_udp = True

    @staticmethod
    def _rest(peer: _Peer, now_ns: int) -> None:
        worked = now_ns >= peer.until_ns + WORKED_TIMES * peer.rest_ns
        wanted_ns = peer.rest_ns // 2 if worked else 2 * peer.rest_ns
        peer.rest_ns = min(REST_NS_MAX, max(REST_NS, wanted_ns))
        peer.until_ns = now_ns + peer.rest_ns

    def _peer(self, node_id: NodeId) -> _Peer:
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _Peer()
        return peer
