"""flexhash/raft with links that are cut one way, or between two: it is led, and terms do not grow."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from tests.unit.test_raft_node import MS, SECOND, Cluster

# Positions among the voters, the leader first: six ways of three voters. Of five, the same.
CUTS = list(permutations(range(3), 2))
STALL_NS = 5 * SECOND


class Cut(Cluster):
    """Some ways are cut for as long as the test says; all voters submit all the time."""

    submitted = 0
    committed = 0  # the highest index that was applied anywhere
    progress_ns = 0  # when it was seen first

    def cut_only(self, *ways: tuple[str, str]) -> None:
        self.cut = dict.fromkeys(ways, True)
        self.progress_ns = self.now_ns

    def by_rank(self) -> list[str]:
        leader = self.leader()
        assert leader is not None
        return [leader, *(name for name in self.names if name != leader)]

    def term(self) -> int:
        return max(node.term for node in self.nodes.values())

    def load(self, milliseconds: int) -> int:
        """Run with three commands at once from each voter, five times a second; the longest time
        without a commit."""
        stall_ns, end_ns = 0, self.now_ns + milliseconds * MS
        while self.now_ns < end_ns:
            if self.now_ns % (200 * MS) == 0:
                for name in self.nodes:
                    for _ in range(3):
                        self.submitted += 1
                        self.submit(name, b"%d" % self.submitted)
            self.step()
            committed = max(node.applied_index for node in self.nodes.values())
            if committed > self.committed:
                self.committed, self.progress_ns = committed, self.now_ns
            stall_ns = max(stall_ns, self.now_ns - self.progress_ns)
        return stall_ns


def one_way(count: int, way: tuple[int, int]) -> tuple[Cut, list[str], int]:
    """A group that had a leader when one way was cut, its voters by rank, and the leader's term."""
    cluster = Cut(count=count)
    cluster.elect()
    cluster.run(1000)
    ranks, term = cluster.by_rank(), cluster.term()
    cluster.cut_only((ranks[way[0]], ranks[way[1]]))
    return cluster, ranks, term


@pytest.mark.parametrize("way", CUTS)
@pytest.mark.parametrize("count", [3, 5])
def test_one_way_cut__leaves_the_leader(count: int, way: tuple[int, int]) -> None:
    cluster, ranks, term = one_way(count, way)
    for _ in range(10):
        assert cluster.load(1000) < SECOND
        assert cluster.leader() == ranks[0] and cluster.term() == term
    cluster.check()
    assert cluster.leader() == ranks[0] and cluster.term() == term


@pytest.mark.parametrize("way", CUTS)
@pytest.mark.parametrize("count", [3, 5])
def test_one_way_cut__a_leader_is_elected_under_it(count: int, way: tuple[int, int]) -> None:
    """The leader dies and comes back. Of two that are left and of whom one hears nobody, none leads."""
    cluster, ranks, term = one_way(count, way)
    cluster.load(3000)
    cluster.crash(ranks[0])
    cluster.load(10_000)
    assert (cluster.leader() is None) == (count == 3 and 0 not in way)
    assert cluster.term() <= term + 2
    cluster.start(ranks[0])
    cluster.progress_ns = cluster.now_ns
    assert cluster.load(10_000) < STALL_NS
    term = cluster.term()
    assert cluster.load(10_000) < SECOND
    assert cluster.term() == term
    cluster.check()


@pytest.mark.parametrize("way", CUTS)
def test_one_way_cut__a_new_group_is_led(way: tuple[int, int]) -> None:
    cluster = Cut()
    cluster.cut_only((f"v{way[0]}", f"v{way[1]}"))
    cluster.elect()
    cluster.load(5000)
    term = cluster.term()
    assert cluster.load(10_000) < SECOND
    assert cluster.term() == term <= 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("count", "most"), [(3, 2), (5, 3)])
def test_cuts_that_change__soon_it_is_led_and_the_term_stays(
    count: int, most: int, seed: int
) -> None:
    """While as many ways are cut as leave a majority to each that might have to lead."""
    print(f"replay: seed {seed}")
    rng = random.Random(seed)
    cluster = Cut(seed, count)
    cluster.elect()
    for _ in range(4):
        cluster.cut_only(*rng.sample(list(permutations(cluster.names, 2)), rng.randint(1, most)))
        if rng.random() < 0.3:
            name = rng.choice(cluster.names)
            cluster.crash(name)
            cluster.run(rng.randrange(2000))
            cluster.start(name)
            cluster.progress_ns = cluster.now_ns
        assert cluster.load(10_000) < STALL_NS
        term = cluster.term()
        assert cluster.load(5000) < SECOND
        assert cluster.term() == term
    cluster.check()


@pytest.mark.parametrize("lost", [1, 5, 100])
def test_old_leader_with_entries_of_its_own__soon_has_those_of_the_new_one(lost: int) -> None:
    """However many messages are on their way to it that it cannot take yet."""
    cluster = Cut()
    old = cluster.elect()
    cluster.run(1000)
    cluster.isolate(old)
    for n in range(lost):
        cluster.submit(old, b"lost %d" % n)
    cluster.until(lambda: cluster.leader() not in (None, old))
    new = cluster.elect()
    for n in range(lost + 20):
        cluster.commit(new, b"%d" % n)
    third = next(name for name in cluster.names if name not in (old, new))
    cluster.cut_only((new, third), (third, new), (old, third), (third, old))
    assert cluster.load(3000) < SECOND
    cluster.check()
