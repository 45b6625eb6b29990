"""The least of the times measured lately: what something takes when nothing is in the way."""

from __future__ import annotations


class Least:
    """In ns. One that was not reached again for `remembered_ns` is forgotten."""

    __slots__ = ("_at_ns", "_remembered_ns", "_value_ns")

    def __init__(self, remembered_ns: int) -> None:
        self._remembered_ns = remembered_ns
        self._value_ns: int | None = None
        self._at_ns = 0

    def add(self, value_ns: int, now_ns: int) -> None:
        """One more measurement."""
        least_ns = self.get(now_ns)
        if least_ns is None or value_ns <= least_ns:
            self._value_ns, self._at_ns = value_ns, now_ns

    def get(self, now_ns: int) -> int | None:
        """None without a measurement."""
        return None if now_ns >= self._at_ns + self._remembered_ns else self._value_ns
