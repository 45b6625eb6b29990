"""Faults aimed at the replicas of one busy row, all of them together (leader_faults.py: one leader).

What is done is power loss and a cut network, as `attrition` and `partition` do them; that it
hits just these hosts at one moment is what only chance would need many runs for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from replicast.sim.disk_faults import rot_near_the_end
from replicast.sim.leader_faults import leader, others, set_cut, ways_of
from replicast.sim.reconfigure import healthy
from replicast.target.names.state import RowState
from replicast.target.store.format import LOG_NAME
from replicast.target.store.index import EntryLocation
from replicast.target.store.memory import PATH
from replicast.target.store.overlay import Overlay
from replicast.target.store.segment import FLUSH_MAGIC, segment_name
from replicast.target.store.views import Views
from replicast.units import MS, SECOND

if TYPE_CHECKING:
    from replicast.sim.cluster import Unit
    from replicast.sim.faults import Faults

APART_NS_MIN, APART_NS_MAX = 100 * MS, 600 * MS  # less than a removal from the set takes
NEWEST_ENTRIES = 8
FLUSHES_BEHIND = 2  # the very last may be torn, and what it holds lost with it
BACK_NS_MAX = 2 * SECOND  # a restart that nobody is declared down for


def one_left(faults: Faults, most_ns: int) -> None:
    """One follower of a row hears no other target for a moment, then the power of all others of
    that row goes: what had been acknowledged must be on the one that is left. They come back,
    mostly when it leads already."""
    _, replicas, followers = busy_row(faults)
    if not followers:
        return
    left = faults.rng.choice(followers)
    ways = ways_of(left, others(faults, left))
    set_cut(faults, ways, cut=True)

    def die() -> None:
        if not faults.stopped:
            _kill([each for each in replicas if each is not left], faults, most_ns)
            set_cut(faults, ways, cut=False)

    faults.cluster.world.after(faults.rng.randrange(APART_NS_MIN, APART_NS_MAX), die)


def one_behind(faults: Faults, most_ns: int) -> None:
    """One follower of a row and its leader do not hear each other for a moment, then the leader
    loses its power: when that follower leads next, others have entries that it has not."""
    _, replicas, followers = busy_row(faults)
    if not followers:
        return
    (first,) = (each for each in replicas if each not in followers)
    ways = ways_of(first, [faults.rng.choice(followers).process.host])
    set_cut(faults, ways, cut=True)

    def die() -> None:
        if not faults.stopped:
            _kill([first], faults, most_ns)
            set_cut(faults, ways, cut=False)

    faults.cluster.world.after(faults.rng.randrange(APART_NS_MIN, APART_NS_MAX), die)


def rotten_left(faults: Faults, most_ns: int) -> None:
    """All replicas of a row lose their power; one follower is back first, and finds its log
    damaged near its end. While it is alone there is nobody to fill the hole."""

    def rot(left: Unit, entries: list[EntryLocation]) -> None:
        for drive in left.drives:
            rot_near_the_end(faults, drive.disk)

    _damaged_left(faults, most_ns, "rotten_left", rot)


def holed_left(faults: Faults, most_ns: int) -> None:
    """The same, but all that is damaged is one of the newest entries of that row: the first that
    has to be read again, when there is one that is not so new that it may pass for torn. What
    came before the first checkpoint is read as a whole after a restart: that would be rotten."""

    def rot(left: Unit, entries: list[EntryLocation]) -> None:
        if not entries:
            return None
        (drive,) = left.drives
        applied = _applied(left, entries[0].row)
        newest = faults.rng.sample(entries[-NEWEST_ENTRIES:], len(entries[-NEWEST_ENTRIES:]))
        first = [found for found in entries if found.index == applied + 1]
        for found in [*first, *newest]:
            path, end = PATH / LOG_NAME / segment_name(found.incarnation), found.offset + found.size
            if drive.disk.files()[path].count(FLUSH_MAGIC, end) >= FLUSHES_BEHIND:
                return drive.disk.flip_bit(path, end - 1, faults.rng.randrange(8))
        return None

    _damaged_left(faults, most_ns, "holed_left", rot, lambda unit, row: _applied(unit, row) > 0)


def _applied(unit: Unit, row: int) -> int:
    """The newest entry whose effects are in the checkpoint of its drive."""
    (drive,) = unit.drives
    return RowState(row, Views(Overlay(drive.checkpoint)), 0).applied.index


def one_stuck(faults: Faults, most_ns: int) -> None:
    """The drive of one replica of a busy row hangs, and nothing else is wrong meanwhile: it is the
    only one, and hangs when the cluster has recovered from the last. Mostly longer than anybody
    may notice it (C7)."""
    row, replicas, _ = busy_row(faults)
    hangs = any(drive.stuck for each in faults.cluster.targets for drive in each.drives)
    if not replicas or hangs or not healthy(faults.cluster):
        return
    unit = faults.rng.choice(replicas)
    assert unit.daemon is not None
    vdevs, context = unit.daemon._vdevs.by_index, unit.daemon._service.names.context
    of_the_row = [vdevs[v].vdev_id for v in context.name_replicas(row) if v in vdevs]
    drive = next((each for each in unit.drives if each.vdev_id in of_the_row), None)
    if drive is None:  # it has an older table than who leads
        return
    drive.stick()
    faults.cluster.world.note("world", "one_stuck", target=unit.member.name)
    lasts_ns = faults.rng.randrange(most_ns // 2, most_ns)
    faults.cluster.world.after(lasts_ns, lambda: None if faults.stopped else drive.unstick())


def away(faults: Faults, most_ns: int) -> None:
    """The power of one follower of a busy row goes, and comes back when that row's log has been cut
    behind it, mostly: one at a time, when the cluster has recovered from the last."""
    _, _, followers = busy_row(faults)
    if not followers or not healthy(faults.cluster):
        return
    unit = faults.rng.choice(followers)
    faults.cluster.world.note("world", "away", target=unit.member.name)
    faults.cluster.kill_target(unit)
    lasts_ns = faults.rng.randrange(most_ns // 2, most_ns)
    faults.cluster.world.after(lasts_ns, lambda: _revive(faults, unit))


def _damaged_left(
    faults: Faults,
    most_ns: int,
    kind: str,
    rot: Callable[[Unit, list[EntryLocation]], None],
    fits: Callable[[Unit, int], bool] = lambda unit, row: True,
) -> None:
    """`rot` gets the entries of the row that are durable on the follower that comes back first."""
    row, replicas, followers = busy_row(faults)
    may_hit = faults.cluster.damage.may_hit
    followers = [each for each in followers if may_hit(each.member.host) and fits(each, row)]
    if not followers:
        return
    left = faults.rng.choice(followers)
    assert left.daemon is not None
    logs = [vdev.row_log(row) for vdev in left.daemon._vdevs.by_id.values()]
    faults.cluster.damage.claim(left.member.host, kind)
    faults.cluster.kill_target(left)
    rot(left, max(logs, key=len))
    faults.cluster.world.after(faults.rng.randrange(BACK_NS_MAX), lambda: _revive(faults, left))
    _kill([each for each in replicas if each is not left], faults, most_ns)


def _kill(units: list[Unit], faults: Faults, most_ns: int) -> None:
    """All at once; they are back at once, too."""
    lasts_ns = faults.rng.randrange(most_ns // 2, most_ns)
    for unit in units:
        if unit.process.running:
            faults.cluster.kill_target(unit)
            faults.cluster.world.after(lasts_ns, lambda unit=unit: _revive(faults, unit))  # type: ignore[misc]


def _revive(faults: Faults, unit: Unit) -> None:
    if not faults.stopped:
        faults.revive(unit)


def busy_row(faults: Faults) -> tuple[int, list[Unit], list[Unit]]:
    """A busy row, who is in sync for it, and those of them that do not lead it. None while a host is
    down: these are stories that end when the one that is left leads, and told one at a time."""
    unit = leader(faults)
    running = all(each.process.running for each in faults.cluster.targets)
    if unit is None or unit.daemon is None or not running:
        return 0, [], []
    names = unit.daemon._service.names
    led = max(names._leaders.values(), key=lambda each: each.replica.log.last.index)
    nodes = dict.fromkeys(map(names.context.node_of, names.context.name_replicas(led.row)))
    replicas = [each for each in faults.cluster.targets if each.member.node_id in nodes]
    return led.row, replicas, [each for each in replicas if each is not unit]


ROW_KINDS = {
    "away": away,
    "one_left": one_left,
    "one_behind": one_behind,
    "one_stuck": one_stuck,
    "rotten_left": rotten_left,
    "holed_left": holed_left,
}
