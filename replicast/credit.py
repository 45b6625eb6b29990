"""What one receiving socket can take, shared by the transfers that arrive there."""

from __future__ import annotations

from replicast.arrivals import Arrivals
from replicast.buggify import buggified
from replicast.units import KIB

CREDIT_STEP_BYTES = 64 * KIB


class CreditPool:
    """Shares what one receiving socket can take between its transfers, first come first served.

    A transfer gets its whole size, or all of the pool when it is larger; until then it waits. What
    has arrived is free for others: a few holes that are mended do not hold up the next transfer.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = max(total_bytes, CREDIT_STEP_BYTES)
        self.granted_bytes = 0
        self._granted: dict[bytes, int] = {}
        self._waiting: dict[bytes, int] = {}
        self.fresh: list[tuple[bytes, int]] = []  # for take_granted()
        self.arrivals = Arrivals()

    def limit(self, total_bytes: int) -> None:
        """The socket takes no more than this."""
        self.total_bytes = max(min(self.total_bytes, total_bytes), CREDIT_STEP_BYTES)

    def request(self, transfer_id: bytes, want_bytes: int) -> int:
        """Credit now, or 0: then the transfer appears in take_granted() later."""
        want_bytes = min(want_bytes, buggified("chunks/credit-small", self.total_bytes, 1))
        if self._waiting or self.granted_bytes + want_bytes > self.total_bytes:
            self._waiting[transfer_id] = want_bytes
            return 0
        self._granted[transfer_id] = want_bytes
        self.granted_bytes += want_bytes
        return want_bytes

    def release(self, transfer_id: bytes) -> None:
        """The transfer has arrived or was given up."""
        self._waiting.pop(transfer_id, None)
        self.granted_bytes -= self._granted.pop(transfer_id, 0)
        self._advance()

    def left(self, transfer_id: bytes, left_bytes: int) -> None:
        """No more than that is still to come for this transfer."""
        granted_bytes = self._granted.get(transfer_id, 0)
        if left_bytes < granted_bytes:
            self._granted[transfer_id] = left_bytes
            self.granted_bytes -= granted_bytes - left_bytes
            self._advance()

    def before(self, transfer_id: bytes) -> int:
        """Bytes of other transfers that are under way to the same socket."""
        return self.granted_bytes - self._granted.get(transfer_id, 0)

    def take_granted(self) -> list[tuple[bytes, int]]:
        """Transfers that waited and may start now, with their credit."""
        if not self.fresh:
            return []
        fresh, self.fresh = self.fresh, []
        return [(transfer_id, n) for transfer_id, n in fresh if transfer_id in self._granted]

    def granted(self, transfer_id: bytes) -> int:
        """What this transfer may have under way; 0 while it waits, or after its end."""
        return self._granted.get(transfer_id, 0)

    def waiting(self, transfer_id: bytes) -> bool:
        """Has it no credit yet?"""
        return transfer_id in self._waiting

    def _advance(self) -> None:
        while self._waiting:
            transfer_id, want_bytes = next(iter(self._waiting.items()))
            if self.granted_bytes + want_bytes > self.total_bytes:
                return
            del self._waiting[transfer_id]
            self._granted[transfer_id] = want_bytes
            self.granted_bytes += want_bytes
            self.fresh.append((transfer_id, want_bytes))
