"""One leader of a row at a time: who answered for a row, under which epoch, in world order.

The epoch of a leadership is the generation that last changed the row's leader. Acting is seen
where it matters: an answer about the names of a row leaves a target.

    one epoch        one target
    in world order   no answer under an epoch older than one that was already acted in: two
                     leaders never answer in turns, whatever each believes of its lease
    by its table     only the row's leader answers

Fed by watch.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replicast.sim.checkers import BAD, OK, UNKNOWN


@dataclass(slots=True)
class Leaders:
    """One per run."""

    problems: list[str] = field(default_factory=list)
    _acted: dict[int, tuple[int, str]] = field(default_factory=dict)  # row: newest epoch, by whom

    def acted(self, row: int, epoch: int, target: str, leader: str | None) -> str | None:
        """`target` answers for `row`; `leader` is who leads by the table that it acts by."""
        if target != leader:
            return self._bad(f"{target} answers for row {row}, which {leader} leads by its table")
        newest, who = self._acted.get(row, (0, target))
        if epoch < newest:
            return self._bad(
                f"{target} answers for row {row} in epoch {epoch} after {who} did in {newest}"
            )
        if epoch == newest and who != target:
            return self._bad(f"{target} and {who} both answer for row {row} in epoch {epoch}")
        self._acted[row] = (epoch, target)
        return None

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when nobody was seen to act."""
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self._acted else (UNKNOWN, ["no row leader was seen to act"])

    def _bad(self, problem: str) -> str:
        self.problems.append(problem)
        return problem
