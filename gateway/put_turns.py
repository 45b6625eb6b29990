"""How many bytes of large chunks one initiator puts at a time: as many as targets take without BUSY.

    if turns.take(operation, size_bytes, now_ns): start it         else it waits, first come first served
    turns.end(operation, busy, now_ns)                             ended, or cancelled, also while it waits
    for operation in turns.take_ready(now_ns): start it

Without it a crowd of clients would offer all their chunks at once: what targets cannot take, they refuse
BUSY, everybody asks again, and who is unlucky every time fails although the cluster moves as fast as it can.
The window follows what targets say as TCP follows losses (additive increase, multiplicative decrease:
Chiu and Jain 1989): it grows by one chunk while as many as fit it end well, and is cut when
one had to pause because too many VDEVs were busy; once for all that were under way at that time.

Invariants: at least one is under way while one waits; it grows only while somebody waits.
"""

from __future__ import annotations

from collections import OrderedDict

from replicast.buggify import buggified
from replicast.units import MIB

START_BYTES = 64 * MIB
LEAST_BYTES = 4 * MIB
MOST_BYTES = 1024 * MIB
CUT_NUMERATOR, CUT_DENOMINATOR = 7, 10


class PutTurns:
    """One per initiator. No I/O, no clock."""

    def __init__(self) -> None:
        self.window_bytes = START_BYTES
        self.under_way_bytes = 0
        self._under_way: dict[bytes, tuple[int, int]] = {}  # its bytes, and since when
        self._waiting: OrderedDict[bytes, int] = OrderedDict()
        self._cut_ns = -1  # who has begun before then knows nothing new

    def take(self, operation: bytes, size_bytes: int, now_ns: int) -> bool:
        """Begin, or wait behind all who wait."""
        if not self._waiting and self._fits(size_bytes):
            self._begin(operation, size_bytes, now_ns)
            return True
        self._waiting[operation] = size_bytes
        return False

    def end(self, operation: bytes, busy: bool, now_ns: int) -> None:
        """It has ended, or nobody wants it any more. `busy`: it had to pause as VDEVs were busy."""
        self._waiting.pop(operation, None)
        size_bytes, since_ns = self._under_way.pop(operation, (0, 0))
        if not size_bytes:
            return
        self.under_way_bytes -= size_bytes
        if busy and since_ns > self._cut_ns:
            cut_bytes = self.window_bytes * CUT_NUMERATOR // CUT_DENOMINATOR
            self.window_bytes, self._cut_ns = max(LEAST_BYTES, cut_bytes), now_ns
        elif not busy and self._waiting:
            grown_bytes = self.window_bytes + size_bytes * size_bytes // self.window_bytes
            self.window_bytes = min(MOST_BYTES, grown_bytes)

    def take_ready(self, now_ns: int) -> list[bytes]:
        """Those whose turn has come; they are under way."""
        ready = []
        while self._waiting:
            operation, size_bytes = next(iter(self._waiting.items()))
            if not self._fits(size_bytes):
                break
            del self._waiting[operation]
            self._begin(operation, size_bytes, now_ns)
            ready.append(operation)
        return ready

    def _fits(self, size_bytes: int) -> bool:
        window_bytes = buggified("gateway/one-put", self.window_bytes, 0)
        return not self._under_way or self.under_way_bytes + size_bytes <= window_bytes

    def _begin(self, operation: bytes, size_bytes: int, now_ns: int) -> None:
        self._under_way[operation] = (size_bytes, now_ns)
        self.under_way_bytes += size_bytes
