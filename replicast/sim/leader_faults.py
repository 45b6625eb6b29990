"""Faults aimed at who leads a busy row: they look into the cluster to choose where it hurts.

A leader is found as an outsider who knows everything would: in the running daemons, with a
chance that grows with the length of its rows' logs. What is done to it is what other faults do
to anybody, so it is as fair; only chance would need many more runs to hit the same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicast.formation import Member
from replicast.sim.cluster import Unit
from replicast.sim.network import SILENCE_NS
from replicast.units import MS, SECOND, US

if TYPE_CHECKING:
    from replicast.sim.faults import Faults

ALONE_NS_MAX = 400 * MS  # far less than a lease
WATCH_NS, LOOK_NS = 2 * SECOND, 200 * US
ACKNOWLEDGE_NS = 600 * US  # until its acknowledgement is with the Raft leader, by good luck
HELD_NS_MAX, HELD_NS_STEP = 3 * SECOND, 50 * MS  # at half of the speed of time
LATE_NS_MIN, LATE_NS_MAX = 100 * MS, 300 * MS  # until what had waited is through (network.RETRY_NS)


def leader(faults: Faults) -> Unit | None:
    """A target that leads a row with names in it; None while nobody does."""
    weights: dict[int, int] = {}
    for number, unit in enumerate(faults.cluster.targets):
        if unit.process.running and unit.daemon is not None and hasattr(unit.daemon, "_service"):
            led = unit.daemon._service.names._leaders.values()
            entries = sum(leadership.replica.log.last.index for leadership in led)
            if entries:
                weights[number] = entries
    if not weights:
        return None
    return faults.cluster.targets[faults.rng.choices(list(weights), list(weights.values()))[0]]


def raft_leader(faults: Faults) -> Unit | None:
    """The target whose voter leads Raft and has proved it; None while nobody does."""
    for unit in faults.cluster.targets:
        control = getattr(getattr(unit.daemon, "_voter", None), "control", None)
        if unit.process.running and control is not None and control.core.steward.started:
            return unit
    return None


def leader_kill(faults: Faults, most_ns: int) -> None:
    """Its power goes, and comes back."""
    unit = leader(faults)
    if unit is not None:
        faults.cluster.kill_target(unit)
        _lasting(faults, most_ns, lambda: faults.revive(unit))


def leader_pause(faults: Faults, most_ns: int) -> None:
    """It stands still."""
    unit = leader(faults)
    if unit is not None:
        unit.process.pause()
        _lasting(faults, most_ns, unit.process.resume)


def leader_cut(faults: Faults, most_ns: int) -> None:
    """No other target hears it or is heard; clients are."""
    unit = leader(faults)
    if unit is not None:
        _cut(faults, unit, others(faults, unit), most_ns)


def cut_from_raft(faults: Faults, most_ns: int) -> None:
    """Other voters do not hear it and are not heard: it learns of no table and gets no lease."""
    unit = leader(faults)
    if unit is not None:
        voters = faults.cluster.formation.voter_members()
        _cut(
            faults,
            unit,
            [host for host in map(_host, voters) if host != _host(unit.member)],
            most_ns,
        )


def leader_alone(faults: Faults, most_ns: int) -> None:
    """It is cut from all targets for a moment, then its power goes: what only it had is gone
    from sight, and comes back with it after others led."""
    unit = leader(faults)
    if unit is None:
        return
    alone_ns = faults.rng.randrange(50 * MS, ALONE_NS_MAX)
    ways = ways_of(unit, others(faults, unit))
    set_cut(faults, ways, cut=True)

    def die() -> None:
        if faults.stopped:
            return
        if unit.process.running:
            faults.cluster.kill_target(unit)
            _lasting(faults, most_ns, lambda: faults.revive(unit))
        set_cut(faults, ways, cut=False)

    faults.cluster.world.after(alone_ns, die)


def leader_island(faults: Faults, most_ns: int) -> None:
    """It and one client hear nobody else and are heard by nobody else."""
    unit = leader(faults)
    if unit is not None:
        _island(faults, unit, most_ns)


def _island(faults: Faults, unit: Unit, most_ns: int) -> None:
    client = faults.rng.choice(faults.cluster.clients).process.host
    island = (unit.process.host, client)
    rest = [host for host in faults._hosts() if host not in island]
    ways = [way for here in island for there in rest for way in ((here, there), (there, here))]
    set_cut(faults, ways, cut=True)
    _lasting(faults, most_ns, lambda: set_cut(faults, ways, cut=False))


def leader_deaf(faults: Faults, most_ns: int) -> None:
    """Who is about to lose a row's leadership to a table that it has acknowledged becomes an
    island with one client before that table is current: only the floor knows of it then."""
    world, until_ns = faults.cluster.world, faults.cluster.world.time_ns + WATCH_NS

    def look() -> None:
        if faults.stopped or world.time_ns > until_ns:
            return
        for unit in faults.cluster.targets:
            if unit.process.running and _loses_rows(unit):
                wait_ns = faults.rng.randrange(ACKNOWLEDGE_NS)
                world.after(wait_ns, lambda unit=unit: _island(faults, unit, most_ns))  # type: ignore[misc]
                return
        world.after(LOOK_NS, look)

    look()


def _loses_rows(unit: Unit) -> bool:
    service = getattr(unit.daemon, "_service", None)
    if service is None or service.names.context.prepared is None:
        return False
    coming, led = service.names.context.prepared, service.names._leaders
    return any(coming.row_leader(row) != led[row].vdev_index for row in led)


def leader_late(faults: Faults, most_ns: int) -> None:
    """What other targets and it say to each other waits for a while, comes all at once, and then
    nothing comes any more."""
    unit = leader(faults)
    if unit is None:
        return
    world, network = faults.cluster.world, faults.cluster.wires.network
    until_ns = world.time_ns + faults.rng.randrange(SILENCE_NS)
    there = others(faults, unit)
    for way in ways_of(unit, there):
        network.change(*way).clogged_until_ns = until_ns

    def cut() -> None:
        if not faults.stopped:
            _cut(faults, unit, there, most_ns)

    world.at(until_ns + faults.rng.randrange(LATE_NS_MIN, LATE_NS_MAX), cut)


def leader_lag(faults: Faults, most_ns: int) -> None:
    """What others say to it stays longer and longer in a queue on its way; then it and one
    client become an island, and it still hears what they said before. It leads a row, or Raft."""
    unit = (faults.rng.random() < 0.5 and raft_leader(faults)) or leader(faults)
    if unit is None or not whole(faults):
        return
    world, network, host = faults.cluster.world, faults.cluster.wires.network, unit.process.host
    incoming = [network.change(other, host) for other in others(faults, unit)]
    most_held_ns = faults.rng.randrange(HELD_NS_MAX // 2, HELD_NS_MAX)
    cut_ns = faults.rng.randrange(SECOND)

    def grow() -> None:
        if faults.stopped:
            return
        for weather in incoming:
            weather.held_ns += HELD_NS_STEP
        if incoming[0].held_ns < most_held_ns:
            world.after(2 * HELD_NS_STEP, grow)
        else:
            world.after(most_held_ns + cut_ns, cut)

    def cut() -> None:
        for weather in incoming:
            weather.held_ns = 0
        if not faults.stopped:
            _island(faults, unit, most_ns)

    grow()


def whole(faults: Faults) -> bool:
    """No target is cut from another, nor about to be."""
    hosts, network = [unit.process.host for unit in faults.cluster.targets], faults.cluster.wires
    ways = [network.network.weather(a, b) for a in hosts for b in hosts]
    return not any(weather.cut or weather.held_ns for weather in ways)


def _lasting(faults: Faults, most_ns: int, mend: Callable[[], None]) -> None:
    """Mostly longer than a lease, when `most_ns` is: short troubles are not what these are for."""
    lasts_ns = faults.rng.randrange(most_ns // 4, most_ns)
    faults.cluster.world.after(lasts_ns, lambda: None if faults.stopped else mend())


def _host(member: Member) -> str:
    return member.udp[0]


def others(faults: Faults, unit: Unit) -> list[str]:
    return [other.process.host for other in faults.cluster.targets if other is not unit]


def ways_of(unit: Unit, others: list[str]) -> list[tuple[str, str]]:
    host = unit.process.host
    return [way for other in others for way in ((host, other), (other, host))]


def _cut(faults: Faults, unit: Unit, others: list[str], most_ns: int) -> None:
    ways = ways_of(unit, others)
    set_cut(faults, ways, cut=True)
    _lasting(faults, most_ns, lambda: set_cut(faults, ways, cut=False))


def set_cut(faults: Faults, ways: list[tuple[str, str]], *, cut: bool) -> None:
    for way in ways:
        faults.cluster.wires.network.change(*way).cut = cut
    if cut:
        faults.cluster.world.note("world", "cut", ways=len(ways), first=ways[0] if ways else ())


LEADER_KINDS = {
    "leader_kill": leader_kill,
    "leader_pause": leader_pause,
    "leader_cut": leader_cut,
    "cut_from_raft": cut_from_raft,
    "leader_alone": leader_alone,
    "leader_island": leader_island,
    "leader_deaf": leader_deaf,
    "leader_late": leader_late,
    "leader_lag": leader_lag,
}
