"""Which fault points of the product (replicast/buggify.py) are taken in a run.

    with choosing(FaultPoints(rng)): ...

Each point is on with ON_PERCENT for the whole run; one that is on is taken with a chance of its
own each time it is reached. So runs differ in what is odd about them: with everything odd at
once little would happen, and what needs two oddities for long would never be seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from replicast.buggify import POINTS

RUNS_PERCENT = 75  # of the runs whose test leaves it to the seed
ON_PERCENT = 25
TAKEN_PERCENTS = (1, 5, 10, 25)
SALT = "buggify"


class FaultPoints:
    """The chooser of one run: which points are on, how often each was taken."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.on: dict[str, float] = {}
        self.taken: dict[str, int] = {}
        for point in POINTS:
            if rng.randrange(100) < ON_PERCENT:
                percents = [p for p in TAKEN_PERCENTS if p <= point.percent_max]
                self.on[point.name] = rng.choice(percents) / 100

    def takes(self, name: str) -> bool:
        """Reached: is it taken?"""
        chance = self.on.get(name)
        if chance is None or self._rng.random() >= chance:
            return False
        self.taken[name] = self.taken.get(name, 0) + 1
        return True


def fault_points(seed: int, wanted: bool | None) -> FaultPoints | None:
    """The chooser for a run; None: no point is taken in it. `wanted` None: the seed decides.

    It has a generator of its own, made of the seed: so a run without it is what it was before
    there were fault points, and the same seed with and without has the same cluster and faults.
    """
    rng = random.Random(f"{SALT} {seed}")
    by_seed = rng.randrange(100) < RUNS_PERCENT
    return FaultPoints(rng) if (by_seed if wanted is None else wanted) else None


def reached(taken: Iterable[str]) -> tuple[int, list[str]]:
    """How many points were taken, and the names of those that never were."""
    seen = set(taken)
    never = [point.name for point in POINTS if point.name not in seen]
    return len(POINTS) - len(never), never
