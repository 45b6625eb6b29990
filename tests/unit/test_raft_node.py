"""flexhash/raft: three voters in one thread on virtual time; links and disks that fail."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from replicast.disk import File
from replicast.flexhash.raft.journal import NotAVoter
from replicast.flexhash.raft.node import APPLY_FAILED, Outcome, RaftNode, RaftSettings
from replicast.flexhash.raft.sealed import Damaged
from replicast.metrics import Counters

MS = 1_000_000
SECOND = 1000 * MS
CLUSTER = bytes(range(16))


class MemoryFile:
    """Bytes seen, and bytes that survive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""
        self.fails = False

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def read_device(self, offset: int, size: int) -> bytes:
        return self.read(offset, size)

    def write(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        if self.fails:
            raise OSError(5, "Input/output error")
        whole = b"".join(pieces)
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(whole)] = whole

    def sync(self) -> None:
        if self.fails:
            raise OSError(5, "Input/output error")
        self.synced = bytes(self.data)

    def size(self) -> int:
        return len(self.data)

    def allocate(self, size: int) -> None: ...

    def truncate(self, size: int) -> None:
        del self.data[size:]

    def close(self) -> None: ...


class MemoryDisk:
    """Forgets at lose_power() what was not synced, names included."""

    def __init__(self) -> None:
        self.files: dict[Path, MemoryFile] = {}
        self.durable: dict[Path, MemoryFile] = {}

    def open(self, path: Path, *, create: bool = False) -> File:
        if path not in self.files and not create:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return self.files.setdefault(path, MemoryFile())

    def rename(self, source: Path, target: Path) -> None:
        self.files[target] = self.files.pop(source)

    def remove(self, path: Path) -> None:
        del self.files[path]

    def list(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self.files if path.parent == directory)

    def make_directory(self, path: Path) -> None: ...

    def sync_directory(self, path: Path) -> None:
        self.durable = dict(self.files)

    def free_bytes(self, path: Path) -> int:
        return 1 << 40

    def takes_no_writes(self, directory: Path) -> bool:
        return False

    def lose_power(self, rng: random.Random) -> None:
        self.files = {}
        for path, file in self.durable.items():
            kept = MemoryFile()
            torn = bytes(file.data[: len(file.synced) + rng.randrange(40)])
            kept.data = bytearray(torn if torn.startswith(file.synced) else file.synced)
            kept.synced = bytes(kept.data)
            self.files[path] = kept
        self.durable = dict(self.files)


