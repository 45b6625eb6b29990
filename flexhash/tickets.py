"""Draws of placement.py: a hash instead of random numbers, and a lottery over slots."""

from __future__ import annotations

MASK64 = (1 << 64) - 1


def mix64(value: int) -> int:
    """The finalizer of splitmix64: a bijection of u64 that looks random."""
    value = (value + 0x9E3779B97F4A7C15) & MASK64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK64
    return value ^ value >> 31


class Tickets:
    """Draw a slot with probability in proportion to its count (a Fenwick tree)."""

    __slots__ = ("_counts", "_size", "_tree", "total")

    def __init__(self, slot_count: int) -> None:
        self._size = 1
        while self._size < slot_count:
            self._size *= 2
        self._tree = [0] * (self._size + 1)
        self._counts = [0] * slot_count
        self.total = 0

    def set(self, slot: int, count: int) -> None:
        change = count - self._counts[slot]
        if change == 0:
            return
        self._counts[slot] = count
        self.total += change
        node = slot + 1
        while node <= self._size:
            self._tree[node] += change
            node += node & -node

    def draw(self, ticket: int) -> int:
        """The slot that owns `ticket`, 0 <= ticket < total."""
        node, half = 0, self._size
        while half:
            if node + half <= self._size and self._tree[node + half] <= ticket:
                node += half
                ticket -= self._tree[node]
            half //= 2
        return node
