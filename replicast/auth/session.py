"""Sessions of peers: which one is alive, and which of its datagrams are new.

A session is u64: the sender's boot number (kept durable) above 32 random bits.
A peer's session counts once it answered our challenge; the answer's counter is
the floor, so nothing recorded before can be replayed. From then each counter is
accepted once, within a window, separately for datagrams to us and to each group
(they queue in different sockets and overtake each other there). A sender numbers
all that it sends to anybody in one sequence, hence the width of the window.

Limits: peers and unanswered challenges are bounded and the longest unused make
room; a forgotten peer costs one more challenge.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

from replicast.auth.window import ReplayWindow
from replicast.buggify import buggify
from replicast.machine import Address, Group, NodeId

BOOT_SHIFT = 32
CHALLENGE_AGE_NS = 5_000_000_000


def make_session(boot_number: int, random_bits: int) -> int:
    """The session of this start: boot number above 32 random bits."""
    if not 0 <= boot_number < 1 << 32:
        raise ValueError(f"boot number out of range: {boot_number}")
    return boot_number << BOOT_SHIFT | random_bits & 0xFFFFFFFF


class Windows(dict[Group | None, ReplayWindow]):
    """By where a peer's datagrams were sent; each begins when it is first asked for."""

    def __init__(self, floor: int) -> None:
        super().__init__()
        self._floor = floor

    def __missing__(self, group: Group | None) -> ReplayWindow:
        made = self[group] = ReplayWindow(self._floor)
        return made


@dataclass(slots=True)
class Peer:
    """A node whose session answered."""

    session: int
    windows: Windows

    def accept(self, group: Group | None, counter: int) -> bool:
        """Is this counter new for datagrams sent there?"""
        return self.windows[group].accept(counter)


@dataclass(frozen=True, slots=True)
class Asked:
    """A challenge without an answer yet."""

    nonce: int
    since_ns: int


class Sessions:
    """All peers of one endpoint. `asked`: challenges without an answer yet. `addresses`: where each
    peer's last authenticated datagram came from."""

    def __init__(self, rng: random.Random, peers_max: int, challenges_max: int) -> None:
        self._rng = rng
        self._peers_max = peers_max
        self._challenges_max = challenges_max
        self._peers: OrderedDict[NodeId, Peer] = OrderedDict()
        self.addresses: dict[NodeId, Address] = {}
        self.asked: OrderedDict[tuple[NodeId, int], Asked] = OrderedDict()

    def peer(self, node_id: NodeId) -> Peer | None:
        """The confirmed peer, marked as used."""
        found = self._peers.get(node_id)
        if found is not None:
            self._peers.move_to_end(node_id)
        return found

    def hears(
        self, node_id: NodeId, session: int, group: Group | None, counter: int, source: Address
    ) -> bool | None:
        """A datagram of this session came from `source`: is it new? None: whoever it is has to prove
        itself. One call, which every datagram takes."""
        if node_id not in self._peers:
            return None
        peer = self._peers[node_id]
        self._peers.move_to_end(node_id)
        if buggify("auth/challenge-again") or peer.session != session:
            return None
        if not peer.windows[group].accept(counter):
            return False
        self.addresses[node_id] = source
        return True

    def retired(self, node_id: NodeId, session: int) -> bool:
        """Is this a session from before a restart that we know of?"""
        found = self._peers.get(node_id)
        return found is not None and session >> BOOT_SHIFT < found.session >> BOOT_SHIFT

    def ask(self, node_id: NodeId, session: int, now_ns: int) -> int:
        """The nonce that this session has to answer; the same one while it is asked."""
        key = (node_id, session)
        asked = self.asked.get(key)
        if asked is None or now_ns - asked.since_ns >= CHALLENGE_AGE_NS:
            asked = self.asked[key] = Asked(self._rng.getrandbits(64) | 1, now_ns)
            self.asked.move_to_end(key)
            if len(self.asked) > self._challenges_max:
                self.asked.popitem(last=False)
        return asked.nonce

    def confirm(
        self, node_id: NodeId, session: int, nonce: int, counter: int, source: Address
    ) -> bool:
        """The answer came: if it is right, the session counts and an older one is retired."""
        asked = self.asked.get((node_id, session))
        if asked is None or asked.nonce != nonce or self.retired(node_id, session):
            return False
        del self.asked[(node_id, session)]
        self._peers[node_id] = Peer(session, Windows(counter))
        self._peers.move_to_end(node_id)
        self.addresses[node_id] = source
        if len(self._peers) > self._peers_max:
            forgotten, _ = self._peers.popitem(last=False)
            del self.addresses[forgotten]
        return True

    def expire(self, now_ns: int) -> None:
        """Forget challenges that nobody answered."""
        while self.asked and now_ns >= (self.deadline_ns() or 0):
            self.asked.popitem(last=False)

    def deadline_ns(self) -> int | None:
        """When the oldest unanswered challenge is forgotten."""
        if not self.asked:
            return None
        return next(iter(self.asked.values())).since_ns + CHALLENGE_AGE_NS
