"""Faults aimed at who leads a busy row: they look into the cluster to choose where it hurts.

A leader is found as an outsider who knows everything would: in the running daemons, with a
chance that grows with the length of its rows' logs. What is done to it is what other faults do
to anybody, so it is as fair; only chance would need many more runs to hit the same moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicast.formation import Member
from replicast.sim.cluster import Unit
from replicast.units import MS

if TYPE_CHECKING:
    from replicast.sim.faults import Faults

ALONE_NS_MAX = 400 * MS  # far less than a lease


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


def leader_kill(faults: Faults, most_ns: int) -> None:
    """Its power goes, and comes back."""
    unit = leader(faults)
    if unit is not None:
        faults.cluster.kill_target(unit)
        faults._lasting(most_ns, lambda: faults.revive(unit))


def leader_pause(faults: Faults, most_ns: int) -> None:
    """It stands still."""
    unit = leader(faults)
    if unit is not None:
        unit.process.pause()
        faults._lasting(most_ns, unit.process.resume)


def leader_cut(faults: Faults, most_ns: int) -> None:
    """No other target hears it or is heard; clients are."""
    unit = leader(faults)
    if unit is not None:
        _cut(faults, unit, _others(faults, unit), most_ns)


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
    ways = _ways(unit, _others(faults, unit))
    _set_cut(faults, ways, cut=True)

    def die() -> None:
        if faults.stopped:
            return
        if unit.process.running:
            faults.cluster.kill_target(unit)
            faults._lasting(most_ns, lambda: faults.revive(unit))
        _set_cut(faults, ways, cut=False)

    faults.cluster.world.after(alone_ns, die)


def _host(member: Member) -> str:
    return member.udp[0]


def _others(faults: Faults, unit: Unit) -> list[str]:
    return [other.process.host for other in faults.cluster.targets if other is not unit]


def _ways(unit: Unit, others: list[str]) -> list[tuple[str, str]]:
    host = unit.process.host
    return [way for other in others for way in ((host, other), (other, host))]


def _cut(faults: Faults, unit: Unit, others: list[str], most_ns: int) -> None:
    ways = _ways(unit, others)
    _set_cut(faults, ways, cut=True)
    faults._lasting(most_ns, lambda: _set_cut(faults, ways, cut=False))


def _set_cut(faults: Faults, ways: list[tuple[str, str]], *, cut: bool) -> None:
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
}
