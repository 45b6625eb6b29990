"""A moving average of times that forgets: what was slow once is tried again."""

from __future__ import annotations

from replicast.units import SECOND

HALF_LIFE_NS = 10 * SECOND


class Ewma:
    """Moving average (weight 1/8) in integer ns that halves every `half_life_ns` without news."""

    __slots__ = ("_at_ns", "_half_life_ns", "_value_ns")

    def __init__(self, start_ns: int = -1, half_life_ns: int = HALF_LIFE_NS) -> None:
        """`start_ns` -1: the first measurement counts fully."""
        self._value_ns = start_ns
        self._half_life_ns = half_life_ns
        self._at_ns = 0

    def add(self, value_ns: int, now_ns: int) -> None:
        """One more measurement."""
        old_ns = self.get(now_ns)
        self._value_ns = value_ns if self._value_ns < 0 else (old_ns * 7 + value_ns) // 8
        self._at_ns = now_ns

    def get(self, now_ns: int) -> int:
        """The faded average; 0 before the first measurement."""
        if self._value_ns <= 0:
            return 0
        age_ns = now_ns - self._at_ns
        if age_ns < self._half_life_ns:  # nearly always: it is news that is asked for
            return self._value_ns
        return self._value_ns >> min(63, age_ns // self._half_life_ns)
