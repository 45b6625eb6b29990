"""Single gets: late and silent sources, wrong bytes, what a miss proves, cancelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.flexhash.table import VdevState
from replicast.gateway.get import GetChunk
from replicast.gateway.read_events import ChunkFailed, ChunkRead, Outcome
from replicast.hashing import content_hash
from replicast.machine import Incoming
from replicast.transfer_header import parse_header
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.reasons import Reason

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


def test_get__tells_who_else_said_that_he_has_it() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    looked_for = cluster.result(cluster.get(data))
    assert isinstance(looked_for, ChunkRead) and looked_for.vdev_index == looked_for.holders[0]
    assert set(looked_for.holders) == set(done.vdevs)
    hinted = cluster.result(cluster.get(data, hints=done.vdevs[:1]))
    assert isinstance(hinted, ChunkRead) and hinted.holders == done.vdevs[:1], "nobody was asked"


def test_get__who_sent_wrong_bytes_is_no_holder() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    bad = done.vdevs[0]
    cluster.vdevs[bad].durable[content_hash(ALGORITHM, data)] = b"x" + data[1:]
    read = cluster.result(cluster.get(data, hints=(bad,)))
    assert isinstance(read, ChunkRead) and read.bad_vdevs == (bad,)
    assert bad not in read.holders and read.holders


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


def test_get__a_late_source_is_not_its_own_second_source() -> None:
    cluster = Cluster()
    for _ in range(12):
        data = cluster.data(20000)
        done = cluster.result(cluster.put(data))
        slow = done.vdevs[0]
        cluster.vdevs[slow].delay_ns = 30 * SECOND
        started = cluster.now
        read = cluster.result(cluster.get(data, hints=(slow,)))
        assert isinstance(read, ChunkRead) and read.vdev_index != slow
        assert cluster.now - started < 300 * MS
        cluster.vdevs[slow].delay_ns = 2 * MS


def test_get__a_row_with_one_slow_holder_is_not_asked_in_a_loop() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    for v in done.vdevs[1:]:
        cluster.vdevs[v].durable.clear()
    cluster.vdevs[done.vdevs[0]].delay_ns = 900 * MS
    before = len(cluster.trace)
    assert isinstance(cluster.result(cluster.get(data, hints=done.vdevs[:1])), ChunkRead)
    asked = [name for _, name, _ in cluster.trace[before:]]
    assert asked.count("ChunkQuery") <= 8 * len(cluster.targets)
    assert asked.count("ChunkSend") <= 8


def test_get__waiting_for_own_credit_makes_nobody_late() -> None:
    cluster = Cluster()
    chunks = [cluster.data(20000) for _ in range(60)]
    for data in chunks:
        cluster.result(cluster.put(data))
    cluster.context.credit.limit(0)  # the least there is: three chunks at a time
    cluster.faults.jitter_ns = 20 * MS
    reads = [cluster.get(data) for data in chunks]
    cluster.run(lambda: all(op in cluster.results for op in reads))
    assert all(isinstance(cluster.results[op], ChunkRead) for op in reads)
    assert cluster.counters.get("chunks_read", "second_source") == 0


def test_get__holes_do_not_hold_up_the_next() -> None:
    """Two chunks that do not fit the credit together: what has arrived of one is no longer due."""
    cluster = Cluster()
    chunks = [cluster.data(60_000) for _ in range(2)]
    for data in chunks:
        cluster.result(cluster.put(data))
    cluster.context.credit.limit(0)
    feed, started = cluster.buffers.feed, cluster.now
    first = cluster.get(chunks[0])
    cluster.run(lambda: cluster.context.credit.granted_bytes > 0)
    second = cluster.get(chunks[1])

    def feed_with_a_hole(datagram: bytes) -> int:
        header = parse_header(datagram)
        assert header is not None
        hole = header.transfer_id[: len(first)] == first and header.index == 3
        return 0 if hole and second not in cluster.results else feed(datagram)

    cluster.buffers.feed = feed_with_a_hole  # type: ignore[method-assign,assignment]
    assert isinstance(cluster.result(second), ChunkRead) and first not in cluster.results
    assert cluster.now - started < 50 * MS, "before the first one has waited for it, or given up"
    assert isinstance(cluster.result(first), ChunkRead)


def test_get__wrong_bytes_on_the_way_are_sent_again_with_macs() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    cluster.result(cluster.put(data))
    cluster.faults.corruption = 1.0
    read = cluster.result(cluster.get(data))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data
    assert cluster.counters.get("hash_mismatches", "read") == 1


def test_get__falsified_payload_of_the_only_copy_does_not_hide_it() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    for v in done.vdevs[1:]:
        cluster.vdevs[v].durable.clear()
    cluster.faults.corruption = 1.0
    read = cluster.result(cluster.get(data))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data


def test_get__a_refusal_behind_the_last_byte_takes_nothing_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a gap report that arrived after PAYLOAD_DONE: what is being hashed is all there."""
    monkeypatch.setattr("replicast.gateway.get.made_on_arrival", lambda _: False)
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    operation = cluster.get(data, hints=done.vdevs)
    core = cluster.gateway._cores[operation]
    assert isinstance(core, GetChunk)
    cluster.run(lambda: any(source.complete for source in core._sources.values()))
    ((transfer_id, source),) = core._sources.items()
    refused = Refused(
        reason=Reason.NOT_FOUND_HERE, current_generation=1, vdevs=(), retry_after_ns=0, detail=""
    )
    late = Incoming(refused, source.node, transfer_id, 1, None, None)
    cluster.gateway.receive(late, cluster.now)
    read = cluster.result(operation)
    assert isinstance(read, ChunkRead) and read.vdev_index == source.vdev_index
    assert cluster.counters.get("chunks_read", "verified") == 1


