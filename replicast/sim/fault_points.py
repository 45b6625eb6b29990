"""Which fault points of the product (replicast/buggify.py) are taken in a run.

    with choosing(FaultPoints(rng)): ...

The run draws how many points are on, ON_PERCENTS, and each point that is on a chance of its own
to be taken when it is reached. So runs differ in what is odd about them: a bug that needs one
oddity often, and all others away, is met as well as one that needs many at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from replicast.buggify import POINTS

RUNS_PERCENT = 75  # of the runs whose test leaves it to the seed
ON_PERCENTS = (10, 25, 50, 100)
TAKEN_PERCENTS = (1, 5, 10, 25)
SALT = "buggify"


class FaultPoints:
    """The chooser of one run: which points are on, how often each was taken."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.on: dict[str, float] = {}
        self.taken: dict[str, int] = {}
        on_percent = rng.choice(ON_PERCENTS)
        for point in POINTS:
            if rng.randrange(100) < on_percent:
                percents = [p for p in TAKEN_PERCENTS if p <= point.percent_max]
                self.on[point.name] = rng.choice(percents) / 100

    def stop(self) -> None:
        """None is on any more: they are faults, and faults end before the cluster must heal."""
        self.on.clear()

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
