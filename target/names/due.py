"""When rows want a step, and whose turn it is when more of them do than one wake-up should take.

A table that concerns thousands of rows makes them all due at once. Steps for all of them would keep
requests and heartbeats waiting for as long as they take, so each wake-up takes some, those first
that somebody waits for; the others stay due, and the next wake-up comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicast.target.names.leader import Leadership

NEVER_NS = 1 << 63


class Waiting(Protocol):
    """Requests that wait for a row (parking.py)."""

    def waits(self, row: int) -> bool: ...


class Due:
    """When each row wants a step, at `rows`. None of them before `first_ns`: that is not moved to later
    until rows are taken, so that only then all are looked at."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.first_ns = NEVER_NS

    def set(self, row: int, due_ns: int) -> None:
        """At this time, in place of any other."""
        self.rows[row] = due_ns
        if due_ns < self.first_ns:
            self.first_ns = due_ns

    def drop(self, row: int) -> None:
        """It wants none any more."""
        self.rows.pop(row, None)

    def take(
        self, now_ns: int, leaders: Mapping[int, Leadership], waiting: Waiting, most: int
    ) -> list[int]:
        """The rows to step now, at most that many; equals in the order in which they became due.
        They are due no more."""
        rows = [row for row, due_ns in self.rows.items() if due_ns <= now_ns]
        if len(rows) > most:
            rows.sort(key=lambda row: not (leaders[row].undecided.entries or waiting.waits(row)))
            del rows[most:]
        for row in rows:
            del self.rows[row]
        self.first_ns = min(self.rows.values(), default=NEVER_NS)
        return rows
