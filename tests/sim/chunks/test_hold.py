"""Holds of chunks that are stored already (gateway/hold.py): enough, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.gateway.copies import PutDone, PutFailed
from replicast.units import MS, SECOND
from replicast.wire.reasons import Reason

from .checkers import check_nothing_left, stop_faults, watch_durability
from .faults import Faults
from .test_histories import SEEDS, drive, random_run
from .world import Cluster


def held_count(cluster: Cluster) -> int:
    """Holds that VDEVs have made durable."""
    return sum(v.held_count for v in cluster.vdevs.values())


def failed(outcome: Any) -> bool:
    return isinstance(outcome, PutFailed) and outcome.reason is Reason.NOT_FOUND_HERE


@pytest.mark.parametrize("transport", ["unicast", "multicast"])
@pytest.mark.parametrize("size", [100, 9000])
def test_hold__three_hosts_have_it_and_no_payload_moves(transport: str, size: int) -> None:
    cluster = Cluster(transport=transport)
    data = cluster.data(size)
    stored = cluster.result(cluster.put(data))
    cluster.new_gateway()
    before, sent_bytes = held_count(cluster), cluster.payload_sent_bytes
    done = cluster.result(cluster.hold(data))
    assert isinstance(done, PutDone) and done.copies == 3 and not done.short
    assert set(done.vdevs) == set(stored.vdevs)
    assert (done.sent_bytes, done.stored_copies, done.deduplicated) == (0, 0, True)
    assert held_count(cluster) - before == 3
    assert cluster.payload_sent_bytes == sent_bytes
    cluster.settle(3 * SECOND)
    check_nothing_left(cluster)


def test_hold__of_what_nobody_has_fails_at_once() -> None:
    cluster = Cluster()
    started = cluster.now
    assert failed(cluster.result(cluster.hold(cluster.data(9000))))
    assert cluster.now - started < 50 * MS


def test_hold__two_hosts_are_not_three() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    cluster.vdevs[done.vdevs[0]].durable.clear()
    assert failed(cluster.result(cluster.hold(data)))
    assert cluster.result(cluster.put(data, negotiate=True)).stored_copies == 1


def test_hold__a_holder_that_lost_it_before_the_hold_ends_it() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    watch_durability(cluster)
    operation = cluster.hold(data)
    lost = cluster.vdevs[done.vdevs[0]]
    cluster.at(MS // 2, lambda: lost.durable.clear())
    assert failed(cluster.result(operation))


def test_hold__a_holder_that_is_down_is_not_waited_for_long() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    cluster.targets[cluster.table.target_of(done.vdevs[0]).node_id].crash()
    started = cluster.now
    assert failed(cluster.result(cluster.hold(data)))
    assert cluster.now - started < SECOND


def test_hold__without_leases_fails() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    cluster.result(cluster.put(data))
    for target in cluster.targets.values():
        target.lease.until_ns = 0
    assert failed(cluster.result(cluster.hold(data)))


def test_hold__loss_is_mended_by_asking_again() -> None:
    cluster = Cluster(faults=Faults(loss=0.3, duplication=0.2))
    data = cluster.data(5000)
    cluster.result(cluster.put(data))
    watch_durability(cluster)
    outcomes = [cluster.result(cluster.hold(data)) for _ in range(30)]
    assert all(isinstance(each, PutDone) or failed(each) for each in outcomes)
    assert sum(isinstance(each, PutDone) for each in outcomes) >= 25


def test_hold__given_up_says_no_more() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    cluster.result(cluster.put(data))
    operation = cluster.hold(data)
    cluster.give_up_later(operation, MS // 2)
    cluster.settle(3 * SECOND)
    assert operation not in cluster.results
    check_nothing_left(cluster)


@pytest.mark.parametrize("seed", SEEDS[:100])
def test_holds_under_faults_are_of_durable_copies(seed: int) -> None:
    """Every answer is one of durable copies on enough hosts, whatever the network does."""
    print(f"replay: SIM_SEED={seed} pytest tests/sim/chunks/test_hold.py")
    cluster = random_run(seed)
    done = drive(cluster)
    holds = {cluster.hold(data): data for data in (*done.values(), cluster.data(300))}
    cluster.run(lambda: all(op in cluster.results for op in holds))
    for op in holds:
        outcome = cluster.results[op]
        assert failed(outcome) or outcome.copies >= cluster.policy.copies
    stop_faults(cluster)
    cluster.settle(30 * SECOND)
    again = [cluster.result(cluster.hold(data)) for data in done.values()]
    assert all(isinstance(each, PutDone) or failed(each) for each in again)
    check_nothing_left(cluster)
