"""The last messages sent, so that first contact and lost fragments cost no time-out.

A receiver that does not know our session (it restarted, or we did) drops what it
got and challenges it by counter. What it named is then sent to it again, at once.
A receiver that lacks fragments of a message names them and gets these again.

Those in fragments are kept apart, where the many small ones do not take their place: one that is
not repaired is a loss of all its fragments, and the next try loses some again.

Limits: bounded in count, bytes and age; each message goes again at most once to
each node, its copies at most TRIES_MAX times in a row, its fragments in at most
REPAIRS_MAX rounds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from replicast.machine import Destination, NodeId
from replicast.wire.header_pure import HEADER_BYTES

TRIES_MAX = 3
COPIES_MAX = 64
REPAIRS_MAX = 8
AGE_MAX_NS = 2_000_000_000


@dataclass(slots=True)
class Sent:
    """One message as it was sent; `counter` is that of the first of its datagrams, one for each
    fragment. Its body is kept in them alone."""

    to: Destination
    flags: int
    type: int
    operation_id: bytes
    generation: int
    sent_ns: int
    tries: int = 1
    counter: int = 0
    datagrams: tuple[bytes, ...] = ()
    body_bytes: int = 0
    repairs: int = 0
    again: tuple[NodeId, ...] = ()

    @property
    def body(self) -> bytes:
        """All pieces, joined."""
        return b"".join([memoryview(datagram)[HEADER_BYTES:] for datagram in self.datagrams])


class Ring:
    """Some of them, oldest first. Adding is what happens with every message; that one is
    asked for is rare, so there is no index."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._ring: deque[Sent] = deque(maxlen=count_max)
        self._bytes = 0

    def add(self, sent: Sent) -> None:
        """Remember; the oldest make room."""
        ring = self._ring
        if len(ring) == self._count_max:  # then the oldest falls out
            self._bytes -= ring[0].body_bytes
        ring.append(sent)
        self._bytes += sent.body_bytes
        while self._bytes > self._bytes_max:
            self._bytes -= ring.popleft().body_bytes

    def find(self, counter: int) -> Sent | None:
        """The one that used this counter."""
        for sent in reversed(self._ring):  # counters only grow
            if sent.counter <= counter:
                return sent if counter < sent.counter + len(sent.datagrams) else None
        return None


class RecentMessages:
    """Messages of one datagram, and those in fragments, each as Sent."""

    def __init__(self, whole: Ring, cut: Ring) -> None:
        """`cut`: for those in fragments."""
        self._whole, self._cut = whole, cut

    def add(self, sent: Sent) -> None:
        """Remember; the oldest make room."""
        (self._whole if len(sent.datagrams) < 2 else self._cut).add(sent)

    def claim(self, counter: int, node_id: NodeId, now_ns: int) -> Sent | None:
        """The message that used `counter`, if it may go to this node again; marks it as gone."""
        sent = self._find(counter)
        if sent is None or now_ns - sent.sent_ns > AGE_MAX_NS or sent.tries >= TRIES_MAX:
            return None
        if node_id in sent.again or len(sent.again) >= COPIES_MAX:
            return None
        if isinstance(sent.to, int) and sent.to != node_id:
            return None
        sent.again += (node_id,)
        return sent

    def repair(self, counter: int, node_id: NodeId, now_ns: int) -> Sent | None:
        """The message to this node whose fragment 0 had `counter`; counts the round."""
        sent = self._find(counter)
        if sent is None or sent.counter != counter or sent.to != node_id:
            return None
        if now_ns - sent.sent_ns > AGE_MAX_NS:
            return None
        sent.repairs += 1
        return sent if sent.repairs <= REPAIRS_MAX else None

    def _find(self, counter: int) -> Sent | None:
        return self._whole.find(counter) or self._cut.find(counter)
