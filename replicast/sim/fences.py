"""Stale requests are refused: older than the generation that last concerned their row (C6).

Fed by answers.py with every answer that such a request must not get.
"""

from __future__ import annotations

from replicast.sim.checkers import BAD, OK, UNKNOWN


class Fences:
    """One per run."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.answers = 0

    def answered(self, target: str, what: str, row: int, generation: int, since: int) -> str | None:
        """An answer to a request of `generation` about a row last changed by `since`."""
        self.answers += 1
        if generation >= since:
            return None
        self.problems.append(
            f"{target} says {what} to a request of generation {generation}: row {row} changed in"
            f" {since}"
        )
        return self.problems[-1]

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when no answer was seen."""
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self.answers else (UNKNOWN, ["no answer to a fenced request was seen"])
