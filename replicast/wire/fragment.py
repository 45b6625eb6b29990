"""Messages larger than a datagram: split into fragments, put together again.

The fragments of one message travel in order under consecutive counters of the
sender's session, so (sender, session, counter - index) names the message. Each
carries its own MAC and was authenticated before it comes here. When nothing came
for a while the missing ones are asked for, a few times, with growing patience; then
the message is lost, and initiators retry whole operations.

Limits: messages under way are bounded in count (all and per sender), bytes and
age; nothing is reserved before it arrived, so an unfinished message holds only
datagrams that were received. What does not fit is refused, never swapped for older ones.
Its counter counts as seen all the same, so what is lacking of a message under way is taken whether
its counter is new or not. Only a new one begins a message: nothing is put together twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from replicast.buggify import buggify
from replicast.machine import Address
from replicast.units import MS, SECOND
from replicast.wire.codec_pure import WireError

Key = tuple[int, int, int]  # sender, session, counter of fragment 0
Meta = tuple[int, bytes, int, int]  # type, operation id, generation, fragment count


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentLimits:
    """What one endpoint spends on unfinished messages."""

    message_bytes_max: int = 4 << 20
    messages_max: int = 256
    messages_per_sender_max: int = 64
    total_bytes_max: int = 32 << 20
    silence_max_ns: int = 2 * SECOND  # between two fragments: a slow link takes longer for many
    age_max_ns: int = 30 * SECOND
    gap_wait_ns: int = 20 * MS
    gap_asks_max: int = 5


@dataclass(slots=True)
class Partial:
    """One message under way."""

    meta: Meta
    source: Address
    started_ns: int
    heard_ns: int  # when something came last
    ask_ns: int  # when to ask for what is missing, if nothing comes before
    asks: int = 0
    received_bytes: int = 0
    datagrams: dict[int, bytes] = field(default_factory=dict)  # by fragment index


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing of one message, as runs of fragment indexes."""

    key: Key
    operation_id: bytes
    source: Address
    runs: tuple[tuple[int, int], ...]


def fragment_count(body_bytes: int, room_bytes: int) -> int:
    """How many pieces of at most `room_bytes` a body is; one, maybe empty, when it fits."""
    return max(1, -(-body_bytes // room_bytes))


def piece_of(body: bytes, room_bytes: int, index: int) -> bytes:
    """Piece `index` of them: all but the last are full."""
    return body[index * room_bytes : (index + 1) * room_bytes]


def missing_runs(present: Iterable[int], count: int, runs_max: int) -> tuple[tuple[int, int], ...]:
    """The first `runs_max` runs [start, end) of indexes below `count` that are not present."""
    runs = []
    start = 0
    for index in [*sorted(present), count]:
        if index > start:
            runs.append((start, index))
        start = index + 1
    return tuple(runs[:runs_max])


class Assembler:
    """Collects fragments; add() returns the datagrams, in order, when the last one came."""

    def __init__(self, limits: FragmentLimits, head_bytes: int = 0) -> None:
        """`head_bytes`: what datagrams have before their piece. It is kept with it, so that no piece
        is copied, and does not count."""
        self._limits = limits
        self._head_bytes = head_bytes
        self._partials: dict[Key, Partial] = {}
        self._per_sender: dict[int, int] = {}
        self._bytes = 0
        self._due_ns = 0  # no partial needs anything before; exact or early

    def add(
        self, key: Key, index: int, meta: Meta, datagram: bytes, source: Address, now_ns: int
    ) -> list[bytes] | None:
        """Raises WireError: fragment (does not fit its message) or fragment_limit."""
        partial = self._partials.get(key)
        if partial is None:
            partial = self._open(key, meta, source, now_ns)
        if partial.meta != meta or index in partial.datagrams:
            raise WireError("fragment")
        piece_bytes = len(datagram) - self._head_bytes
        partial.received_bytes += piece_bytes
        self._bytes += piece_bytes
        partial.datagrams[index] = datagram
        partial.heard_ns = now_ns
        partial.ask_ns = now_ns + (self._limits.gap_wait_ns << partial.asks)
        self._check_bytes(key, partial)
        if len(partial.datagrams) < meta[3]:
            return None
        self._close(key)
        return [partial.datagrams[i] for i in range(meta[3])]

    def lacks(self, key: Key, index: int) -> bool:
        """Is that message under way, and this fragment of it not here?"""
        partial = self._partials.get(key)
        return partial is not None and index not in partial.datagrams

    def expire(self, now_ns: int) -> int:
        """Forget messages that are too old, or of which nothing comes any more; returns how many."""
        late = [k for k, p in self._partials.items() if now_ns >= self._end_ns(p)]
        for key in late:
            self._close(key)
        return len(late)

    def take_gaps(self, now_ns: int, runs_max: int) -> list[Gaps]:
        """What to ask for now; after expire(), when the deadline came."""
        limits = self._limits
        asked = []
        for key, partial in self._partials.items():
            if partial.ask_ns > now_ns or partial.asks >= limits.gap_asks_max:
                continue
            partial.asks += 1
            partial.ask_ns = now_ns + (limits.gap_wait_ns << partial.asks)
            runs = missing_runs(partial.datagrams, partial.meta[3], runs_max)
            asked.append(Gaps(key, partial.meta[1], partial.source, runs))
        self._due_ns = min((self._needs_ns(p) for p in self._partials.values()), default=0)
        return asked

    def deadline_ns(self) -> int | None:
        """When to call expire() and take_gaps()."""
        return self._due_ns if self._partials else None

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def held_bytes(self) -> int:
        """Bytes of all unfinished messages."""
        return self._bytes

    def _needs_ns(self, partial: Partial) -> int:
        end_ns = self._end_ns(partial)
        return end_ns if partial.asks >= self._limits.gap_asks_max else min(end_ns, partial.ask_ns)

    def _end_ns(self, partial: Partial) -> int:
        limits = self._limits
        return min(partial.heard_ns + limits.silence_max_ns, partial.started_ns + limits.age_max_ns)

    def _open(self, key: Key, meta: Meta, source: Address, now_ns: int) -> Partial:
        limits = self._limits
        of_sender = self._per_sender.get(key[0], 0)
        if (
            len(self._partials) >= limits.messages_max
            or of_sender >= limits.messages_per_sender_max
            or meta[3] > limits.message_bytes_max
            or buggify("auth/no-room")
        ):
            raise WireError("fragment_limit")
        ask_ns = now_ns + limits.gap_wait_ns
        self._due_ns = min(self._due_ns, ask_ns) if self._partials else ask_ns
        self._per_sender[key[0]] = of_sender + 1
        made = self._partials[key] = Partial(meta, source, now_ns, now_ns, ask_ns)
        return made

    def _check_bytes(self, key: Key, partial: Partial) -> None:
        limits = self._limits
        if (
            partial.received_bytes > limits.message_bytes_max
            or self._bytes > limits.total_bytes_max
        ):
            self._close(key)
            raise WireError("fragment_limit")

    def _close(self, key: Key) -> None:
        self._bytes -= self._partials.pop(key).received_bytes
        left = self._per_sender[key[0]] - 1
        if left:
            self._per_sender[key[0]] = left
        else:
            del self._per_sender[key[0]]
