"""What must hold: checked at every end of an operation, or once the faults have stopped."""

from __future__ import annotations

from typing import Any

from replicast.gateway.copies import PutDone
from replicast.gateway.read_events import ChunkRead
from replicast.gateway.stats import CREDIT_MIN_BYTES
from replicast.hashing import content_hash
from replicast.units import SECOND

from .faults import Faults
from .world import ALGORITHM, Cluster


def watch_durability(cluster: Cluster) -> None:
    """C1, at every PutDone: what it counts is durable, right, and on distinct hosts, now."""

    def check(event: Any) -> None:
        if isinstance(event, PutDone):
            hosts = {cluster.table.host_of(v) for v in event.vdevs}
            assert event.copies == len(hosts) >= cluster.policy.min_copies
            for v in event.vdevs:
                assert content_hash(ALGORITHM, cluster.vdevs[v].durable[event.chid]) == event.chid

    cluster.watch.append(check)


def stop_faults(cluster: Cluster) -> None:
    """From now on nothing goes wrong any more."""
    cluster.faults.__dict__.update(Faults().__dict__)
    for target in cluster.targets.values():
        target.lease.until_ns = 1 << 62
    cluster.settle(5 * SECOND)


def check_read_back(cluster: Cluster, chunks: list[bytes]) -> None:
    """Every chunk that was acknowledged is there, byte for byte."""
    reads = {cluster.get(data): data for data in chunks}
    cluster.run(lambda: all(op in cluster.results for op in reads))
    for op, data in reads.items():
        outcome = cluster.results[op]
        assert isinstance(outcome, ChunkRead), outcome
        assert bytes(outcome.buffer) == data


def check_serves(cluster: Cluster) -> None:
    """New puts succeed."""
    puts = {cluster.put(cluster.data(6000)): None for _ in range(3)}
    cluster.run(lambda: all(op in cluster.results for op in puts))
    assert all(isinstance(cluster.results[op], PutDone) for op in puts)


def check_nothing_left(cluster: Cluster) -> None:
    """No transfer, timer or credit outlives its operation."""
    cluster.settle(40 * SECOND)
    for target in cluster.targets.values():
        assert target.buffers.stats()["transfers"] == 0
        assert target.core._credit.granted_bytes == 0
    assert cluster.buffers.stats()["transfers"] == 0
    assert cluster.context.credit.granted_bytes == 0
    assert cluster.gateway.deadline_ns() is None
    for node in cluster.targets:
        assert cluster.context.stats.credit(node).take(CREDIT_MIN_BYTES), "all was given back"
