"""The recent entries that the logs of a target's rows keep in memory, bounded together.

Each log bounds its own (log.py), but a target has thousands of them: those that changed longest
ago give up what their store has as well.
"""

from __future__ import annotations

from replicast.target.names.replica import RowReplica


class Tails:
    """One per target; `bytes_max`: of memory, about. What is not applied yet has bounds of its own
    (limits.py) and stays."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._used: dict[RowReplica, int] = {}  # longest ago first
        self.counted = self._used.get  # what is counted of one, if anything

    def used(self, replica: RowReplica) -> None:
        """It keeps another amount than before."""
        used, size_bytes = self._used, replica.log.tail_cost_bytes
        self._bytes += size_bytes - used.pop(replica, 0)
        if size_bytes:
            used[replica] = size_bytes
        while self._bytes > self._bytes_max:
            oldest = next(iter(used))
            oldest.log.forget_applied()
            self._bytes -= used.pop(oldest)

    def forget(self, vdev_index: int) -> None:
        """The VDEV is not served any more."""
        for replica in [each for each in self._used if each.vdev_index == vdev_index]:
            self._bytes -= self._used.pop(replica)
