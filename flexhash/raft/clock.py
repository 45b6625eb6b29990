"""Time, chance and files of the Raft node that is running just now.

pysyncobj asks module-level names for the time, for random numbers and for its journal. seams.py
points those names here; RaftNode sets CURRENT before it calls into pysyncobj. So many nodes
live in one thread, in production and in the simulator alike, each with its own of everything.

Time creeps by 1 us per question: two loops of pysyncobj end only when time passes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicast.flexhash.raft.journal import Journal
    from replicast.flexhash.raft.snapshot import Snapshots

CREEP_NS = 1000


@dataclass(slots=True)
class Surroundings:
    """What one node lives in. `now_ns` is set at every call from outside."""

    rng: random.Random
    journal: Journal
    snapshots: Snapshots
    now_ns: int
    creep_ns: int = 0


class _Current:
    """The one mutable cell: whose turn it is."""

    def __init__(self) -> None:
        self.surroundings: Surroundings | None = None

    def get(self) -> Surroundings:
        if self.surroundings is None:
            raise RuntimeError("pysyncobj was called from outside of RaftNode")
        return self.surroundings


CURRENT = _Current()


def enter(surroundings: Surroundings, now_ns: int) -> None:
    """It is this node's turn, at this time; time never goes back within a node."""
    if now_ns > surroundings.now_ns:
        surroundings.now_ns, surroundings.creep_ns = now_ns, 0
    CURRENT.surroundings = surroundings


def leave() -> None:
    """It is nobody's turn: nothing here keeps the last node alive."""
    CURRENT.surroundings = None


def monotonic_seconds() -> float:
    """The running node's time, creeping."""
    here = CURRENT.surroundings or CURRENT.get()
    here.creep_ns += CREEP_NS
    return (here.now_ns + here.creep_ns) / 1e9


class Chance:
    """Stands for the module `random` inside pysyncobj."""

    @staticmethod
    def random() -> float:
        """A number from the running node's generator."""
        return CURRENT.get().rng.random()
