"""Messages larger than a datagram: split into fragments, put together again.

The fragments of one message travel in order under consecutive counters of the
sender's session, so (sender, session, counter - index) names the message. Each
carries its own MAC and was authenticated before it comes here. A lost fragment
loses the message: initiators retry whole operations.

Limits: messages under way are bounded in count (all and per sender), bytes and
age; nothing is reserved before it arrived, so an unfinished message holds only
bytes that were received. What does not fit is refused, never swapped for older ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    age_max_ns: int = 2_000_000_000


@dataclass(slots=True)
class Partial:
    """One message under way."""

    meta: Meta
    started_ns: int
    received_bytes: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)


def split(body: bytes, room_bytes: int) -> list[bytes]:
    """Pieces of at most `room_bytes`, in order; one, maybe empty, when the body fits."""
    if len(body) <= room_bytes:
        return [body]
    return [body[at : at + room_bytes] for at in range(0, len(body), room_bytes)]


class Assembler:
    """Collects fragments; add() returns the body when the last one came."""

    def __init__(self, limits: FragmentLimits) -> None:
        self._limits = limits
        self._partials: dict[
            Key, Partial
        ] = {}  # in order of age: the age limit is the same for all
        self._per_sender: dict[int, int] = {}
        self._bytes = 0

    def add(self, key: Key, index: int, meta: Meta, piece: bytes, now_ns: int) -> bytes | None:
        """Raises WireError: fragment (does not fit its message) or fragment_limit."""
        partial = self._partials.get(key)
        if partial is None:
            partial = self._open(key, meta, now_ns)
        if partial.meta != meta or index in partial.pieces:
            raise WireError("fragment")
        partial.received_bytes += len(piece)
        self._bytes += len(piece)
        partial.pieces[index] = piece
        self._check_bytes(key, partial)
        if len(partial.pieces) < meta[3]:
            return None
        self._close(key)
        return b"".join(partial.pieces[i] for i in range(meta[3]))

    def expire(self, now_ns: int) -> int:
        """Forget messages that are too old; returns how many."""
        late = [k for k, p in self._partials.items() if p.started_ns <= self._horizon(now_ns)]
        for key in late:
            self._close(key)
        return len(late)

    def deadline_ns(self) -> int | None:
        """When the oldest unfinished message is given up."""
        for partial in self._partials.values():
            return partial.started_ns + self._limits.age_max_ns
        return None

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def held_bytes(self) -> int:
        """Bytes of all unfinished messages."""
        return self._bytes

    def _horizon(self, now_ns: int) -> int:
        return now_ns - self._limits.age_max_ns

    def _open(self, key: Key, meta: Meta, now_ns: int) -> Partial:
        of_sender = self._per_sender.get(key[0], 0)
        if (
            len(self._partials) >= self._limits.messages_max
            or of_sender >= self._limits.messages_per_sender_max
            or meta[3] > self._limits.message_bytes_max
        ):
            raise WireError("fragment_limit")
        self._per_sender[key[0]] = of_sender + 1
        made = self._partials[key] = Partial(meta, now_ns)
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
