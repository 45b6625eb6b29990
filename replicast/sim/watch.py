"""Watches all processes of a run for the checkers of contract clause C6 and of generations.

    watch = Watch(world)            a breach fails the run at once, with its time
    watch.witness(process)          what a start of a process gets as its Runtime's witness
    watch.sent(), watch.arrived()   frames of the channels: renewals and grants of leases
    watch.verdicts()                unknown for a checker that was shown nothing

It only looks: no random number is drawn, no event made, nothing answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from replicast.flexhash.table import Table
from replicast.sim.answers import Answers
from replicast.sim.checkers import BAD
from replicast.sim.epochs import Epochs
from replicast.sim.fences import Fences
from replicast.sim.generations import Generations
from replicast.sim.leaders import Leaders
from replicast.sim.leases import Leases
from replicast.sim.replicas import Replicas
from replicast.sim.stored import Stored
from replicast.sim.turns import Clock
from replicast.sim.world import World
from replicast.wire import control_messages as cm
from replicast.wire.frame import unpack_frame

LEASE_TYPES = (cm.LeaseRenew.TYPE, cm.LeaseGrant.TYPE)


class Watched(Protocol):
    """What is watched of a process (sim/process.py)."""

    name: str
    host: str
    clock: Clock
    starts: int


@dataclass(frozen=True, slots=True)
class Checkers:
    """Those that are fed here, and the tables that they need."""

    generations: Generations
    leases: Leases
    leaders: Leaders
    fences: Fences
    stored: Stored
    tables: dict[int, Table]
    replicas: Replicas
    epochs: Epochs
    by_clocks: bool  # whether clocks keep to the lease margin, on which leases and leaders rest


class Watch:
    """One per world; with clocks outside of the lease margin leases and leaders go unjudged."""

    def __init__(self, world: World, replicas: Replicas, *, by_clocks: bool = True) -> None:
        self._world = world
        self.checkers = Checkers(
            Generations(),
            Leases(),
            Leaders(),
            Fences(),
            Stored(),
            {},
            replicas,
            Epochs(),
            by_clocks,
        )
        self.voter_epoch: Callable[[str], int] = lambda host: 0  # of the voter there (cluster.py)
        self.frames: dict[str, int] = {}  # sent so far, by host
        self._processes: dict[str, Watched] = {}  # by host

    def witness(self, process: Watched) -> Answers:
        """For one start of a process."""
        self._processes[process.host] = process
        return Answers(process.name, process.starts, process.clock, self.checkers, self._breach)

    def sent(self, source: str, target: str, frame: bytes) -> None:
        """A frame leaves a host."""
        self.frames[source] = self.frames.get(source, 0) + 1
        if frame[0] not in LEASE_TYPES:
            return
        message = unpack_frame(frame)[0]
        here = self._processes[source]
        if isinstance(message, cm.LeaseRenew):
            problem = self.checkers.generations.reported(here.name, message.adopted)
            self._breach("generations", problem)
            self.checkers.leases.asked(
                here.name,
                here.starts,
                message.sequence,
                here.clock.now_ns(),
                message.stopping,
            )
        elif isinstance(message, cm.LeaseGrant):
            name = self._processes[target].name
            self.checkers.leases.granted(name, message.sequence, here.clock.now_ns())
            if self.checkers.by_clocks:
                epoch, age_ns = self.voter_epoch(source), message.age_ns
                problem = self.checkers.epochs.granted(
                    here.name, epoch, age_ns, self._world.time_ns
                )
                self._breach("epochs", problem)

    def arrived(self, source: str, target: str, frame: bytes) -> None:
        """A frame reaches a host."""
        if frame[0] != cm.LeaseGrant.TYPE:
            return
        message = unpack_frame(frame)[0]
        assert isinstance(message, cm.LeaseGrant)
        here, counted = self._processes[target], self._processes[source].clock.now_ns
        self.checkers.leases.arrived(
            here.name, here.starts, message.sequence, message.duration_ns, counted
        )

    def verdicts(self) -> list[tuple[str, str, list[str]]]:
        """(checker, verdict, why) of each; what is bad was reported at once."""
        c = self.checkers
        made = [("generations", c.generations.verdict())]
        if c.by_clocks:
            made += [("leases", c.leases.verdict()), ("leaders", c.leaders.verdict())]
            made += [("epochs", c.epochs.verdict())]
        made += [("fences", c.fences.verdict()), ("replicas", c.replicas.verdict())]
        return [(name, verdict, [] if verdict == BAD else why) for name, (verdict, why) in made]

    def _breach(self, checker: str, problem: str | None) -> None:
        if problem is not None:
            self._world.fail(problem, checker=checker)
