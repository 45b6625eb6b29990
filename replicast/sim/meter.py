"""Looks at every process once a virtual second, for bounds.py; draws and changes nothing.

meter = Meter(cluster, factor)
meter.start() .stop()            operations begin; the operator begins
meter.left()                     what in-flight structures still hold, now
meter.verdict(operations, faults)
"""

from __future__ import annotations

from collections.abc import Iterator

from replicast.sim.bounds import PROCESS_MESSAGES_MAX, Bounds
from replicast.sim.cluster import SimCluster, Unit
from replicast.sim.gauges import Gauge, of_initiator, of_target
from replicast.sim.process import SimRuntime
from replicast.units import SECOND


class Meter:
    """One per run."""

    def __init__(self, cluster: SimCluster, factor: float, dearer: int = 1) -> None:
        self._cluster, self._world = cluster, cluster.world
        self.bounds = Bounds(factor * dearer, PROCESS_MESSAGES_MAX * dearer)
        self._counted: dict[str, tuple[SimRuntime, int]] = {}
        self._frames: dict[str, int] = {}
        self._stopped = False

    def start(self) -> None:
        """From now on."""
        self._look()
        self.bounds = Bounds(
            self.bounds.factor, self.bounds.process_messages_max
        )  # what came before is not of the operations
        self._again()

    def stop(self) -> None:
        """No more."""
        self._stopped = True

    def left(self) -> list[str]:
        """What is not empty and should be."""
        found = []
        for unit in self._running():
            assert unit.process.loop is not None
            unit.process.loop.forget_done()
            found.append(self.bounds.left(unit.process.name, gauges_of(unit)))
        return [each for each in found if each is not None]

    def verdict(self, operations: int, faults: int) -> tuple[str, list[str]]:
        """See bounds.py; what outgrew its bound was reported at once."""
        told = list(self.bounds.problems)
        verdict, problems = self.bounds.verdict(operations, faults)
        return verdict, [problem for problem in problems if problem not in told]

    def _again(self) -> None:
        self._world.after(SECOND, self._each_second)

    def _each_second(self) -> None:
        if self._stopped:
            return
        self._look()
        self._again()

    def _look(self) -> None:
        for unit in self._running():
            problem = self.bounds.looked(unit.process.name, gauges_of(unit), self._sent(unit))
            if problem is not None:
                self._world.fail(problem, checker="bounds")

    def _running(self) -> Iterator[Unit]:
        for unit in (*self._cluster.targets, *self._cluster.clients):
            if unit.process.running:
                yield unit

    def _sent(self, unit: Unit) -> int:
        """Messages since the last look; of a new start: since then."""
        process = unit.process
        assert process.runtime is not None
        runtime, before = self._counted.get(process.name, (None, 0))
        total = process.runtime.datagrams_sent()
        self._counted[process.name] = (process.runtime, total)
        frames = self._cluster.watch.frames.get(process.host, 0)
        new_frames = frames - self._frames.get(process.host, 0)
        self._frames[process.host] = frames
        return new_frames + total - (before if runtime is process.runtime else 0)


def gauges_of(unit: Unit) -> list[Gauge]:
    """Of a running process."""
    if unit.daemon is not None:
        return of_target(unit.daemon)
    return of_initiator(unit.opened) if unit.opened is not None else []
