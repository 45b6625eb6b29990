"""Requests that wait: for a table, for a row's take-over, for an undecided entry.

Bounded in count; each has a deadline at which it is tried for the last time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replicast.machine import Incoming

ANY_ROW = -1  # waits for a table or for several rows


class Parking:
    """By row, in order of arrival."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._count = 0
        self._rows: dict[int, list[tuple[int, Incoming]]] = {}
        self._woken = False

    def park(self, row: int, deadline_ns: int, incoming: Incoming) -> bool:
        """Keep a request; False when there is no room."""
        if self._count >= self._count_max:
            return False
        self._rows.setdefault(row, []).append((deadline_ns, incoming))
        self._count += 1
        return True

    def wake(self) -> None:
        """Something concerns all that wait."""
        self._woken = True

    def deadlines(self) -> Iterator[int]:
        """The earliest deadline of each row."""
        for waiting in self._rows.values():
            yield min(deadline_ns for deadline_ns, _ in waiting)

    def take(self, now_ns: int, ready: Callable[[int], bool]) -> list[tuple[Incoming, int]]:
        """Those to try again: (request, deadline)."""
        woken, self._woken = self._woken, False
        taken: list[tuple[Incoming, int]] = []
        for row, waiting in list(self._rows.items()):
            expired = any(deadline_ns <= now_ns for deadline_ns, _ in waiting)
            if woken or expired or row == ANY_ROW or ready(row):
                taken += [(incoming, deadline_ns) for deadline_ns, incoming in waiting]
                del self._rows[row]
        self._count -= len(taken)
        return taken
