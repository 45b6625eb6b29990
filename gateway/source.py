"""One VDEV that a reader has asked to send. Part of GetChunk (get.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicast.buggify import buggified
from replicast.gateway.context import ChunkSettings
from replicast.gateway.select import Offer, Weights, best_equal, rank
from replicast.machine import NodeId
from replicast.transfer import BufferLike, Receiver
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import ChunkSend, VdevAnswer

PROMISE_UNKNOWN_NS = 20 * MS
PROMISE_NS_MAX = 2 * SECOND
READ_WEIGHTS = Weights(equal_ns=2 * MS)


@dataclass(slots=True)
class Source:
    """`late_ns` is when it is later than it promised."""

    vdev_index: int
    node: NodeId
    request: ChunkSend
    receiver: Receiver
    asked_ns: int
    late_ns: int
    late: bool = False  # later than its promise: another may be asked
    complete: bool = False  # at the shell, to be verified
    buffer: BufferLike | None = None

    def quiet_ns(self, settings: ChunkSettings) -> int:
        """How long it may make no progress before another is asked."""
        return settings.second_source_ms * MS + 2 * self.receiver.round_trip_ns


def patience_ns(settings: ChunkSettings, answer: VdevAnswer | None) -> int:
    """From asking a VDEV to looking for company, beside what the way takes; without an answer its
    promise is unknown."""
    promised_ns = answer.start_ns + answer.duration_ns if answer else PROMISE_UNKNOWN_NS
    wait_ns = buggified("gateway/second-source", settings.second_source_ms * MS, MS)
    return wait_ns + 2 * min(promised_ns, PROMISE_NS_MAX)


def best_of(chid: bytes, holders: Mapping[int, VdevAnswer | None]) -> int:
    """Whom to ask for a chunk; None: only named in a hint. At least one is needed."""
    if not any(holders.values()):
        return best_equal(chid, holders)
    offers = [_offer_of(v, answer) for v, answer in holders.items()]
    return rank(chid, offers, READ_WEIGHTS)[0].vdev_index


def _offer_of(vdev_index: int, answer: VdevAnswer | None) -> Offer:
    """A VDEV that was only named in a hint has made no promise."""
    if answer is None:
        return Offer(vdev_index, "", "", 0, PROMISE_UNKNOWN_NS, 0)
    return Offer(vdev_index, "", "", answer.start_ns, answer.duration_ns, 0)
