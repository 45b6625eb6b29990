"""Single gets: late and silent sources, wrong bytes, what a miss proves, cancelling."""

from __future__ import annotations

import pytest

from replicast.gateway.get import ChunkFailed, ChunkRead, Outcome
from replicast.hashing import content_hash
from replicast.units import MS, SECOND

from .world import ALGORITHM, Cluster


def test_get__second_source_when_the_first_is_silent() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    hint = done.vdevs[0]
    cluster.targets[cluster.table.target_of(hint).node_id].crash()
    started = cluster.now
    read = cluster.result(cluster.get(data, hints=(hint,)))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data
    assert cluster.now - started < 500 * MS


def test_get__flipped_byte_is_healed_from_another_copy_and_set_aside() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    chid = content_hash(ALGORITHM, data)
    for v in done.vdevs[:2]:
        cluster.vdevs[v].durable[chid] = b"x" + data[1:]
    read = cluster.result(cluster.get(data, hints=(done.vdevs[0],)))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data
    assert done.vdevs[0] in read.bad_vdevs
    cluster.settle(SECOND)
    assert chid not in cluster.vdevs[done.vdevs[0]].durable


def test_get__nobody_has_it_is_data_lost() -> None:
    cluster = Cluster()
    failed = cluster.result(cluster.get(cluster.data(5000)))
    assert isinstance(failed, ChunkFailed) and failed.outcome is Outcome.DATA_LOST
    assert {said for _, said in failed.answers} == {"miss"}


@pytest.mark.parametrize("trouble", ["crash", "lease", "damage"])
def test_get__a_miss_that_is_not_proved_is_unavailable(trouble: str) -> None:
    cluster = Cluster()
    target = cluster.targets[2]
    if trouble == "crash":
        target.crash()
    elif trouble == "lease":
        target.lease.until_ns = 0
    else:
        next(iter(target.vdevs.values())).damaged = True
    failed = cluster.result(cluster.get(cluster.data(5000)))
    assert isinstance(failed, ChunkFailed) and failed.outcome is Outcome.UNAVAILABLE


def test_get__without_a_lease_a_target_still_sends() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    cluster.result(cluster.put(data))
    for target in cluster.targets.values():
        target.lease.until_ns = 0
    assert isinstance(cluster.result(cluster.get(data)), ChunkRead)


def test_get__cancel_closes_everything() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    cluster.result(cluster.put(data))
    operation = cluster.get(data)
    cluster.settle(2 * MS)
    cluster.gateway.cancel(operation, cluster.now)
    cluster.flush_gateway()
    cluster.settle(5 * SECOND)
    assert cluster.buffers.stats()["transfers"] == 0
    assert cluster.context.credit.granted_bytes == 0
