"""What goes wrong in a simulated cluster, and when: each fault is a small endless story.

A fault kind waits a drawn time around `every_seconds`, does its harm to drawn victims for a drawn
time up to `seconds`, and mends it, until the faults end. All of them are fair: the contract (DESIGN
section 2) holds under any mixture, so a red run is a bug. docs/simulation.md says why each is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from replicast.sim.addition_faults import ADDITION_KINDS
from replicast.sim.bucket_faults import BUCKET_KINDS
from replicast.sim.chunk_faults import CHUNK_KINDS
from replicast.sim.cluster import SimCluster, Unit
from replicast.sim.disk_faults import DISK_KINDS
from replicast.sim.leader_faults import LEADER_KINDS
from replicast.sim.network import Weather
from replicast.sim.reconfigure import resize, rolling
from replicast.sim.row_faults import ROW_KINDS
from replicast.sim.vdev import SYNC_NS_MAX, Drive
from replicast.sim.voter_faults import VOTER_KINDS
from replicast.units import MS, SECOND, US

SLOW_FACTOR = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """One [[fault]] of a test file; times in seconds."""

    kind: str
    every_seconds: float
    seconds: float = 5.0  # how long one lasts at most
    at_once: int = 1
    until_seconds: float = float("inf")  # of the trouble: none begins later


class Faults:
    """All faults of a run, until stop()."""

    def __init__(self, cluster: SimCluster, plans: list[FaultPlan], rng: random.Random) -> None:
        self._cluster, self._rng = cluster, rng
        self._world = cluster.world
        self._began_ns = cluster.world.time_ns
        self._stopped = self._operator_busy = False
        self._clock_off = False  # of a target
        self.count = 0
        for plan in plans:
            self._next(plan, KINDS[plan.kind])

    def stop(self) -> None:
        """No new faults; the cluster mends what is left (SimCluster.calm)."""
        self._stopped = True

    # -- for faults in files of their own -------------------------------------------------

    @property
    def cluster(self) -> SimCluster:
        """What they harm."""
        return self._cluster

    @property
    def rng(self) -> random.Random:
        """What they draw from."""
        return self._rng

    @property
    def stopped(self) -> bool:
        """Whether nothing may be harmed any more."""
        return self._stopped

    def take_operator(self) -> bool:
        """There is one operator, who does one thing at a time."""
        free, self._operator_busy = not self._operator_busy, True
        return free

    def free_operator(self) -> None:
        """What was done is done."""
        self._operator_busy = False

    def _next(self, plan: FaultPlan, harm: Harm) -> None:
        wait_ns = int(plan.every_seconds * SECOND * self._rng.uniform(0.2, 1.8))

        def go() -> None:
            late = self._world.time_ns > self._began_ns + plan.until_seconds * SECOND
            if not self._stopped and not late:
                self.count += 1
                for _ in range(self._rng.randint(1, plan.at_once)):
                    harm(self, int(plan.seconds * SECOND))
                self._next(plan, harm)

        self._world.after(wait_ns, go)

    def _lasting(self, most_ns: int, mend: Callable[[], None]) -> None:
        """Mend after a drawn time: mostly short, at times the whole of it."""
        lasts_ns = int(most_ns * self._rng.random() ** 2) + self._rng.randrange(1, 100 * MS)
        self._world.after(lasts_ns, lambda: None if self._stopped else mend())

    def _target(self) -> Unit:
        return self._rng.choice(self._cluster.targets)

    def _hosts(self) -> list[str]:
        return [u.process.host for u in (*self._cluster.targets, *self._cluster.clients)]

    # -- processes --------------------------------------------------------------------

    def attrition(self, most_ns: int) -> None:
        """The power of one host goes, and comes back."""
        unit = self._target()
        if unit.process.running:
            self._cluster.kill_target(unit)
            self._lasting(most_ns, lambda: self.revive(unit))

    def terminate(self, most_ns: int) -> None:
        """An operator restarts a target."""
        unit = self._target()
        unit.process.terminate()
        self._lasting(most_ns, lambda: self.revive(unit))

    def revive(self, unit: Unit) -> None:
        """Start a target when its process has ended."""
        if unit.process.running:
            self._world.after(SECOND, lambda: None if self._stopped else self.revive(unit))
        else:
            self._cluster.start_target(unit)

    def pause(self, most_ns: int) -> None:
        """A process stands still."""
        process = self._target().process
        process.pause()
        self._lasting(most_ns, process.resume)

    def client_attrition(self, most_ns: int) -> None:
        """A client program is killed in the middle of its work, and started again."""
        unit = self._rng.choice(self._cluster.clients)
        if unit.process.running:
            self._cluster.kill_client(unit)
            self._lasting(most_ns, lambda: self._cluster.restart_client(unit))

    # -- network ----------------------------------------------------------------------

    def clog(self, most_ns: int) -> None:
        """Nothing moves from one host to another for a while; nothing is lost."""
        source, target = self._rng.sample(self._hosts(), 2)
        until_ns = self._world.time_ns + self._rng.randrange(1, most_ns)
        self._cluster.wires.network.change(source, target).clogged_until_ns = until_ns

    def swizzle(self, most_ns: int) -> None:
        """Some hosts are clogged one after the other and come back in another order."""
        network, hosts = self._cluster.wires.network, self._hosts()
        chosen = self._rng.sample(hosts, self._rng.randint(1, len(hosts) // 2))
        for number, host in enumerate(chosen):
            begins_ns = number * self._rng.randrange(1, 200 * MS)
            ends_ns = self._world.time_ns + begins_ns + self._rng.randrange(1, most_ns)

            def clog(host: str = host, ends_ns: int = ends_ns) -> None:
                for other in hosts:
                    if other != host and not self._stopped:
                        network.change(host, other).clogged_until_ns = ends_ns
                        network.change(other, host).clogged_until_ns = ends_ns

            self._world.after(begins_ns, clog)

    def partition(self, most_ns: int) -> None:
        """Some hosts are cut off from the others, both ways."""
        hosts = self._hosts()
        apart = self._rng.sample(hosts, self._rng.randint(1, len(hosts) // 2))
        self._cut([(a, b) for a in apart for b in hosts if b not in apart], most_ns, both=True)

    def one_way(self, most_ns: int) -> None:
        """One host is not heard by some others."""
        source, *others = self._rng.sample(self._hosts(), self._rng.randint(2, 4))
        self._cut([(source, other) for other in others], most_ns, both=False)

    def client_cut(self, most_ns: int) -> None:
        """One client reaches two targets only: who holds what it reads may not be among them."""
        client = self._rng.choice(self._cluster.clients).process.host
        targets = [unit.process.host for unit in self._cluster.targets]
        away = self._rng.sample(targets, len(targets) - 2)
        self._cut([(client, target) for target in away], most_ns, both=True)

    def groups_cut(self, most_ns: int) -> None:
        """One host hears no multicast, or its own does not reach some others; unicast goes on."""
        host, *others = self._rng.sample(self._hosts(), len(self._hosts()))
        deaf = self._rng.random() < 0.5
        some = others if deaf else others[: self._rng.randint(1, len(others))]
        ways = [(other, host) if deaf else (host, other) for other in some]
        network = self._cluster.wires.network

        def change(*, cut: bool) -> None:
            for way in ways:
                network.change(*way).groups_cut = cut

        change(cut=True)
        self._lasting(most_ns, lambda: change(cut=False))

    def _cut(self, pairs: list[tuple[str, str]], most_ns: int, *, both: bool) -> None:
        network = self._cluster.wires.network
        ways = pairs + [(b, a) for a, b in pairs] if both else pairs
        for source, target in ways:
            network.change(source, target).cut = True

        def mend() -> None:
            for source, target in ways:
                network.change(source, target).cut = False

        self._world.note("world", "cut", ways=len(ways), first=ways[0])
        self._lasting(most_ns, mend)

    def lossy(self, most_ns: int) -> None:
        """One host's links lose, repeat and delay datagrams."""
        host = self._rng.choice(self._hosts())
        network = self._cluster.wires.network
        others = [other for other in self._hosts() if other != host]
        bad = Weather(
            loss_ppm=self._rng.choice([1_000, 10_000, 100_000]),
            duplicate_ppm=self._rng.choice([0, 10_000, 100_000]),
            delay_ns_max=self._rng.choice([200 * US, 2 * MS, 20 * MS]),
        )
        names = ("loss_ppm", "duplicate_ppm", "delay_ns_max")

        def change(state: Weather) -> None:
            for other in others:
                for way in ((host, other), (other, host)):
                    weather = network.change(*way)
                    for name in names:
                        setattr(weather, name, getattr(state, name))

        change(bad)
        self._lasting(most_ns, lambda: change(Weather()))

    # -- disks and clocks -------------------------------------------------------------

    def slow_disk(self, most_ns: int) -> None:
        """A drive takes fifty times as long, no longer when it is hit again."""
        drive = self._drive()
        if drive.sync_ns_max > SYNC_NS_MAX:
            return
        drive.sync_ns_max = SLOW_FACTOR * SYNC_NS_MAX

        def mend() -> None:
            drive.sync_ns_max = SYNC_NS_MAX

        self._world.after(self._rng.randrange(1, most_ns), mend)

    def wall_jump(self, most_ns: int) -> None:
        """Somebody sets a host's time of day, up to an hour off, and back again: any number of
        clients', and one target's at a time, for most voters' clocks must be right."""
        unit = self._rng.choice([*self._cluster.targets, *self._cluster.clients])
        jump_ns = self._rng.randint(-3600 * SECOND, 3600 * SECOND)
        if unit.daemon is not None:
            if self._clock_off:
                return
            self._clock_off = True
        unit.process.clock.wall_offset_ns += jump_ns

        def mend() -> None:
            unit.process.clock.wall_offset_ns -= jump_ns
            if unit.daemon is not None:
                self._clock_off = False

        self._world.after(self._rng.randrange(1, most_ns), mend)

    def _drive(self) -> Drive:
        return self._rng.choice(self._target().drives)


Harm = Callable[[Faults, int], None]
KINDS: dict[str, Harm] = {
    "attrition": Faults.attrition,
    "client_attrition": Faults.client_attrition,
    "terminate": Faults.terminate,
    "rolling": rolling,
    "resize": resize,
    "pause": Faults.pause,
    "clog": Faults.clog,
    "swizzle": Faults.swizzle,
    "partition": Faults.partition,
    "one_way": Faults.one_way,
    "client_cut": Faults.client_cut,
    "groups_cut": Faults.groups_cut,
    "lossy": Faults.lossy,
    "slow_disk": Faults.slow_disk,
    "wall_jump": Faults.wall_jump,
    **DISK_KINDS,
    **LEADER_KINDS,
    **ROW_KINDS,
    **ADDITION_KINDS,
    **CHUNK_KINDS,
    **BUCKET_KINDS,
    **VOTER_KINDS,
}
