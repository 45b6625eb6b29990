"""flexhash/raft/node.py: ticks only when there is something to do, and then in time."""

from __future__ import annotations

from tests.unit.test_raft_node import MS, Cluster


def test_idle__followers_tick_for_signs_of_life_alone() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(1000)
    term, ticks = cluster.nodes[leader].term, cluster.ticks
    cluster.run(10_000)
    # In steps of 10 ms: a heartbeat of the leader each 160 ms, two ticks a second of others.
    assert cluster.ticks - ticks <= 10_000 // 160 + 2 * (2 * 10 + 2)
    assert cluster.leader() == leader and cluster.nodes[leader].term == term


def test_heartbeat__needs_no_tick_and_puts_the_election_off() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(1000)
    name = next(n for n in cluster.names if n != leader)
    node = cluster.nodes[name]
    assert not node.needs_tick()
    cluster.isolate(name)
    before_ns = cluster.now_ns
    cluster.until(lambda: node.needs_tick() or node.leader is None)
    # The last heartbeat came at most a period and a delay ago.
    assert cluster.now_ns - before_ns >= (600 - 160 - 30) * MS
    assert cluster.now_ns - before_ns <= (1200 + 10) * MS


def test_commit__is_applied_by_the_tick_that_it_needs() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(1000)
    answers = cluster.submit(leader, b"x")
    began_ns = cluster.now_ns
    cluster.until(lambda: all(m.applied for m in cluster.machines.values()))
    # Entry and answer, then the commit: three times at most 20 ms on the way and a step of 10 ms.
    assert answers and cluster.now_ns - began_ns <= 3 * 30 * MS + 10 * MS


def test_transfer__is_not_put_off_to_a_deadline() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(1000)
    cluster.nodes[leader].transfer_leadership(cluster.now_ns)
    began_ns = cluster.now_ns
    cluster.until(lambda: cluster.leader() not in (None, leader))
    assert cluster.now_ns - began_ns <= 3 * 30 * MS + 10 * MS


def test_silence__is_noticed_by_the_tick_that_it_is_due() -> None:
    cluster = Cluster()
    leader = cluster.elect()
    cluster.run(1000)
    cluster.isolate(leader)
    node = cluster.nodes[leader]
    cluster.run(1800)
    assert not node.is_leader and not any(node.status()["connected"].values())
