"""What operators do to a running cluster: restart its targets in turn, give VDEVs another capacity.

These are all reconfigurations that the product has: members, voters and VDEVs are fixed when a
cluster is formed; a VDEV's weight follows its `capacity` setting, which counts from the next start
of its target and moves rows. An operator is careful, but not for ever: after most_ns without
health the work goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicast.gateway.status import status_report
from replicast.sim.cluster import SimCluster, Unit
from replicast.units import GIB, MS, SECOND

if TYPE_CHECKING:
    from replicast.sim.faults import Faults

POLL_NS = 250 * MS
DOWN_NS_MAX = 2 * SECOND  # what an upgrade takes
CAPACITIES_GIB = (1, 2, 3, 4, 8)


def healthy(cluster: SimCluster) -> bool:
    """Every target is ready under a lease, every row has all its replicas: as /readyz and
    `replicast status` say it."""
    best = None
    for unit in cluster.targets:
        daemon = unit.daemon
        if not unit.process.running or daemon is None or not daemon._ready:
            return False
        table = daemon._client.table
        if table is None or not daemon._lease.valid(unit.process.clock.now_ns()):
            return False
        if best is None or table.generation > best.generation:
            best = table
    assert best is not None
    rows = status_report(best, {}, transport="", implementation="")["rows"]
    return bool(rows["in_sync"] == best.policy.row_count)


def rolling(faults: Faults, most_ns: int) -> None:
    """Restart all targets, each when the one before is back and the cluster is healthy."""
    units = faults.rng.sample(faults.cluster.targets, len(faults.cluster.targets))
    if faults.take_operator():
        _Round(faults, units, most_ns).go_on()


def resize(faults: Faults, most_ns: int) -> None:
    """Another capacity for a VDEV, and its target is restarted: rows move to it or away."""
    unit = faults.rng.choice(faults.cluster.targets)
    drive = faults.rng.choice(unit.drives)
    if faults.take_operator():
        drive.capacity_bytes = faults.rng.choice(CAPACITIES_GIB) * GIB
        drive.disk.capacity_bytes = drive.capacity_bytes + GIB  # a larger file system
        _Round(faults, [unit], most_ns).go_on()


class _Round:
    """One operator who restarts targets one after the other."""

    def __init__(self, faults: Faults, units: list[Unit], most_ns: int) -> None:
        self._faults, self._world = faults, faults.cluster.world
        self._left, self._most_ns = units, most_ns

    def go_on(self) -> None:
        """The next target, or the end."""
        if not self._left:
            self._faults.free_operator()
            return
        unit = self._left.pop()
        unit.process.terminate()
        self._when(lambda: not unit.process.running, lambda: self._start_later(unit))

    def _start_later(self, unit: Unit) -> None:
        self._world.after(self._faults.rng.randrange(DOWN_NS_MAX), lambda: self._start(unit))

    def _start(self, unit: Unit) -> None:
        if not self._faults.stopped:
            self._faults.revive(unit)
            self._when(lambda: healthy(self._faults.cluster), self.go_on)

    def _when(self, done: Callable[[], bool], then: Callable[[], None]) -> None:
        until_ns = self._world.time_ns + self._most_ns

        def look() -> None:
            if self._faults.stopped:
                return
            if done() or self._world.time_ns >= until_ns:
                then()
            else:
                self._world.after(POLL_NS, look)

        self._world.after(POLL_NS, look)
