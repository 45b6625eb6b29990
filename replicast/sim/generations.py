"""Generations never fork and never go back: watched at every adoption of every process.

    same generation                 the same digest everywhere, for the whole run
    within one life of a process    the generation never goes down
    from one life to the next       a target never starts below what it has reported to hold
                                    (a renewal reports a table only once it is on disk)

Fed by watch.py; every method returns what is wrong, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replicast.sim.checkers import BAD, OK, UNKNOWN


@dataclass(slots=True)
class _Holder:
    life: int = 0
    generation: int = 0  # acted by in this life
    reported: int = 0  # highest that was reported as adopted, in any life


@dataclass(slots=True)
class Generations:
    """One per run."""

    problems: list[str] = field(default_factory=list)
    _digests: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    _holders: dict[str, _Holder] = field(default_factory=dict)

    def adopting(self, process: str, life: int, generation: int, digest: bytes) -> str | None:
        """A process begins to act by a table."""
        known, first = self._digests.setdefault(generation, (digest, process))
        if known != digest:
            return self._bad(
                f"generation {generation} has forked: {process} adopts {digest.hex()[:12]},"
                f" {first} had {known.hex()[:12]}"
            )
        holder = self._holders.setdefault(process, _Holder())
        if life != holder.life:
            holder.life, holder.generation = life, 0
            if generation < holder.reported:
                return self._bad(
                    f"{process} starts with generation {generation} and had reported"
                    f" {holder.reported} before it was restarted"
                )
        if generation < holder.generation:
            return self._bad(f"{process} goes back from {holder.generation} to {generation}")
        holder.generation = generation
        return None

    def reported(self, process: str, generation: int) -> str | None:
        """A target tells the Raft leader which generation it has adopted."""
        if not generation:  # it stops before it had any
            return None
        holder = self._holders.setdefault(process, _Holder())
        if generation < holder.reported:
            return self._bad(
                f"{process} reports generation {generation} and had reported {holder.reported}"
            )
        if generation not in self._digests:
            return self._bad(f"{process} reports generation {generation}, which nobody adopted")
        holder.reported = generation
        return None

    def forgot(self, process: str) -> None:
        """Its disk is lost, and the tables on it: what it reported is known to others only."""
        self._holders.pop(process, None)

    def last_reported(self, process: str) -> int:
        """The newest generation that a target has reported; 0 before the first."""
        holder = self._holders.get(process)
        return holder.reported if holder is not None else 0

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when nothing was seen at all."""
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self._digests else (UNKNOWN, ["no adoption of a table was seen"])

    def _bad(self, problem: str) -> str:
        self.problems.append(problem)
        return problem
