"""flexhash/raft/pre_vote.py: nobody deposes a leader that others hear, and nobody is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicast.flexhash.raft.journal import Journal, Voter
from replicast.flexhash.raft.node import Outcome
from replicast.flexhash.raft.pre_vote import PreVote
from tests.unit.test_raft_node import CLUSTER, MS, SECOND, Cluster, MemoryDisk
from tests.unit.test_raft_transport import Voter as Played
from tests.unit.test_raft_transport import agreed, append, no_ops

MISSED_NS, PATIENCE_NS = 600 * MS, SECOND


class Uneven(Cluster):
    """What goes to the voter `slow` comes in gusts, up to two seconds late."""

    slow = ""
    gust_ns = 0

    def _post(self, sender: str, receiver: str, frame: bytes) -> None:
        super()._post(sender, receiver, frame)
        if receiver != self.slow:
            return
        if self.now_ns >= self.gust_ns:
            self.gust_ns = self.now_ns + self.rng.randrange(2 * SECOND)
        arrival, *rest = self.in_flight.pop()
        arrival = max(arrival, self.gust_ns)
        self.last_arrival[sender, receiver] = arrival
        self.in_flight.append((arrival, *rest))

    def follower(self) -> str:
        return next(name for name in self.names if name != self.leader())

    def terms(self) -> set[int]:
        return {node.term for node in self.nodes.values()}

    def raise_term(self) -> str:
        """A voter that was told to take over, and was cut off before anybody heard of it."""
        leader = self.elect()
        self.run(1000)
        term = self.nodes[leader].term
        for name in self.names:
            for other in self.names:
                self.cut[name, other] = name != leader
        self.nodes[leader].transfer_leadership(self.now_ns)
        self.until(lambda: self.terms() == {term, term + 1})
        raised = next(name for name, node in self.nodes.items() if node.term > term)
        for pair in self.cut:
            self.cut[pair] = raised in pair
        return raised


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 5])
def test_slow_voter__deposes_nobody(seed: int, count: int) -> None:
    print(f"replay: seed {seed}")
    cluster = Uneven(seed, count)
    leader = cluster.elect()
    cluster.run(1000)
    cluster.slow = cluster.follower()
    term = cluster.nodes[leader].term
    for n in range(60):
        cluster.commit(leader, b"%d" % n)
        cluster.run(1000)
        assert cluster.terms() == {term} and cluster.leader() == leader
    assert cluster.counters[cluster.slow].get("raft_pre_votes") > 10
    cluster.slow = ""
    cluster.check()
    assert cluster.leader() == leader


@pytest.mark.parametrize("count", [3, 5])
def test_dead_leader__is_replaced_within_a_time_out(count: int) -> None:
    elections = []
    for seed in range(12):
        print(f"replay: seed {seed}")
        cluster = Cluster(seed, count)
        leader = cluster.elect()
        cluster.run(1000)
        term = cluster.nodes[leader].term
        cluster.crash(leader)
        dead_ns = cluster.now_ns
        cluster.until(lambda: cluster.leader() not in (None, leader))  # noqa: B023
        elections.append(cluster.nodes[cluster.leader() or ""].term - term)
        # The longest time-out, then question, answer, request and vote: 30 ms each, with its step.
        assert cluster.now_ns - dead_ns <= elections[-1] * (1200 + 4 * 30 + 10) * MS
    assert elections.count(1) >= 11  # in the others votes were split


def test_voter_that_comes_back__disturbs_nobody() -> None:
    cluster = Uneven()
    leader = cluster.elect()
    cluster.run(1000)
    term, away = cluster.nodes[leader].term, cluster.follower()
    for seconds in (1, 3, 30):
        cluster.isolate(away)
        cluster.run(seconds * 1000)
        cluster.isolate(away, False)
        cluster.run(3000)
        assert cluster.terms() == {term} and cluster.leader() == leader


def test_voter_that_the_leader_does_not_reach__asks_in_vain_and_knows_no_leader() -> None:
    cluster = Uneven()
    leader = cluster.elect()
    cluster.run(1000)
    term, deaf = cluster.nodes[leader].term, cluster.follower()
    cluster.cut[leader, deaf] = True
    cluster.run(30_000)
    assert cluster.terms() == {term} and cluster.leader() == leader
    assert cluster.nodes[deaf].leader is None
    answers = cluster.submit(deaf, b"x")
    cluster.step()
    assert answers == [(None, Outcome.NOT_APPLIED)]
    cluster.check()
    assert cluster.leader() == leader


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("mute", [False, True])
def test_higher_term__is_taken_in(
    seed: int, count: int, restarts: bool, behind: bool, mute: bool
) -> None:
    """Also when the leader itself never hears of it, but through the others."""
    print(f"replay: seed {seed}")
    cluster = Uneven(seed, count)
    raised = cluster.raise_term()
    leader = cluster.leader() or ""
    term = cluster.nodes[raised].term
    cluster.run(5000)
    assert cluster.leader() == leader and cluster.nodes[leader].term == term - 1
    if behind:
        cluster.commit(leader, b"x")
    if restarts:
        cluster.crash(raised)
        cluster.start(raised)
    cluster.isolate(raised, False)
    cluster.cut[raised, leader] = mute
    cluster.until(lambda: cluster.nodes[cluster.leader() or raised].term > term, 6)
    cluster.cut[raised, leader] = False
    cluster.check()
    terms = cluster.terms()
    cluster.run(10_000)
    assert cluster.terms() == terms <= {term + 1, term + 2}


@pytest.mark.parametrize("seed", range(4))
def test_higher_term_of_an_old_log__elects_the_other(seed: int) -> None:
    """Neither may refuse the other for ever: the one for its term, the other for its log."""
    print(f"replay: seed {seed}")
    cluster = Uneven(seed)
    raised = cluster.raise_term()
    leader = cluster.leader() or ""
    cluster.commit(leader, b"x")
    cluster.run(300)
    cluster.crash(leader)
    cluster.isolate(raised, False)
    other = next(name for name in cluster.nodes if name != raised)
    cluster.until(lambda: cluster.leader() not in (None, leader), 6)
    assert cluster.leader() == other


def test_hand_over__asks_nobody() -> None:
    cluster = Uneven()
    leader = cluster.elect()
    cluster.run(1000)
    term = cluster.nodes[leader].term
    asked = [counters.get("raft_pre_votes") for counters in cluster.counters.values()]
    cluster.nodes[leader].transfer_leadership(cluster.now_ns)
    cluster.until(lambda: cluster.leader() not in (None, leader))
    cluster.run(5000)
    assert cluster.terms() == {term + 1}
    assert [c.get("raft_pre_votes") for c in cluster.counters.values()] == asked


def test_election__takes_a_majority() -> None:
    cluster = Uneven(count=5)
    leader = cluster.elect()
    cluster.run(1000)
    dead = [leader, *(name for name in cluster.names if name != leader)][:3]
    for name in dead:
        cluster.crash(name)
    terms = cluster.terms()
    cluster.run(30_000)
    assert cluster.terms() == terms and cluster.leader() is None
    cluster.start(dead[1])
    cluster.until(cluster.leader, 5)


# -- the core ---------------------------------------------------------------------------


def voter(peers: int = 2, *, term: int = 5, now_ns: int = 0) -> PreVote:
    """One whose log ends with entry 7 of term 4."""
    journal = Journal.create(MemoryDisk(), Path("/raft"), Voter(CLUSTER, 1, "v0"), 1)
    journal.setCurrentTerm(term, None)
    journal.add(b"x", 7, 4)
    return PreVote(journal, peers, MISSED_NS, PATIENCE_NS, now_ns)


def request(**fields: int) -> dict[str, Any]:
    usual = {"term": 6, "round": 9, "aside": False, "last_log_index": 7, "last_log_term": 4}
    return {"type": "request_pre_vote", **usual, **fields}


@pytest.mark.parametrize(
    ("fields", "yes"),
    [
        ({}, True),
        ({"term": 7}, True),
        ({"term": 5}, False),
        ({"last_log_index": 8}, True),
        ({"last_log_index": 6}, False),
        ({"last_log_index": 2, "last_log_term": 5}, True),
        ({"last_log_index": 99, "last_log_term": 3}, False),
    ],
)
def test_answer__is_for_what_could_be_voted_for(fields: dict[str, int], yes: bool) -> None:
    asked = request(**fields)
    assert voter().answer(asked, MISSED_NS) == (agreed(asked) if yes else None)


def test_answer__is_no_from_a_leader_and_from_who_hears_one() -> None:
    peer = voter()
    assert peer.answer(request(), MISSED_NS - 1) is None  # just started
    assert peer.answer(request(), MISSED_NS) is not None
    peer.heard_leader(SECOND)
    assert peer.answer(request(), SECOND + MISSED_NS - 1) is None
    assert peer.answer(request(), SECOND + MISSED_NS) is not None
    peer.leads = True
    assert peer.answer(request(), 9 * SECOND) is None


def test_answer__a_new_group_and_a_new_term_have_no_leader() -> None:
    assert voter(term=0).answer(request(), 0) is not None
    peer = voter()
    peer.heard_leader(SECOND)
    peer._journal.setCurrentTerm(6, None)
    assert peer.answer(request(term=7), SECOND) is not None


def test_answer__for_a_leader_that_steps_aside_it_does_not_matter_who_is_heard() -> None:
    peer = voter()
    peer.heard_leader(SECOND)
    assert peer.answer(request(aside=True), SECOND) is not None
    peer.leads = True
    assert peer.answer(request(aside=True), SECOND) is not None
    assert peer.answer(request(aside=True, last_log_index=6), SECOND) is not None
    assert peer.answer(request(aside=True, last_log_index=9, last_log_term=3), SECOND) is None
    assert peer.answer(request(aside=True, term=5), SECOND) is None


def test_agreed__counts_peers_once_and_this_round_only() -> None:
    asker = voter(peers=4)
    assert not asker.agreed()
    old = asker.ask(1, 0)
    assert asker.count("v1", agreed(old), 0)
    new = asker.ask(2, 0)
    assert new["term"] == 6 and not asker.count("v2", agreed(old), 0)
    assert asker.count("v3", agreed(new), 0) and asker.count("v3", agreed(new), 0)
    assert not asker.agreed()
    assert asker.count("v4", agreed(new), 0) and asker.agreed()
    asker._journal.setCurrentTerm(6, "v0")  # the election has begun
    assert not asker.agreed()


@pytest.mark.parametrize("aside", [False, True])
def test_agreed__only_with_those_who_are_near(aside: bool) -> None:
    asker = voter()
    asked = asker.ask(1, SECOND, aside=aside)
    assert not asker.count("v1", agreed(asked), SECOND + PATIENCE_NS) and not asker.agreed()
    assert asker.count("v1", agreed(asked), SECOND + PATIENCE_NS - 1) and asker.agreed()


def test_agreed__no_more_when_a_leader_is_heard() -> None:
    asker = voter()
    asked = asker.ask(1, 0)
    asker.count("v1", agreed(asked), 0)
    asker.heard_leader(SECOND)
    assert not asker.agreed() and not asker.count("v2", agreed(asked), 0)


def test_agreed__though_the_leader_is_heard_that_steps_aside() -> None:
    asker = voter()
    asked = asker.ask(1, 0, aside=True)
    asker.heard_leader(0)
    assert asker.count("v1", agreed(asked), 0) and asker.agreed()
    asker._journal.setCurrentTerm(6, None)
    asker.heard_leader(0)  # another one
    assert not asker.agreed()


# -- a voter among played peers -----------------------------------------------------------


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


def test_late_answers__are_counted_as_dropped(played: Played) -> None:
    played.hear("v1", 0, None)
    old = played.ask()
    for peer in played.peers:
        played.hear(peer, 0, None)
    new = played.ask()
    assert old["term"] == new["term"] == 1
    played.hear("v1", 0, agreed(old))
    played.hear("v2", 0, {**agreed(new), "term": 2})
    assert played.dropped("other_round") == 2 and played.node.term == 0
    assert not played.node.needs_tick()
    played.hear("v2", 0, agreed(new))
    assert played.node.needs_tick()
    played.node.tick(played.now_ns)
    assert played.node.term == 1 and played.node.status()["state"] == "candidate"


@pytest.mark.parametrize("early_ns", range(-3000, 6001, 500))
def test_election__never_slips_in_while_the_time_is_looked_at(
    played: Played, early_ns: int
) -> None:
    played.hear("v1", 5, append(1, no_ops(2, 9)))
    played.node.tick(0)
    played.hear("v1", 5, append(9, []))
    played.node.tick(played.node.deadline_ns())  # a sign of life
    played.now_ns = played.node.deadline_ns() - early_ns
    played.node.tick(played.now_ns)
    assert played.node.term == 5 and played.node.status()["state"] == "follower"
    assert len(played.sent("request_pre_vote")) == 1


def test_question__binds_nobody(played: Played) -> None:
    played.hear("v1", 5, append(1, no_ops(2, 9)))
    played.node.tick(0)
    ticks = played.node.deadline_ns(), played.node.needs_tick()
    played.now_ns = 599 * MS
    asked = request(last_log_index=9, last_log_term=5)
    played.hear("v1", 5, asked)
    assert played.sent("response_pre_vote") == []
    played.now_ns = 600 * MS
    played.hear("v1", 5, asked)
    assert played.sent("response_pre_vote") == [agreed(asked)]
    assert (played.node.deadline_ns(), played.node.needs_tick()) == ticks
    assert played.node.term == 5 and not played.node.needs_tick()


def test_question__brings_to_the_term_of_who_asks(played: Played) -> None:
    played.campaign()
    played.hear("v1", 1, {"type": "response_vote", "term": 1})
    assert played.node.is_leader
    played.hear("v2", 1, request(term=2, last_log_index=0))
    assert played.node.is_leader and played.node.term == 1
    played.hear("v2", 7, request(term=8, last_log_index=0, last_log_term=0))
    assert not played.node.is_leader and played.node.term == 7 and played.node.needs_tick()
    assert played.sent("response_vote") == played.sent("response_pre_vote") == []
    assert played.ask()["term"] == 8


@pytest.mark.parametrize("field", ["term", "round", "last_log_index", "last_log_term"])
@pytest.mark.parametrize("value", [None, -1, 1 << 62, b"1", True])
def test_question__malformed(played: Played, field: str, value: Any) -> None:
    played.hear("v1", 0, {**request(), field: value})
    assert played.dropped("malformed") == 1


@pytest.mark.parametrize("aside", [None, 1, b"1"])
def test_question__malformed_purpose(played: Played, aside: Any) -> None:
    played.hear("v1", 0, {**request(), "aside": aside})
    assert played.dropped("malformed") == 1


def test_slow_voter__same_seed_same_trace() -> None:
    def trace(seed: int) -> str:
        cluster = Uneven(seed)
        cluster.elect()
        cluster.slow = cluster.follower()
        cluster.run(10_000)
        return cluster.trace.hexdigest()

    assert trace(1) == trace(1) != trace(2)


def test_step_aside__a_question_at_once_of_its_own_term_only(played: Played) -> None:
    played.hear("v1", 5, append(1, no_ops(2, 9)))
    played.node.tick(0)
    for term in (4, 6):
        played.hear("v1", 5, {"type": "step_aside", "term": term})
        played.node.tick(0)
    assert played.sent("request_pre_vote") == []
    played.hear("v1", 5, {"type": "step_aside", "term": 5})
    assert played.node.needs_tick()
    played.node.tick(0)
    (asked,) = played.sent("request_pre_vote")
    assert asked["aside"] and asked["term"] == 6 and played.node.leader == "v1"
    played.hear("v1", 5, append(9, []))
    played.hear("v2", 5, agreed(asked))
    played.node.tick(0)
    assert played.node.term == 6 and played.node.status()["state"] == "candidate"


@pytest.mark.parametrize("aside", [False, True])
def test_step_aside__does_not_wait_until_nothing_is_on_its_way(aside: bool) -> None:
    cluster = Cluster()
    old = cluster.elect()
    cluster.run(1000)
    for n in range(300):
        if cluster.leader() == old:
            cluster.submit(old, b"%d" % n)
            cluster.step()
            if aside:
                cluster.nodes[old].step_aside(cluster.now_ns)
            else:
                cluster.nodes[old].transfer_leadership(cluster.now_ns)
        cluster.step()
    assert (cluster.leader() != old) == aside
    cluster.check()