class Machine:
    """The replicated state: every command, in order."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []

    def apply(self, command: bytes) -> bytes:
        if command == b"raise":
            raise ValueError("a bug")
        self.applied.append(command)
        return b"ok " + command

    def snapshot(self) -> bytes:
        return b"\n".join(self.applied)

    def restore(self, state: bytes) -> None:
        self.applied = state.split(b"\n") if state else []


class Cluster:
    """Voters, links with delays that keep order, and a trace of all that passes."""

    def __init__(self, seed: int = 1, count: int = 3, **limits: int) -> None:
        self.rng = random.Random(seed)
        self.names = [f"v{n}" for n in range(count)]
        self.limits = limits
        self.now_ns = SECOND
        self.disks = {name: MemoryDisk() for name in self.names}
        self.counters = {name: Counters() for name in self.names}
        self.machines: dict[str, Machine] = {}
        self.nodes: dict[str, RaftNode] = {}
        self.cut: dict[tuple[str, str], bool] = {}
        self.in_flight: list[tuple[int, int, str, str, bytes]] = []
        self.last_arrival: dict[tuple[str, str], int] = {}
        self.sent = self.ticks = 0
        self.woken: set[str] = set()  # where something was submitted since the last tick
        self.duplicate = 0.0
        self.trace = hashlib.sha256()
        self.leaders: dict[int, str] = {}
        self.acked: list[bytes] = []
        for name in self.names:
            self.start(name, new_voter=True)

    def start(self, name: str, *, new_voter: bool = False, epoch: int = 1) -> None:
        machine = self.machines[name] = Machine()
        settings = RaftSettings(
            name=name,
            voters=self.names,
            voter_epoch=epoch,
            cluster_id=CLUSTER,
            directory=Path("/raft"),
            new_voter=new_voter,
            **self.limits,
        )
        self.nodes[name] = RaftNode(
            settings,
            disk=self.disks[name],
            apply=machine.apply,
            snapshot=machine.snapshot,
            restore=machine.restore,
            rng=random.Random(self.rng.getrandbits(64)),
            now_ns=self.now_ns,
            counters=self.counters[name],
        )

    def crash(self, name: str) -> None:
        del self.nodes[name]
        self.disks[name].lose_power(self.rng)

    def isolate(self, name: str, isolated: bool = True) -> None:
        for other in self.names:
            self.cut[name, other] = self.cut[other, name] = isolated

    def step(self) -> None:
        self.now_ns += 10 * MS
        due = sorted(m for m in self.in_flight if m[0] <= self.now_ns)
        self.in_flight = [m for m in self.in_flight if m[0] > self.now_ns]
        for _, _, sender, receiver, frame in due:
            if receiver in self.nodes and not self.cut.get((sender, receiver)):
                self.trace.update(f"{self.now_ns} {sender} {receiver}".encode() + frame)
                self.nodes[receiver].receive(sender, frame, self.now_ns)
        for name in list(self.nodes):
            self._turn(name)
            self._watch(name)
            for receiver, frame in self.nodes[name].take_outgoing():
                for _ in range(2 if self.rng.random() < self.duplicate else 1):
                    self._post(name, receiver, frame)

    def _turn(self, name: str) -> None:
        """As seldom as the node allows."""
        node = self.nodes[name]
        if name in self.woken or node.needs_tick() or node.deadline_ns() <= self.now_ns:
            self.woken.discard(name)
            self.ticks += 1
            node.tick(self.now_ns)

    def _post(self, sender: str, receiver: str, frame: bytes) -> None:
        self.sent += 1
        arrival = self.now_ns + self.rng.randrange(20 * MS)
        arrival = max(arrival, self.last_arrival.get((sender, receiver), 0))
        self.last_arrival[sender, receiver] = arrival
        self.in_flight.append((arrival, self.sent, sender, receiver, frame))

    def _watch(self, name: str) -> None:
        node = self.nodes[name]
        if node.is_leader:
            assert self.leaders.setdefault(node.term, name) == name, "two leaders in one term"

    def until(self, condition: Callable[[], object], seconds: int = 20) -> None:
        deadline = self.now_ns + seconds * SECOND
        while not condition():
            assert self.now_ns < deadline, "not within the time"
            self.step()

    def run(self, milliseconds: int) -> None:
        end = self.now_ns + milliseconds * MS
        while self.now_ns < end:
            self.step()

    def leader(self) -> str | None:
        """Who leads in the newest term that any live voter leads in."""
        leading = [(n.term, name) for name, n in self.nodes.items() if n.is_leader]
        return max(leading)[1] if leading else None

    def elect(self) -> str:
        self.until(lambda: self.leader() and self.nodes[self.leader() or ""].ready)
        return self.leader() or ""

    def submit(self, name: str, command: bytes) -> list[tuple[bytes | None, Outcome]]:
        answers: list[tuple[bytes | None, Outcome]] = []

        def answered(result: bytes | None, outcome: Outcome) -> None:
            answers.append((result, outcome))
            if outcome is Outcome.APPLIED:
                self.acked.append(command)

        self.nodes[name].submit(command, answered, self.now_ns)
        self.woken.add(name)
        return answers

    def commit(self, name: str, command: bytes) -> None:
        answers = self.submit(name, command)
        self.until(lambda: answers)
        assert answers == [(b"ok " + command, Outcome.APPLIED)]

    def converged(self) -> bool:
        states = [self.machines[name].applied for name in self.nodes]
        return len(self.nodes) == len(self.names) and all(s == states[0] for s in states)

    def check(self) -> None:
        """Stop all faults; everything converges, and nothing acknowledged is lost."""
        for pair in self.cut:
            self.cut[pair] = False
        for name in self.names:
            if name not in self.nodes:
                self.start(name)
        self.run(5000)  # those who were cut off may still depose a leader
        self.commit(self.elect(), b"last")
        self.until(self.converged)
        assert set(self.acked) <= set(self.machines[self.names[0]].applied)


def test_same_seed_same_trace() -> None:
    def digest(seed: int) -> str:
        cluster = Cluster(seed)
        for n in range(5):
            cluster.commit(cluster.elect(), b"%d" % n)
        return cluster.trace.hexdigest()

    assert digest(7) == digest(7) != digest(8)


def test_one_voter_leads_alone() -> None:
    cluster = Cluster(count=1)
    cluster.commit(cluster.elect(), b"a")
    cluster.crash("v0")
    cluster.start("v0")
    cluster.until(lambda: cluster.machines["v0"].applied == [b"a"])


@pytest.mark.parametrize("count", [3, 5])
def test_commit__through_leader_and_follower(count: int) -> None:
    cluster = Cluster(count=count)
    leader = cluster.elect()
    assert cluster.now_ns < 6 * SECOND
    for name in cluster.names:
        cluster.commit(name, b"from " + name.encode())
    cluster.check()
    status = cluster.nodes[leader].status()
    assert status["state"] == "leader" and status["has_quorum"] and status["term"] >= 1


def test_commit__takes_no_period() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(500)
    start_ns = cluster.now_ns
    cluster.commit(leader, b"a")
    assert cluster.now_ns - start_ns <= 80 * MS


def test_isolated_leader__commits_nothing_and_another_leads() -> None:
    cluster = Cluster()
    old = cluster.elect()
    cluster.commit(old, b"before")
    cluster.isolate(old)
    lost = cluster.submit(old, b"lost")
    cluster.until(lambda: cluster.leader() not in (None, old))
    new = cluster.leader() or ""
    cluster.commit(new, b"after")
    cluster.until(lambda: not cluster.nodes[old].is_leader)
    cluster.until(lambda: lost)
    assert lost[0][1] is not Outcome.APPLIED
    cluster.isolate(old, False)
    cluster.check()
    assert b"lost" not in cluster.machines[new].applied


def test_leader_steps_down__within_its_fallback_time() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.isolate(leader)
    start_ns = cluster.now_ns
    cluster.until(lambda: not cluster.nodes[leader].is_leader)
    assert cluster.now_ns - start_ns <= 1200 * MS


def test_no_leader__not_applied_at_once() -> None:
    cluster = Cluster()
    answers = cluster.submit("v0", b"early")
    cluster.step()
    assert answers == [(None, Outcome.NOT_APPLIED)]


def test_raising_application__is_a_result_and_not_a_loop() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    answers = cluster.submit(leader, b"raise")
    cluster.until(lambda: answers)
    assert answers == [(APPLY_FAILED, Outcome.APPLIED)]
    cluster.commit(leader, b"next")
    assert cluster.counters[leader].get("raft_apply_failures") == 1


def test_raising_callback__applies_nothing_twice() -> None:
    cluster = Cluster()
    leader = cluster.elect()

    def bad(result: bytes | None, outcome: Outcome) -> None:
        raise RuntimeError("callback")

    cluster.nodes[leader].submit(b"once", bad, cluster.now_ns)
    with pytest.raises(RuntimeError):
        cluster.run(1000)
    cluster.commit(leader, b"next")
    assert cluster.machines[leader].applied == [b"once", b"next"]


def test_transfer_leadership() -> None:
    cluster = Cluster()
    old = cluster.elect()
    cluster.commit(old, b"a")
    cluster.run(300)
    cluster.nodes[old].transfer_leadership(cluster.now_ns)
    start_ns = cluster.now_ns
    cluster.until(lambda: cluster.leader() not in (None, old))
    assert cluster.now_ns - start_ns < 500 * MS


def test_all_lose_power__nothing_acknowledged_is_lost() -> None:
    cluster = Cluster(seed=3)
    for round_number in range(5):
        leader = cluster.elect()
        for n in range(10):
            cluster.submit(leader, b"%d.%d" % (round_number, n))
            cluster.step()
        for name in list(cluster.nodes):
            cluster.crash(name)
        for name in cluster.names:
            cluster.start(name)
    cluster.check()
    assert len(cluster.acked) > 10


@pytest.mark.parametrize("seed", range(6))
def test_storm__partitions_crashes_duplicates_and_compaction(seed: int) -> None:
    print(f"replay: seed {seed}")
    cluster = Cluster(seed=seed, compact_entries=15)
    cluster.duplicate = 0.05
    rng = random.Random(seed)
    for n in range(60):
        live = [name for name in cluster.names if name in cluster.nodes]
        for name in live[:2]:
            cluster.submit(name, b"%d from %s" % (n, name.encode()))
        victim = rng.choice(cluster.names)
        fault = rng.randrange(8)
        if fault == 0 and victim in cluster.nodes:
            cluster.crash(victim)
        elif fault == 1:
            cluster.isolate(victim, rng.random() < 0.5)
        elif fault == 2:
            cluster.cut[victim, rng.choice(cluster.names)] = rng.random() < 0.5
        elif victim not in cluster.nodes:
            cluster.start(victim)
        cluster.run(rng.randrange(400))
    cluster.check()
    assert len(cluster.acked) > 5
    assert len(cluster.machines["v0"].applied) == len(set(cluster.machines["v0"].applied))
    drops = [c.get("raft_dropped", "contradicts_applied") for c in cluster.counters.values()]
    assert drops == [0, 0, 0]


def test_compaction__bounds_the_journal_and_survives_a_restart() -> None:
    cluster = Cluster(compact_entries=20)
    leader = cluster.elect()
    for n in range(120):
        cluster.commit(leader, b"%d" % n)
        for node in cluster.nodes.values():
            assert node.status()["journal_entries"] <= 30
            assert node.status()["journal_bytes"] < 4000
    expected = [b"%d" % n for n in range(120)]
    for name in cluster.names:
        cluster.crash(name)
        cluster.start(name)
    cluster.elect()
    cluster.until(lambda: all(m.applied == expected for m in cluster.machines.values()))


def test_compaction__by_bytes() -> None:
    cluster = Cluster(compact_bytes=50_000)
    leader = cluster.elect()
    big = random.Random(1).randbytes(5000).replace(b"\n", b"x")
    for n in range(40):
        cluster.commit(leader, b"%d " % n + big)
        for node in cluster.nodes.values():
            assert node.status()["journal_bytes"] < 80_000
    cluster.check()


def test_snapshot__brings_back_a_follower_that_was_away() -> None:
    cluster = Cluster(compact_entries=20)
    leader = cluster.elect()
    away = next(name for name in cluster.names if name != leader)
    cluster.crash(away)
    big = random.Random(1).randbytes(200_000).replace(b"\n", b"x")
    for n in range(60):
        cluster.commit(leader, (b"%d " % n) + (big if n < 8 else b""))
    cluster.start(away)
    cluster.until(cluster.converged)
    cluster.check()


def test_new_voter__only_when_told_and_only_into_an_empty_directory() -> None:
    cluster = Cluster()
    cluster.elect()
    cluster.crash("v0")
    cluster.disks["v0"] = MemoryDisk()
    with pytest.raises(NotAVoter, match="must not vote again"):
        cluster.start("v0")
    with pytest.raises(NotAVoter, match="voter epoch 1"):
        cluster.start("v1", epoch=2)


def test_vote_without_journal__is_damage() -> None:
    cluster = Cluster()
    cluster.elect()
    cluster.crash("v0")
    cluster.disks["v0"].remove(Path("/raft/raft.journal"))
    with pytest.raises(Damaged, match="missing"):
        cluster.start("v0")


def test_failing_disk__stops_the_voter_not_the_group() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.commit(leader, b"a")
    for file in cluster.disks[leader].files.values():
        file.fails = True
    answers = cluster.submit(leader, b"b")
    cluster.until(lambda: cluster.nodes[leader].failed)
    cluster.until(lambda: answers)
    assert answers[0][1] is Outcome.UNKNOWN
    cluster.until(lambda: cluster.leader() not in (None, leader))
    assert cluster.nodes[leader].status()["state"] == "failed"
    cluster.commit(cluster.leader() or "", b"c")


def test_close__answers_what_is_outstanding() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    answers = cluster.submit(leader, b"a")
    cluster.nodes[leader].close()
    assert answers == [(None, Outcome.UNKNOWN)]
    cluster.nodes[leader].tick(cluster.now_ns)
    assert cluster.nodes[leader].take_outgoing() == []
