"""A change of voters, step by step: a crash at any operation of the disk, alive or lost, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replicast.flexhash.commands import encode_command
from replicast.flexhash.voters import VoterEntry, VoterSet, info, voter_set
from replicast.sim.cluster import Shape, SimCluster, Unit
from replicast.sim.reconfigure import healthy
from replicast.sim.run import one_world
from replicast.sim.voter_faults import _begun, _role, _units, lose, newest
from replicast.sim.world import World
from replicast.units import MS, SECOND
from replicast.wire.voter_messages import ReplaceVoters

Choose = Callable[[SimCluster], Unit]


def formed(seed: int = 1, targets: int = 4) -> SimCluster:
    shape = Shape(targets=targets, vdevs=1, rows=16, clients=0, copies=min(3, targets))
    cluster = SimCluster(World(seed), shape)
    cluster.start()
    assert cluster.world.run_until(60 * SECOND, lambda: healthy(cluster))
    return cluster


def leader(cluster: SimCluster) -> Unit:
    def leads(unit: Unit) -> bool:
        role = _role(unit)
        return role is not None and role.raft is not None and role.raft.node.is_leader

    return next(unit for unit in cluster.targets if leads(unit))


def spare(cluster: SimCluster) -> Unit:
    voters = newest(cluster)
    assert voters is not None
    return next(u for u in cluster.targets if u.member.node_id not in voters.node_ids)


def followers(cluster: SimCluster) -> list[Unit]:
    voters = newest(cluster)
    assert voters is not None
    return [unit for unit in _units(cluster, voters) if unit is not leader(cluster)]


def replace(cluster: SimCluster, old: Unit) -> VoterSet:
    """Asks the leader to let the spare target vote in the place of `old`; the next voters."""
    voters, m = newest(cluster), spare(cluster).member
    assert voters is not None
    kept = [v for v in voters.voters if v.node_id != old.member.node_id]
    entry = VoterEntry(m.node_id, m.control, m.public_key, m.raft, m.name)
    after = voter_set(voters.epoch + 1, [*kept, entry])
    command = ReplaceVoters(voter_epoch=voters.epoch, voters=tuple(map(info, after.voters)))
    unit = leader(cluster)
    role = _role(unit)
    assert role is not None and role.raft is not None
    role.raft.node.submit(
        encode_command(command), lambda *outcome: None, unit.process.clock.now_ns()
    )
    role.raft.wake()
    return after


def taken_over(cluster: SimCluster, voters: VoterSet) -> bool:
    """All of them vote in the epoch and one leads, nobody else votes, and the cluster is healthy."""
    for unit in cluster.targets:
        role = _role(unit)
        if role is None or role.voters.epoch != voters.epoch:
            return False
        votes = role.raft is not None and role.control is not None
        if votes != (unit.member.node_id in voters.node_ids) or role.lost:
            return False
        if votes and (
            not _begun(unit, voters) or role.raft.node.settings.voter_epoch != voters.epoch
        ):
            return False
    leads = [u for u in _units(cluster, voters) if _role(u).raft.node.is_leader]  # type: ignore[union-attr]
    return len(leads) == 1 and healthy(cluster)


def settle(cluster: SimCluster, voters: VoterSet) -> None:
    world = cluster.world
    assert world.run_until(world.time_ns + 60 * SECOND, lambda: taken_over(cluster, voters))
    assert world.failures == []


class CrashAt:
    """The power of a host goes at the number-th operation on the files of the next epoch."""

    def __init__(self, cluster: SimCluster, unit: Unit, number: int) -> None:
        self._cluster, self._unit, self._number = cluster, unit, number
        self.count, self.crashed = 0, False
        unit.process.disk.fault = self._look

    def _look(self, operation: str, path: Path) -> None:
        if "raft-2" not in str(path) and "voters.toml" not in path.name and not self.crashed:
            return
        self.count += 1
        if self.crashed:
            raise OSError(5, "the power is gone")
        if self.count == self._number:
            self.crashed = True
            self._cluster.world.after(0, self._die)
            raise OSError(5, "the power is gone")

    def _die(self) -> None:
        self._cluster.kill_target(self._unit)
        self._unit.process.disk.fault = lambda operation, path: None
        world = self._cluster.world
        world.after(300 * MS, lambda: self._cluster.start_target(self._unit))


def crash(choose: Choose, number: int, seed: int = 1) -> CrashAt:
    """One run with a crash; an old voter, alive, gives its place to the spare target."""
    with one_world():
        cluster = formed(seed)
        (old, _) = followers(cluster)
        crashing = CrashAt(cluster, choose(cluster), number)
        settle(cluster, replace(cluster, old))
        cluster.end()
    return crashing


WHO: dict[str, Choose] = {
    "the leader": leader,
    "who stays": lambda cluster: followers(cluster)[1],
    "who is new": spare,
    "who goes": lambda cluster: followers(cluster)[0],
}


@pytest.mark.parametrize("who", WHO)
def test_crash__at_some_steps(who: str) -> None:
    whole = crash(WHO[who], 1 << 30).count
    assert whole > 3
    for number in range(1, whole + 1, max(1, whole // 3)):
        assert crash(WHO[who], number).crashed


@pytest.mark.slow
@pytest.mark.parametrize("who", WHO)
def test_crash__at_every_step(who: str) -> None:
    number = 0
    while (number := number + 1) and crash(WHO[who], number, seed=number).crashed:
        continue
    assert number > 3


def test_only_voter__stays_until_its_successor_leads() -> None:
    with one_world():
        cluster = formed(targets=2)
        (old,), world = [leader(cluster)], cluster.world
        after = replace(cluster, old)
        cluster.crash_target(spare(cluster))
        world.run_until(world.time_ns + 5 * SECOND)
        cluster.crash_target(old)
        cluster.start_target(old)
        world.run_until(world.time_ns + 5 * SECOND)
        cluster.start_target(next(u for u in cluster.targets if u is not old))
        settle(cluster, after)
        cluster.end()


def test_lost_voter__comes_back_without_a_memory_and_does_not_vote() -> None:
    with one_world():
        cluster = formed()
        old = followers(cluster)[0]
        lose(cluster, old)
        after = replace(cluster, old)
        world = cluster.world
        world.run_until(world.time_ns + 5 * SECOND)
        cluster.return_target(old)
        settle(cluster, after)
        # It may vote again, in an epoch that begins later than it remembers.
        gone = followers(cluster)[0]
        again = replace(cluster, gone)
        assert old.member.node_id in again.node_ids
        settle(cluster, again)
        cluster.end()


def test_lost_voter__that_is_not_replaced_serves_without_a_vote() -> None:
    with one_world():
        cluster = formed()
        old = followers(cluster)[0]
        lose(cluster, old)
        world = cluster.world
        world.run_until(world.time_ns + 5 * SECOND)
        cluster.return_target(old)
        assert world.run_until(world.time_ns + 60 * SECOND, lambda: healthy(cluster))
        role = _role(old)
        assert role is not None and role.raft is None and role.status().state == "lost"
        settle(cluster, replace(cluster, old))
        assert role.status().state == "" and not role.status().voter
        cluster.end()


def test_new_voter__whose_folder_was_made_anew_does_not_vote() -> None:
    with one_world():
        cluster = formed()
        old, new = followers(cluster)[0], spare(cluster)
        lose(cluster, new)
        cluster.return_target(new)
        world = cluster.world
        assert world.run_until(world.time_ns + 60 * SECOND, lambda: healthy(cluster))
        after = replace(cluster, old)
        world.run_until(world.time_ns + 10 * SECOND)
        role = _role(new)
        assert role is not None and role.raft is None and role.lost
        assert not _begun(new, after)
        assert leader(cluster).member.node_id in after.node_ids  # two of three are a majority
        cluster.end()
