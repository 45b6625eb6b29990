"""A fault aimed at the additions of a row's replicas: one is asked for, and arrives too late.

It takes several things at the right moments, each of which other faults do to anybody: hosts that
do not hear each other for some seconds (row_faults.py, leader_faults.py: the same).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicast.sim.cluster import Unit
from replicast.sim.leader_faults import set_cut, ways_of, whole
from replicast.sim.row_faults import busy_row
from replicast.target.names.service import NameService
from replicast.units import MS, SECOND

if TYPE_CHECKING:
    from replicast.sim.faults import Faults

LOOK_NS = 20 * MS
REMOVED_NS_MAX = 8 * SECOND  # until a follower that its leader does not hear has left the set
LED_NS_MAX = 12 * SECOND  # until a row whose leader has no lease any more is led by another
MORE_ENTRIES = 2


def late_addition(faults: Faults, most_ns: int) -> None:
    """A follower was out of the set of a row and comes back. Just then its leader is cut from all
    voters, so that it is caught up and cannot be added. The lease ends, the row is led by another,
    which goes on without that follower; then the old leader reaches the voters again, and what it
    wanted to ask is still in its queue."""
    row, replicas, followers = busy_row(faults)
    voters = [member.udp[0] for member in faults.cluster.formation.voter_members()]
    joiner = next((each for each in followers if each.process.host not in voters), None)
    if joiner is None or not whole(faults):  # a voter that catches up would pass the question on
        return
    (first,) = (each for each in replicas if each not in followers)
    rest = [each for each in faults.cluster.targets if each not in (first, joiner)]
    apart = ways_of(joiner, [first.process.host])
    from_rest = ways_of(joiner, [each.process.host for each in followers if each is not joiner])
    from_voters = ways_of(first, [host for host in voters if host != first.process.host])

    def come_back() -> None:
        set_cut(faults, from_voters + from_rest, cut=True)
        set_cut(faults, apart, cut=False)
        _when(faults, led_by_another, LED_NS_MAX, let_through)

    def led_by_another() -> bool:
        return any(_goes_on(each, row, joiner) for each in rest)

    def let_through() -> None:
        set_cut(faults, from_voters, cut=False)
        faults.cluster.world.after(most_ns, mend)

    def mend() -> None:
        if not faults.stopped:
            set_cut(faults, from_rest, cut=False)

    set_cut(faults, apart, cut=True)
    _when(faults, lambda: not _in_set(first, row, joiner), REMOVED_NS_MAX, come_back)


def _when(
    faults: Faults, true: Callable[[], bool], within_ns: int, then: Callable[[], None]
) -> None:
    """Go on as soon as something holds, or when it is late."""
    world = faults.cluster.world
    until_ns = world.time_ns + within_ns

    def look() -> None:
        if faults.stopped:
            return
        if true() or world.time_ns > until_ns:
            then()
        else:
            world.after(LOOK_NS, look)

    look()


def _names(unit: Unit) -> NameService | None:
    service = getattr(unit.daemon, "_service", None)
    return None if service is None else service.names


def _in_set(unit: Unit, row: int, other: Unit) -> bool:
    """Does one target take another for a replica of the row?"""
    names = _names(unit)
    if names is None:
        return True
    context = names.context
    return other.member.node_id in map(context.node_of, context.name_replicas(row))


def _goes_on(unit: Unit, row: int, without: Unit) -> bool:
    """Does it lead the row, and has it committed more than another replica has?"""
    ahead, behind = _names(unit), _names(without)
    led = None if ahead is None else ahead._leaders.get(row)
    if led is None or behind is None:
        return False
    held = [r.log.last.index for (number, _), r in behind._replicas.items() if number == row]
    return led.replica.committed_index >= max(held, default=0) + MORE_ENTRIES


ADDITION_KINDS = {"late_addition": late_addition}
