"""gateway/status.py: the verdict of `replicast status`, from a table and what targets say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.flexhash.table import VdevState
from replicast.gateway.status import status_report
from replicast.wire.status_messages import RaftStatus, TargetStatus, VdevStatusEntry


class World:
    """Target n is host n with VDEV n; names like t1, t2, ..."""

    def __init__(self, targets: int = 4, copies: int = 3, min_copies: int = 2) -> None:
        self.short: dict[int, int] = {}
        self.silent: set[int] = set()
        self.no_lease: set[int] = set()
        self.said: dict[int, str] = {}
        self.full: set[int] = set()
        self.file_system: dict[int, bytes] = {}
        self.quorum = True
        self.failed_voters: set[int] = set()
        self.lost_voters: set[int] = set()
        self.behind: set[int] = set()  # in a voter epoch that is over
        self.down: set[int] = set()
        self.out: set[int] = set()
        self.missing: set[int] = set()  # their targets run without them
        nodes = range(1, targets + 1)
        self.policy = SimpleNamespace(copies=copies, min_copies=min_copies, row_count=4)
        self.targets = {
            n: SimpleNamespace(name=f"t{n}", host=f"h{n}", zone="z", udp=(f"10.0.0.{n}", 1))
            for n in reversed(nodes)
        }
        self.replicas = {row: tuple(nodes)[:copies] for row in range(4)}
        self.leaderless: set[int] = set()

    def _table(self) -> Any:
        vdevs = {
            n: SimpleNamespace(
                target=n,
                vdev_id=bytes([n]) * 16,
                state=VdevState.DOWN if n in self.down else VdevState.UP,
            )
            if n not in self.out
            else SimpleNamespace(target=n, vdev_id=b"gone", state=VdevState.OUT)
            for n in self.targets
        }
        return SimpleNamespace(
            policy=self.policy,
            targets=self.targets,
            vdevs=vdevs,
            generation=(1 << 48) | 7,
            target_of=lambda vdev: self.targets[vdev],
            host_of=lambda vdev: self.targets[vdev].host,
            name_replicas=lambda row: self.replicas[row],
            name_candidates=lambda row: tuple(self.targets),
            row_leader=lambda row: None if row in self.leaderless else self.replicas[row][0],
        )

    def _answer(self, node: int) -> TargetStatus:
        vdev = VdevStatusEntry(
            vdev_id=bytes([node]) * 16,
            vdev_index=node,
            state=self.said.get(node, "ok"),
            full=node in self.full,
            capacity_bytes=100,
            used_bytes=30,
            free_bytes=70,
            file_system=self.file_system.get(node, bytes(16)),
            file_system_free_bytes=75,
        )
        failed = node in self.failed_voters
        raft = RaftStatus(
            voter=True,
            state="failed" if failed else "lost" if node in self.lost_voters else "follower",
            has_quorum=self.quorum or failed,  # what it saw last
            leader=0 if failed else node if node in self.behind else 1,
            voter_epoch=1 if node in self.behind else 2,
            term=4 if failed else 9 if node in self.behind else 3,
        )
        return TargetStatus(
            implementation="cython",
            version="1",
            generation=(1 << 48) | 7,
            lease_remaining_ns=0 if node in self.no_lease else 1,
            lease_age_ns=500_000_000,
            rows_led=1,
            rows_not_ready=0,
            short_chunks=self.short.get(node, 0),
            raft=raft,
            vdevs=() if node in self.missing else (vdev,),
        )

    def report(self) -> dict[str, Any]:
        answers: Any = {n: self._answer(n) for n in self.targets if n not in self.silent}
        return status_report(self._table(), answers, transport="unicast", implementation="cython")


def test_all_well():
    report = World(targets=11).report()
    assert report["verdict"] == "healthy" and report["problems"] == []
    assert [t["name"] for t in report["targets"]] == [f"t{n}" for n in range(1, 12)]
    assert (report["capacity_bytes"], report["used_bytes"], report["free_bytes"]) == (
        1100, 330, 770,
    )  # fmt: skip
    assert report["raft"]["leader"] == "t1" and report["generation"] == "1.7"


@pytest.mark.parametrize(
    ("silent", "short", "verdict"),
    [
        ((), 0, "healthy"),
        ((4,), 0, "degraded"),
        ((3, 4), 0, "at_risk"),
        ((), 5, "degraded"),
        ((4,), 5, "at_risk"),  # a chunk with min_copies = 2 may have had one of them there
    ],
)
def test_verdict__what_may_hang_on_one_copy(silent, short, verdict):
    world = World()
    world.silent, world.short = set(silent), {1: short}
    report = world.report()
    assert report["verdict"] == verdict, report["problems"]
    assert report["chunks_below_copies"] == short


@pytest.mark.parametrize(
    ("targets", "copies", "min_copies", "silent", "short", "verdict"),
    [
        (2, 3, 2, (), 0, "healthy"),
        (2, 3, 2, (2,), 0, "at_risk"),  # two copies were all that two hosts could hold
        (1, 1, 1, (), 0, "healthy"),  # as it was meant
        (4, 3, 1, (), 1, "at_risk"),  # acknowledged with one copy
        (4, 2, 1, (4,), 0, "at_risk"),
        (4, 4, 2, (4,), 0, "degraded"),
    ],
)
def test_verdict__by_policy(targets, copies, min_copies, silent, short, verdict):
    world = World(targets, copies, min_copies)
    world.silent, world.short = set(silent), {1: short}
    assert world.report()["verdict"] == verdict


def test_problems__each_is_named():
    world = World()
    world.silent, world.no_lease, world.said, world.full = {4}, {3}, {2: "read_only"}, {1}
    report = world.report()
    assert sorted(report["problems"]) == [
        "VDEV 1 of t1 is full",
        "VDEV 2 of t2 is read_only",
        "VDEV 4 of t4 is down",
        "target t3 has no lease",
        "target t4 does not answer",
    ]
    assert report["verdict"] == "degraded"


@pytest.mark.parametrize(
    ("said", "full", "down", "shown"),
    [
        ("ok", False, False, "up"),
        ("slow", False, False, "slow"),
        ("slow", True, False, "full"),
        ("failing", True, False, "failing"),
        ("read_only", True, False, "read_only"),
        ("faulted", False, True, "faulted"),  # the reason why nobody vouches for it any more
        ("slow", False, True, "down"),
        ("ok", True, True, "down"),
    ],
)
def test_vdev__its_state_in_one_word(said, full, down, shown):
    world = World()
    world.said = {2: said}
    world.full, world.down = {2} if full else set(), {2} if down else set()
    report = world.report()
    assert [v["state"] for v in report["vdevs"] if v["index"] == 2] == [shown]
    assert (f"VDEV 2 of t2 is {shown}" in report["problems"]) == (shown != "up")


@pytest.mark.parametrize("down", [False, True])
def test_vdev__that_its_target_runs_without_is_missing(down):
    world = World()
    world.missing, world.down = {2}, {2} if down else set()
    report = world.report()
    assert report["verdict"] == "degraded" and "VDEV 2 of t2 is missing" in report["problems"]
    world.silent = {3}
    assert world.report()["verdict"] == "at_risk"  # two hosts whose copies cannot be counted on


def test_vdev__that_was_given_up_is_no_problem():
    """Its disk was replaced: nobody waits for it, and its host alone holds no copy any more."""
    world = World()
    world.out = {4}
    report = world.report()
    assert [v["state"] for v in report["vdevs"] if v["index"] == 4] == ["out"]
    assert (report["verdict"], report["problems"]) == ("healthy", [])
    world.out = {3, 4}
    assert "2 hosts for 3 copies" in world.report()["notes"]


def test_rows__leaderless_and_not_writable_are_at_risk():
    world = World()
    world.leaderless = {0}
    world.down = {2, 3}
    report = world.report()
    assert report["rows"] == {
        "total": 4, "in_sync": 0, "below_copies": 0, "not_writable": 3, "without_leader": 1,
    }  # fmt: skip
    assert report["verdict"] == "at_risk"


def test_capacity__a_file_system_that_vdevs_share_counts_once():
    world = World()
    world.file_system = {1: b"a" * 16, 2: b"a" * 16, 3: b"b" * 16}
    report = world.report()
    assert (report["used_bytes"], report["free_bytes"], report["capacity_bytes"]) == (
        120, 75 + 70 + 70, 120 + 215,
    )  # fmt: skip
    assert report["notes"] == ["the free space of one file system is shared by 2 of the VDEVs"]


def test_raft__without_a_quorum_is_at_risk():
    world = World()
    world.quorum = False
    report = world.report()
    assert report["verdict"] == "at_risk"
    assert report["problems"] == ["the Raft group has no leader with a quorum"]


def test_raft__a_voter_whose_disk_failed_is_named_and_not_believed():
    world = World()
    world.failed_voters = {2}
    report = world.report()
    assert report["raft"]["leader"] == "t1" and report["raft"]["quorum"]
    (problem,) = report["problems"]
    assert problem.startswith("the voter of t2 has stopped") and report["verdict"] == "degraded"
    world.quorum = False
    assert not world.report()["raft"]["quorum"]


def test_raft__a_voter_that_lost_its_files_is_to_be_replaced():
    world = World()
    world.lost_voters = {3}
    report = world.report()
    (problem,) = report["problems"]
    assert "`replicast raft replace t3 NEW`" in problem and report["verdict"] == "degraded"
    assert report["raft"]["voters_lost"] == ["t3"] and "t3" not in report["raft"]["voters_heard"]


def test_raft__a_voter_whose_epoch_is_over_is_not_believed():
    world = World()
    world.behind = {2}
    raft = world.report()["raft"]
    assert (raft["leader"], raft["term"], raft["voter_epoch"]) == ("t1", 3, 2)
    assert "t2" not in raft["voters_heard"]


def test_short_chunks__repair_is_not_advised_where_it_cannot_help():
    world = World(targets=2)
    world.short = {1: 4}
    (problem,) = world.report()["problems"]
    assert problem == "4 chunks below their copies: 2 hosts cannot hold 3 copies"
    assert world.report()["notes"] == ["2 hosts for 3 copies"]
