"""What all exchanges of one initiator share: settings, memory, credit, randomness, waits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from replicast.buggify import buggified
from replicast.config import Settings, option
from replicast.credit import CreditPool
from replicast.gateway.put_turns import PutTurns
from replicast.gateway.select import Weights
from replicast.gateway.stats import Stats
from replicast.machine import Event, NodeId
from replicast.metrics import Counters
from replicast.transfer import PayloadBuffers
from replicast.units import MS

OPERATION_BASE_BYTES = 12  # of attempt and transfer ids; the rest counts attempts and transfers


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSettings(Settings):
    """How an initiator exchanges chunks."""

    PREFIX: ClassVar[str] = "CHUNK"

    negotiate_above_bytes: int = option(
        "Chunks up to this size are sent at once, without negotiation; 0 = always negotiate.",
        default=65_536,
        minimum=0,
        maximum=1 << 20,
    )
    transport: str = option(
        "How proposals and payload travel.", default="unicast", choices=("unicast", "multicast")
    )
    datagram_bytes: int = option(
        "Most payload bytes in a datagram; less where the interface or a path takes less.",
        default=61_440,
        minimum=512,
        maximum=61_440,
    )
    multicast_groups: int = option(
        "Negotiating groups; rows are dealt out to them.", default=16, minimum=1, maximum=4096
    )
    rendezvous_groups: int = option(
        "Rendezvous groups; sets of winning targets are dealt out to them.",
        default=64,
        minimum=1,
        maximum=4096,
    )
    latency_percent: int = option(
        "Weight of the latency measured here beyond what a VDEV promised.",
        default=100,
        minimum=0,
        maximum=1000,
    )
    free_percent: int = option(
        "How strongly a VDEV emptier than its group is preferred.",
        default=100,
        minimum=0,
        maximum=1000,
    )
    bid_window_min_ms: int = option(
        "Shortest wait for the last bidders.", default=10, minimum=1, maximum=1000
    )
    bid_window_max_ms: int = option(
        "Longest wait for the last bidders once enough have offered.",
        default=100,
        minimum=1,
        maximum=5000,
    )
    rendezvous_wait_ms: int = option(
        "How long a multicast payload waits for the last winner, who then gets it by unicast.",
        default=200,
        minimum=1,
        maximum=5000,
    )
    patience_ms: int = option(
        "After this time min_copies suffice when no more can be had.",
        default=1000,
        minimum=10,
        maximum=60_000,
    )
    straggler_ms: int = option(
        "A winner that has not stored by then (plus what it promised) is replaced, unless "
        "its bytes go on arriving.",
        default=3000,
        minimum=10,
        maximum=60_000,
    )
    second_source_ms: int = option(
        "A sender that is this much later than its promise gets company.",
        default=60,
        minimum=1,
        maximum=10_000,
    )

    @property
    def multicast(self) -> bool:
        """Proposals and payload by multicast?"""
        return self.transport == "multicast"

    @property
    def weights(self) -> Weights:
        """For gateway/select.py."""
        return Weights(self.latency_percent, self.free_percent)


@dataclass(slots=True)
class ChunkContext:
    """One per initiator process."""

    settings: ChunkSettings
    buffers: PayloadBuffers
    counters: Counters
    rng: random.Random
    credit: CreditPool
    stats: Stats = field(default_factory=Stats)
    turns: PutTurns = field(default_factory=PutTurns)
    # Of a datagram that fits the paths to all these nodes; the shell says.
    path_bytes: Callable[[Iterable[NodeId], int], int] = lambda nodes, most_bytes: most_bytes

    def datagram_bytes(self, nodes: Iterable[NodeId]) -> int:
        """Payload bytes in a datagram that can be sent to, and by, all these nodes."""
        return self.path_bytes(nodes, self.settings.datagram_bytes)


@dataclass(frozen=True, slots=True)
class NeedTable(Event):
    """Fetch a table of at least `generation`, then call table_changed()."""

    generation: int


def rendezvous_number(nodes: Iterable[NodeId], groups: int) -> int:
    """The rendezvous group of a set of targets."""
    raw = b"".join(node.to_bytes(8, "little") for node in sorted(nodes))
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little") % groups


class Backoff:
    """Doubling waits with jitter from `first_ns` to `max_ns`."""

    def __init__(self, rng: random.Random, first_ns: int = 20 * MS, max_ns: int = 500 * MS) -> None:
        self._rng, self._next_ns, self._max_ns = rng, first_ns, max_ns

    def take_ns(self) -> int:
        """The next wait, between half of it and all of it."""
        wait_ns = self._next_ns
        self._next_ns = min(self._max_ns, wait_ns * 2)
        # Of 32 random bits: randrange() is three calls, and most waits are set and never waited for.
        jitter_ns = self._rng.getrandbits(32) * (wait_ns // 2 + 1) >> 32
        return buggified("gateway/no-backoff", wait_ns // 2 + jitter_ns, MS)
