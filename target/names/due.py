"""Whose turn it is when more rows want a step than one wake-up should take.

A table that concerns thousands of rows makes them all due at once. Steps for all of them would keep
requests and heartbeats waiting for as long as they take, so each wake-up takes some, those first
that somebody waits for; the others stay due, and the next wake-up comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicast.target.names.leader import Leadership


class Waiting(Protocol):
    """Requests that wait for a row (parking.py)."""

    def waits(self, row: int) -> bool: ...


def first_due(
    due: Mapping[int, int],
    now_ns: int,
    leaders: Mapping[int, Leadership],
    waiting: Waiting,
    most: int,
) -> list[int]:
    """The rows to step now, at most that many; equals in the order in which they became due."""
    rows = [row for row, due_ns in due.items() if due_ns <= now_ns]
    if len(rows) > most:
        rows.sort(key=lambda row: not (leaders[row].undecided.entries or waiting.waits(row)))
    return rows[:most]
