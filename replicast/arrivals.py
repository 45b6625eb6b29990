"""How much payload has come to this process so far, and how fast it comes at best.

Whoever waits for bytes behind those of others tells from it how long theirs may take.
"""

from __future__ import annotations

from replicast.least import Least
from replicast.units import MIB, MS

REMEMBERED_NS = 50 * MS
PERIOD_NS = 15 * MS  # of one measurement: transfers are not looked at all at once


class Arrivals:
    """Of all transfers to one socket; told by those who look how far theirs have come."""

    def __init__(self) -> None:
        self.arrived_bytes = 0
        self.moved_ns = 0  # when more was last seen to have arrived
        self._mib_ns = Least(REMEMBERED_NS)
        self._period_ns = self._looked_ns = 0  # when the measurement under way began; last look
        self._period_bytes = 0

    def add(self, size_bytes: int, now_ns: int) -> None:
        """So many more bytes of some transfer are there; 0: somebody looked and there are none."""
        if now_ns > self._looked_ns:
            self._end_period()
            self._looked_ns = now_ns
        if size_bytes:
            self._period_bytes += size_bytes
            self.arrived_bytes += size_bytes
            self.moved_ns = now_ns

    def _end_period(self) -> None:
        """All that came until the last look is known. What was idle before is no part of it."""
        took_ns = self._looked_ns - self._period_ns
        if self._period_bytes and took_ns < PERIOD_NS:
            return
        if self._period_bytes:
            self._mib_ns.add(took_ns * MIB // self._period_bytes, self._looked_ns)
        self._period_ns, self._period_bytes = self._looked_ns, 0

    def takes_ns(self, size_bytes: int, now_ns: int) -> int | None:
        """What so many bytes take at the best pace of late; None: it is not known."""
        mib_ns = self._mib_ns.get(now_ns)
        return None if mib_ns is None else size_bytes * mib_ns // MIB
