"""What a target promises in a bid, and the reservations behind open bids.

A reservation makes the next bid say "later" until the chunk arrives, the
proposer names somebody else, or RESERVATION_NS passes. It allocates nothing:
memory is bound at PUT_ACCEPT, where a target may still refuse.

Limits: RESERVATIONS_MAX open proposals; beyond that bids say BUSY.
"""

from __future__ import annotations

from collections import defaultdict

from replicast.buggify import buggify
from replicast.machine import NodeId
from replicast.target.admission import VdevView
from replicast.units import MIB, MS
from replicast.wire.chunk_messages import ALREADY_STORED, OFFER, REFUSED_BID, VdevBid
from replicast.wire.reasons import Reason

RESERVATION_NS = 250 * MS
RESERVATIONS_MAX = 4096
BYTE_NS = 2  # 500 MB/s: what backlog costs until a flush has been measured
FLUSH_BYTES = 8 * MIB  # what one flush is expected to carry
DURATION_NS_MIN = 1 * MS

Key = tuple[NodeId, bytes]


class Reservations:
    """Bytes promised per VDEV, by proposal."""

    def __init__(self) -> None:
        self._open: dict[Key, tuple[int, tuple[int, ...], int]] = {}
        # Per VDEV, promised and not yet decided; the owner adds what is arriving, not yet in its queue.
        self.backlog_bytes: defaultdict[int, int] = defaultdict(int)
        self.due_ns: int | None = None  # when the oldest runs out

    def reserve(self, key: Key, vdevs: tuple[int, ...], size_bytes: int, now_ns: int) -> bool:
        """Reserve on these VDEVs; a repeated proposal renews its own. False: too many are open."""
        if key in self._open:
            self.release(key)
        if len(self._open) >= RESERVATIONS_MAX:
            return False
        if buggify("chunks/reservation-lost"):
            return True
        due_ns = now_ns + RESERVATION_NS
        self._open[key] = (due_ns, vdevs, size_bytes)
        for v in vdevs:
            self.backlog_bytes[v] += size_bytes
        if self.due_ns is None:
            self.due_ns = due_ns
        return True

    def release(self, key: Key) -> None:
        """The proposal was decided."""
        reserved = self._open.pop(key, None)
        if reserved is not None:
            due_ns, vdevs, size_bytes = reserved
            for v in vdevs:
                self.backlog_bytes[v] -= size_bytes
            if due_ns == self.due_ns:  # all live equally long, so insertion order is time order
                self.due_ns = next(iter(self._open.values()))[0] if self._open else None

    def expire(self, now_ns: int) -> None:
        """Forget what nobody came back for."""
        while self.due_ns is not None and self.due_ns <= now_ns:
            self.release(next(iter(self._open)))


def make_bid(
    vdev_index: int, view: VdevView, chid: bytes, size_bytes: int, backlog_bytes: int, credit: int
) -> VdevBid:
    """One VDEV's answer. `backlog_bytes`: promised or arriving, not yet in its queue."""
    has, fits, queue_bytes, flush_ns, free_ppm = view.appraise(chid, size_bytes)
    reason = None if has or fits else view.refusal(size_bytes)
    kind = ALREADY_STORED if has else OFFER if reason is None else REFUSED_BID
    flush_ns = max(DURATION_NS_MIN, flush_ns)
    ahead_bytes = queue_bytes + backlog_bytes
    return VdevBid(
        vdev_index=vdev_index,
        kind=kind,
        reason=reason or 0,
        start_ns=ahead_bytes * BYTE_NS + ahead_bytes // FLUSH_BYTES * flush_ns,
        duration_ns=flush_ns,  # from the start to durable
        free_ppm=free_ppm,
        credit_bytes=credit,
    )


def refused_bid(vdev_index: int, view: VdevView, reason: Reason) -> VdevBid:
    """A bid that only says why not."""
    return VdevBid(
        vdev_index=vdev_index,
        kind=REFUSED_BID,
        reason=reason,
        start_ns=0,
        duration_ns=0,
        free_ppm=view.free_ppm(),
        credit_bytes=0,
    )
