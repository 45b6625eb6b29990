"""A voter is replaced, as an operator does it: `replicast raft replace OLD NEW` (docs/operations.md).

    lost       its host loses power and all files of the control plane, for good: the folder that it
               comes back with later has what `cluster join` does not write anew (its keys) and no memory
    or moved   it is well and goes on as a plain target

One at a time, and only when all voters have begun their epoch: who is not there yet cannot be lost
as well. The operator ends what was begun, faults or none; the machine comes back only then. Drives
are not touched: what they hold is another matter (disk_faults.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicast.flexhash.commands import encode_command
from replicast.flexhash.raft.journal import VOTE
from replicast.flexhash.voter_file import VOTERS_FILE
from replicast.flexhash.voters import VoterEntry, VoterSet, info, voter_set
from replicast.formation import VOTER_EPOCH
from replicast.memory_disk import MemoryDisk
from replicast.sim.cluster import DIRECTORY, SimCluster, Unit
from replicast.target.voter import VoterRole
from replicast.units import MS, SECOND
from replicast.wire.voter_messages import ReplaceVoters

if TYPE_CHECKING:
    from replicast.sim.faults import Faults

LOST_PERCENT = 70
ASK_NS = 500 * MS
BACK_NS_MAX = 8 * SECOND


def replace_voter(faults: Faults, most_ns: int) -> None:
    """See the module header."""
    cluster = faults.cluster
    voters = newest(cluster)
    if voters is None or not all(_begun(unit, voters) for unit in _units(cluster, voters)):
        return
    spare = [u for u in cluster.targets if u.member.node_id not in voters.node_ids and _serves(u)]
    if spare and faults.take_operator():
        old = faults.rng.choice(_units(cluster, voters))
        _Replacement(faults, voters, old, faults.rng.choice(spare))


def newest(cluster: SimCluster) -> VoterSet | None:
    """The voters of the latest epoch that any running target knows."""
    roles = [role for unit in cluster.targets if (role := _role(unit)) is not None]
    return max((role.voters for role in roles), key=lambda v: v.epoch, default=None)


class _Replacement:
    """One voter gives its place to another."""

    def __init__(self, faults: Faults, voters: VoterSet, old: Unit, new: Unit) -> None:
        self._faults, self._cluster, self._world = faults, faults.cluster, faults.cluster.world
        self._voters, self._old = voters, old
        kept = [each for each in voters.voters if each.node_id != old.member.node_id]
        m = new.member
        entry = VoterEntry(m.node_id, m.control, m.public_key, m.raft, m.name)
        self._after = voter_set(voters.epoch + 1, [*kept, entry])
        self._world.note("operator", "replace_voter", old=old.member.name, new=m.name)
        self._lost = faults.rng.randrange(100) < LOST_PERCENT
        if self._lost:
            lose(self._cluster, old)
        self._ask()

    def _ask(self) -> None:
        """Of the Raft leader, until the next epoch has begun at all its voters."""
        units = _units(self._cluster, self._after)
        if all(_begun(unit, self._after) for unit in units):
            self._done()
            return
        for unit in self._cluster.targets:
            role = _role(unit)
            if role is None or role.raft is None or not role.raft.node.is_leader:
                continue
            if role.voters.epoch == self._voters.epoch:
                command = ReplaceVoters(
                    voter_epoch=self._voters.epoch, voters=tuple(map(info, self._after.voters))
                )
                now_ns = unit.process.clock.now_ns()
                role.raft.node.submit(encode_command(command), lambda *outcome: None, now_ns)
                role.raft.wake()
        self._world.after(ASK_NS, self._ask)

    def _done(self) -> None:
        self._world.note("operator", "replaced", epoch=self._after.epoch)
        self._faults.free_operator()
        if self._lost:
            back_ns = self._faults.rng.randrange(BACK_NS_MAX)
            self._world.after(back_ns, lambda: self._cluster.return_target(self._old))


def lose(cluster: SimCluster, unit: Unit) -> None:
    """Its power goes, and the disk of the control plane with it; it does not run before return_target()."""
    cluster.kill_target(unit)
    cluster.away[unit.member.name] = unit
    unit.process.disk = MemoryDisk()
    unit.process.disk.make_directory(DIRECTORY)
    cluster.watch.checkers.generations.forgot(unit.member.name)


def _role(unit: Unit) -> VoterRole | None:
    return getattr(unit.daemon, "_voter", None) if unit.process.running else None


def _serves(unit: Unit) -> bool:
    daemon = unit.daemon
    return unit.process.running and daemon is not None and daemon._ready


def _units(cluster: SimCluster, voters: VoterSet) -> list[Unit]:
    return [unit for unit in cluster.targets if unit.member.node_id in voters.node_ids]


def _begun(unit: Unit, voters: VoterSet) -> bool:
    """Whether its files say that it takes part in that epoch, running or not."""
    folder = DIRECTORY / ("raft" if voters.epoch == VOTER_EPOCH else f"raft-{voters.epoch}")
    try:
        return VOTE in unit.process.disk.list(folder) and VOTERS_FILE in unit.process.disk.list(
            DIRECTORY
        )
    except FileNotFoundError:
        return False


VOTER_KINDS = {"replace_voter": replace_voter}