def test_get__a_row_without_members_proves_nothing() -> None:
    cluster = Cluster()
    out = [replace(entry, state=VdevState.OUT) for entry in cluster.vdev_entries]
    cluster.change_rows(2, out)
    cluster.change_rows(3, out)
    chid = content_hash(ALGORITHM, data := cluster.data(5000))
    row = cluster.table.row_of_chunk(chid)
    assert cluster.table.members(row) == cluster.table.draining(row) == ()
    cluster.gateway.table_changed(cluster.table, cluster.now)
    failed = cluster.result(cluster.get(data))
    assert isinstance(failed, ChunkFailed) and failed.outcome is Outcome.UNAVAILABLE


def _slow_reads(cluster: Cluster, chunks: dict[bytes, tuple[int, ...]]) -> tuple[int, set[int]]:
    """How many reads of chunks by who knows where they lie took 50 ms, and who sent them."""
    late, senders = 0, set()
    for data, vdevs in chunks.items():
        started = cluster.now
        read = cluster.result(cluster.get(data, hints=vdevs))
        assert isinstance(read, ChunkRead)
        late += cluster.now - started >= 50 * MS
        senders.add(read.vdev_index)
    return late, senders


def test_get__one_slow_vdev_is_passed_over_and_asked_again_when_it_was_long_ago() -> None:
    cluster = Cluster()
    chunks = {}
    for _ in range(60):
        data = cluster.data(20000)
        chunks[data] = cluster.result(cluster.put(data)).vdevs
    slow = next(iter(chunks.values()))[0]
    assert sum(slow in vdevs for vdevs in chunks.values()) > 10
    _, senders = _slow_reads(cluster, chunks)
    assert slow in senders
    cluster.vdevs[slow].delay_ns = 400 * MS
    late, _ = _slow_reads(cluster, chunks)
    assert late <= 2
    cluster.vdevs[slow].delay_ns = 2 * MS
    cluster.settle(90 * SECOND)
    late, senders = _slow_reads(cluster, chunks)
    assert late == 0 and slow in senders


def test_get__a_vdev_that_was_slow_to_others_promises_less_time_after_a_while() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    slow = done.vdevs[0]
    for v in done.vdevs[1:]:
        cluster.vdevs[v].durable.clear()
    cluster.vdevs[slow].delay_ns = 900 * MS
    assert isinstance(cluster.result(cluster.get(data)), ChunkRead)
    responder = cluster.targets[cluster.table.target_of(slow).node_id].core.get
    chid = content_hash(ALGORITHM, data)
    promised = [responder._answer(slow, chid, True, cluster.now + n * SECOND) for n in (0, 30, 90)]
    assert promised[0].duration_ns >= 800 * MS > promised[1].duration_ns > promised[2].duration_ns
