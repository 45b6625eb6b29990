"""The recent entries that the logs of a target's rows keep in memory, bounded together.

Each log bounds its own (log.py), but a target has thousands of them: those that were used longest
ago give up what their store has as well.
"""

from __future__ import annotations

from replicast.target.names.replica import RowReplica

Key = tuple[int, int]  # row, VDEV


class Tails:
    """One per target; `bytes_max`: of memory, about. What is not applied yet has bounds of its own
    (limits.py) and stays."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._used: dict[Key, tuple[RowReplica, int]] = {}  # longest ago first

    def used(self, replica: RowReplica) -> None:
        """Something happened to it."""
        key = replica.row, replica.vdev_index
        before = self._used.pop(key, None)
        if before is not None:
            self._bytes -= before[1]
        if size := replica.log.tail_cost_bytes:
            self._used[key] = replica, size
            self._bytes += size
        while self._bytes > self._bytes_max:
            oldest = next(iter(self._used))
            self._used[oldest][0].log.forget_applied()
            self._drop(oldest)

    def forget(self, vdev_index: int) -> None:
        """The VDEV is not served any more."""
        for key in [key for key in self._used if key[1] == vdev_index]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        _, size = self._used.pop(key, (None, 0))
        self._bytes -= size
