"""Many large chunks at once: they take turns, and none fails although targets are busy."""

from __future__ import annotations

import pytest

from replicast.gateway.copies import PutDone, PutFailed
from replicast.gateway.put_turns import START_BYTES
from replicast.gateway.read_events import ChunkRead
from replicast.hashing import content_hash
from replicast.units import MIB, MS, SECOND
from replicast.wire.reasons import Reason

from .checkers import watch_durability
from .faults import Faults
from .world import ALGORITHM, Cluster

CHUNK_BYTES = 256 * 1024
COUNT, WAVES = 250, 4


def outcomes(cluster: Cluster, operations: list[bytes]) -> list[object]:
    cluster.run(lambda: all(o in cluster.results for o in operations))
    return [cluster.results[o] for o in operations]


def test_crowd__all_are_put_although_targets_are_busy() -> None:
    """60 MiB for targets that take 4 MiB at a time each, and whose disks need 300 ms."""
    cluster = Cluster(1, credit_bytes=2 * MIB, datagram_bytes=32 * 1024)
    for vdev in cluster.vdevs.values():
        vdev.delay_ns = 300 * MS
    turns, short = cluster.context.turns, []
    for _ in range(WAVES):
        operations = [cluster.put(cluster.data(CHUNK_BYTES)) for _ in range(COUNT)]
        results = outcomes(cluster, operations)
        assert all(isinstance(r, PutDone) for r in results)
        short.append(sum(isinstance(r, PutDone) and r.short for r in results))
    assert turns.window_bytes < START_BYTES and turns.under_way_bytes == 0
    # By now it is known how many at a time get all their copies.
    assert short[-1] < COUNT // 20 < short[0]


def test_crowd__whoever_waits_for_too_long_is_told_that_others_came_first() -> None:
    cluster = Cluster(2)
    cluster.context.turns.window_bytes = CHUNK_BYTES
    for vdev in cluster.vdevs.values():
        vdev.delay_ns = 10 * SECOND
    first = cluster.put(cluster.data(CHUNK_BYTES))
    data = cluster.data(CHUNK_BYTES)
    late = cluster.gateway.put(
        chid=content_hash(ALGORITHM, data),
        hash_algorithm=ALGORITHM,
        buffer=data,
        deadline_ns=cluster.now + SECOND,
        now_ns=cluster.now,
    )
    (failed,) = outcomes(cluster, [late])
    assert isinstance(failed, PutFailed) and failed.reason is Reason.BUSY
    assert "put first" in failed.detail
    (done,) = outcomes(cluster, [first])
    assert isinstance(done, PutDone) and not cluster.gateway._waiting


def test_crowd__one_that_is_cancelled_while_it_waits_is_forgotten() -> None:
    cluster = Cluster(3)
    cluster.context.turns.window_bytes = CHUNK_BYTES
    first, second, third = (cluster.put(cluster.data(CHUNK_BYTES)) for _ in range(3))
    cluster.gateway.cancel(second, cluster.now)
    assert all(isinstance(r, PutDone) for r in outcomes(cluster, [first, third]))
    assert second not in cluster.results and cluster.gateway.deadline_ns() is None


def test_crowd__a_thousand_that_fail_at_once_are_a_loop() -> None:
    """Each that ends makes room for the next, which ends in that call."""
    cluster = Cluster(4)
    cluster.context.turns.window_bytes = CHUNK_BYTES
    for vdev in cluster.vdevs.values():
        vdev.reason = Reason.NO_SPACE
    data = cluster.data(20_000)
    operations = [cluster.put(data) for _ in range(1000)]
    results = outcomes(cluster, operations)
    assert all(isinstance(r, PutFailed) and r.reason is Reason.NO_SPACE for r in results)


class Drowsy(Cluster):
    """Its gateway looks every so often at all that has come since."""

    drowses = False

    def flush_gateway(self) -> None:
        if not self.drowses:
            self.drowses = True
            self.at(2 * MS, self._wake)

    def _wake(self) -> None:
        self.drowses = False
        super().flush_gateway()


@pytest.mark.parametrize("size", [3000, 30_000])
def test_crowd__what_comes_in_one_wake_up_is_collected_at_once(size: int) -> None:
    cluster = Drowsy(5, faults=Faults(loss=0.02, duplication=0.1))
    watch_durability(cluster)
    bodies = [cluster.data(size) for _ in range(20)]
    puts = outcomes(cluster, [cluster.put(data) for data in bodies])
    assert all(isinstance(r, PutDone) and r.copies == 3 for r in puts)
    for data, read in zip(bodies, outcomes(cluster, [cluster.get(d) for d in bodies]), strict=True):
        assert isinstance(read, ChunkRead) and bytes(read.buffer) == data
    assert cluster.context.credit.granted_bytes == 0
