"""Requests that wait: for a table, for a row's take-over, for an undecided entry.

Bounded in count and in bytes of bodies; each has a deadline at which it is tried for the last time.
"""

from __future__ import annotations

from collections.abc import Callable

from replicast.buggify import buggify
from replicast.machine import Incoming, earliest
from replicast.wire.name_messages import NamePut

ANY_ROW = -1  # waits for a table


class Parking:
    """By row, in order of arrival. `rows` is read at every wake-up: empty, nothing waits."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._count = self._bytes = 0
        self.rows: dict[int, list[tuple[int, Incoming]]] = {}
        self._woken = False

    def __len__(self) -> int:
        return self._count

    def park(self, row: int, deadline_ns: int, incoming: Incoming) -> bool:
        """Keep a request; False when there is no room."""
        size = _body_bytes(incoming)
        full = self._count >= self._count_max or self._bytes + size > self._bytes_max
        if full or buggify("names/parking-full"):
            return False
        self.rows.setdefault(row, []).append((deadline_ns, incoming))
        self._count += 1
        self._bytes += size
        return True

    def waits(self, row: int) -> bool:
        """Is there a request that waits for this row?"""
        return row in self.rows

    def wake(self) -> None:
        """Something concerns all that wait."""
        self._woken = bool(self.rows)

    def deadline_ns(self) -> int | None:
        """The earliest deadline of all."""
        due_ns: int | None = None
        for waiting in self.rows.values():
            for deadline_ns, _ in waiting:
                due_ns = earliest(due_ns, deadline_ns)
        return due_ns

    def take(self, now_ns: int, ready: Callable[[int], bool]) -> list[tuple[Incoming, int]]:
        """Those to try again: (request, deadline)."""
        woken, self._woken = self._woken, False
        taken: list[tuple[Incoming, int]] = []
        for row, waiting in list(self.rows.items()):
            expired = any(deadline_ns <= now_ns for deadline_ns, _ in waiting)
            if woken or expired or row == ANY_ROW or ready(row):
                taken += [(incoming, deadline_ns) for deadline_ns, incoming in waiting]
                del self.rows[row]
        self._count -= len(taken)
        self._bytes -= sum(_body_bytes(incoming) for incoming, _ in taken)
        return taken


def _body_bytes(incoming: Incoming) -> int:
    message = incoming.message
    return len(message.body) if isinstance(message, NamePut) else 0
