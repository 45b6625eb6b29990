"""Single puts: copies, refusals, stragglers, wrong bytes, old replies, selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.table import VdevState
from replicast.gateway.copies import PutDone, PutFailed
from replicast.gateway.read_events import ChunkRead
from replicast.gateway.small_put import CONTROL_ROOM_BYTES
from replicast.gateway.stats import CREDIT_START_BYTES
from replicast.hashing import content_hash
from replicast.machine import Outgoing
from replicast.target.put import StoreChunk
from replicast.transfer import SendPayload
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import Bid
from replicast.wire.reasons import Reason

from .checkers import watch_durability
from .faults import Faults
from .target import Target
from .world import ALGORITHM, GATEWAY, Cluster


def test_put__negotiated_three_copies_and_read() -> None:
    cluster = Cluster()
    data = cluster.data(20000)
    done = cluster.result(cluster.put(data))
    assert isinstance(done, PutDone) and done.copies == 3 and not done.short
    assert done.sent_bytes == 3 * 20000 and not done.deduplicated
    read = cluster.result(cluster.get(data))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data


@pytest.mark.parametrize("size", [100, 3000, 30000])
def test_put__second_time_is_deduplicated(size: int) -> None:
    cluster = Cluster()
    data = cluster.data(size)
    cluster.result(cluster.put(data))
    cluster.new_gateway()
    again = cluster.result(cluster.put(data))
    assert isinstance(again, PutDone) and again.deduplicated and again.copies == 3
    assert sum(v.stored_count for v in cluster.vdevs.values()) == 3
    assert size < 4096 or again.sent_bytes == 0


def test_put__multicast_sends_once_after_the_groups_are_joined() -> None:
    cluster = Cluster(hosts=3, transport="multicast", rendezvous_groups=1)
    cluster.result(cluster.put(cluster.data(20000)))
    cluster.settle(SECOND)
    before = cluster.payload_sent_bytes
    done = cluster.result(cluster.put(cluster.data(20000)))
    assert done.copies == 3
    assert cluster.payload_sent_bytes - before == 20000 == cluster.multicast_bytes


def test_put__stale_row_is_refused_once_then_succeeds() -> None:
    cluster = Cluster()
    cluster.vdev_entries[0] = replace(cluster.vdev_entries[0], state=VdevState.OUT)
    old = cluster.table
    cluster.change_rows(2, cluster.vdev_entries)
    for target in cluster.targets.values():
        target.adopt(cluster.table)
    data = cluster.data(9000)
    while cluster.table.members_since(old.row_of_chunk(content_hash(ALGORITHM, data))) < 2:
        data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    assert isinstance(done, PutDone) and done.copies == 3
    assert cluster.refetches == 1
    assert cluster.counters.get("refusals", "stale_generation") == 1


@pytest.mark.parametrize("size", [900, 9000])
def test_put__a_change_of_other_rows_refuses_nothing(size: int) -> None:
    cluster = Cluster()
    cluster.change_rows(2, cluster.vdev_entries)  # a generation in which no row changed
    for target in cluster.targets.values():
        target.adopt(cluster.table)
    done = cluster.result(cluster.put(cluster.data(size)))
    assert done.copies == 3 and cluster.refetches == 0
    assert cluster.counters.total("refusals") == 0


@pytest.mark.parametrize("size", [900, 9000])
def test_put__stale_small_and_large_refetch_once(size: int) -> None:
    cluster = Cluster()
    cluster.vdev_entries = [
        replace(e, state=VdevState.OUT) if e.index in (0, 2) else e for e in cluster.vdev_entries
    ]
    cluster.change_rows(2, cluster.vdev_entries)
    for target in cluster.targets.values():
        target.adopt(cluster.table)
    done = cluster.result(cluster.put(cluster.data(size)))
    assert isinstance(done, PutDone) and done.copies == 3
    assert cluster.refetches == 1
    assert cluster.counters.get("refusals", "stale_generation") == 1


def test_put__target_behind_fetches_first() -> None:
    cluster = Cluster()
    cluster.change_rows(2, cluster.vdev_entries)
    cluster.gateway.table_changed(cluster.table, cluster.now)
    done = cluster.result(cluster.put(cluster.data(9000)))
    assert done.copies == 3 and not done.short
    assert all(t.table.generation == 2 for t in cluster.targets.values())


def test_put__without_leases_fails_with_the_reason() -> None:
    cluster = Cluster()
    for target in cluster.targets.values():
        target.lease.until_ns = 0
    failed = cluster.result(cluster.put(cluster.data(9000)))
    assert isinstance(failed, PutFailed) and failed.reason == Reason.NO_LEASE
    assert not any(v.durable for v in cluster.vdevs.values())


@pytest.mark.parametrize("size", [900, 9000])
def test_put__full_disks_fail_at_once(size: int) -> None:
    cluster = Cluster()
    for vdev in cluster.vdevs.values():
        vdev.reason = Reason.NO_SPACE
    started = cluster.now
    failed = cluster.result(cluster.put(cluster.data(size)))
    assert isinstance(failed, PutFailed) and failed.reason == Reason.NO_SPACE
    assert cluster.now - started < SECOND


def test_put__one_host_left_fails_at_the_deadline() -> None:
    cluster = Cluster(hosts=3)
    for node in (2, 3):
        cluster.targets[node].crash()
    failed = cluster.result(cluster.put(cluster.data(9000)))
    assert isinstance(failed, PutFailed)


@pytest.mark.parametrize("size", [900, 9000])
def test_put__one_of_three_hosts_dead_is_short(size: int) -> None:
    cluster = Cluster(hosts=3)
    cluster.targets[2].crash()
    started = cluster.now
    done = cluster.result(cluster.put(cluster.data(size)))
    assert isinstance(done, PutDone) and done.copies == 2 and done.short
    assert cluster.now - started < 3 * SECOND
    started = cluster.now
    cluster.result(cluster.put(cluster.data(size)))
    assert cluster.now - started < 200 * MS, "the next one knows that it is dead"


def test_put__a_dead_host_of_four_costs_nothing_much() -> None:
    cluster = Cluster()
    cluster.targets[3].crash()
    started = cluster.now
    done = cluster.result(cluster.put(cluster.data(9000)))
    assert done.copies == 3 and cluster.now - started < 200 * MS


def test_put__straggler_is_replaced() -> None:
    cluster = Cluster(straggler_ms=50)
    data = cluster.data(9000)
    operation = cluster.put(data)
    cluster.settle(MS)
    stuck = [v for v in cluster.vdevs.values() if v.queued]
    for vdev in cluster.vdevs.values():
        vdev.delay_ns = 2 * MS
    assert stuck or operation not in cluster.results
    slow = cluster.targets[1]
    for vdev in slow.vdevs.values():
        vdev.delay_ns = 30 * SECOND
    done = cluster.result(cluster.put(cluster.data(9000)))
    assert done.copies == 3


class Uplink:
    """The gateway's link carries so many payload bytes a second behind a short queue."""

    def __init__(self, cluster: Cluster, bytes_per_second: int) -> None:
        self._cluster, self._ns_per_byte = cluster, SECOND // bytes_per_second
        self._send, self._free_ns = cluster._send_datagram, 0
        cluster._send_datagram = self._queue  # type: ignore[method-assign]

    def _queue(self, sender: int, e: SendPayload, index: int, nodes: tuple[int, ...]) -> None:
        cluster = self._cluster
        for node in nodes:
            start_ns = max(cluster.now, self._free_ns)
            if sender == GATEWAY and start_ns < cluster.now + 50 * MS:
                self._free_ns = start_ns + e.datagram_bytes * self._ns_per_byte
                delay_ns = self._free_ns - cluster.now
                cluster.at(delay_ns, lambda node=node: self._send(sender, e, index, (node,)))  # type: ignore[misc]


def test_put__slow_uplink_is_not_flooded_and_nobody_is_late() -> None:
    sent_bytes, runs = 0, 4  # of one run it is between 4.3 and 6.8 times what was to be sent
    for seed in range(runs):
        cluster = Cluster(straggler_ms=1000, seed=seed)
        Uplink(cluster, 500_000)
        puts = [cluster.put(cluster.data(100_000)) for _ in range(6)]
        done = [cluster.result(put) for put in puts]
        assert all(isinstance(put, PutDone) and put.copies == 3 for put in done)
        assert cluster.counters.get("bids", "won") == 3 * 6, "none was replaced"
        sent_bytes += cluster.payload_sent_bytes
    assert sent_bytes < 5.6 * runs * 3 * 6 * 100_000


def test_put__wrong_bytes_on_the_way_are_sent_again_with_macs() -> None:
    cluster = Cluster(faults=Faults(corruption=1.0))
    done = cluster.result(cluster.put(cluster.data(9000)))
    assert isinstance(done, PutDone) and done.copies == 3
    assert cluster.counters.get("hash_mismatches", "received") >= 1


def test_put__old_reply_of_another_attempt_is_dropped() -> None:
    cluster = Cluster()
    kept: list[Outgoing] = []
    deliver = cluster._deliver_message

    def record(sender: int, out: Outgoing) -> None:
        if type(out.message).__name__ == "ChunkStored":
            kept.append(out)
        deliver(sender, out)

    cluster._deliver_message = record  # type: ignore[method-assign]
    data = cluster.data(9000)
    cluster.result(cluster.put(data))
    for vdev in cluster.vdevs.values():
        vdev.durable.clear()
        vdev.delay_ns = 100 * MS
    operation = cluster.put(data)
    for out in kept:
        for node in cluster.targets:
            deliver(node, replace(out, to=GATEWAY))
    cluster.settle(50 * MS)
    assert operation not in cluster.results
    watch_durability(cluster)
    assert cluster.result(operation).stored_copies == 3


def test_put__hold_of_a_chunk_that_has_gone_is_replaced() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    watch_durability(cluster)
    operation = cluster.put(data)
    lost = cluster.vdevs[done.vdevs[0]]
    cluster.at(MS // 2, lambda: lost.durable.clear())
    assert cluster.result(operation).copies == 3


def test_selection__slow_and_full_vdevs_get_less() -> None:
    cluster = Cluster()
    cluster.vdevs[0].delay_ns = 52 * MS
    cluster.vdevs[5].free = 200_000
    for _ in range(60):
        ops = [cluster.put(cluster.data(5000)) for _ in range(5)]
        cluster.run(lambda ops=ops: all(op in cluster.results for op in ops))  # type: ignore[misc]
    counts = {v: vdev.stored_count for v, vdev in cluster.vdevs.items()}
    total = sum(counts.values())
    assert counts[0] <= total * 0.05
    assert counts[5] < total / 8


def test_put__small_that_must_negotiate_does_so_under_the_newest_table() -> None:
    cluster = Cluster(faults=Faults(store_error=1.0))
    started, operation = cluster.now, cluster.put(cluster.data(900))
    cluster.settle(MS)  # accepted under the old table; the stores will fail
    cluster.faults.store_error = 0.0
    cluster.vdev_entries = [
        replace(e, state=VdevState.OUT) if e.index in (0, 2) else e for e in cluster.vdev_entries
    ]
    cluster.change_rows(2, cluster.vdev_entries)
    cluster.gateway.table_changed(cluster.table, cluster.now)
    for target in cluster.targets.values():
        target.adopt(cluster.table)
    assert isinstance(cluster.result(operation), PutDone)
    assert cluster.now - started < SECOND and cluster.refetches == 0


def test_put__small_one_of_several_datagrams_is_sent_once() -> None:
    """What overtook CHUNK_PUT was dropped, and came 20 ms later as a gap."""
    cluster = Cluster()
    for _ in range(20):
        started = cluster.now
        done = cluster.result(cluster.put(cluster.data(4096)))
        assert done.copies == 3 and cluster.now - started < 15 * MS
    assert cluster.counters.get("payload_resent_bytes") == 0
    rest_bytes = 4096 - (1024 - CONTROL_ROOM_BYTES)
    assert cluster.payload_sent_bytes == 20 * 3 * rest_bytes


def test_put__small_ones_that_wait_for_credit_pass_over_a_host_that_died() -> None:
    cluster = Cluster()
    cluster.targets[2].crash()
    cluster.context.stats.credit(2).window_bytes = 4096
    started = cluster.now
    operations = [cluster.put(cluster.data(4096)) for _ in range(200)]
    cluster.run(lambda: all(op in cluster.results for op in operations))
    assert all(cluster.results[op].copies == 3 for op in operations)
    assert cluster.now - started < 1200 * MS


def test_put__small_with_wrong_bytes_on_the_way_is_sent_again_only_with_macs() -> None:
    cluster = Cluster(faults=Faults(corruption=1.0))
    jobs: list[SendPayload] = []
    send = cluster._send_payload

    def record(sender: int, event: SendPayload, sent: Callable[[], None]) -> None:
        jobs.append(event)
        send(sender, event, sent)

    cluster._send_payload = record  # type: ignore[method-assign]
    done = cluster.result(cluster.put(cluster.data(3000)))
    assert isinstance(done, PutDone) and done.copies == 3
    immediate = jobs[0].transfer_id
    assert {job.authenticated for job in jobs if job.transfer_id == immediate} == {False}
    assert {job.authenticated for job in jobs if job.transfer_id != immediate} == {True}


def test_put__a_refusal_gives_credit_back_but_no_more() -> None:
    cluster = Cluster()
    for vdev in cluster.vdevs.values():
        vdev.reason = Reason.BUSY
    cluster.put(cluster.data(4096))
    cluster.settle(10 * MS)
    credits = [cluster.context.stats.credit(node) for node in cluster.targets]
    assert {credit.window_bytes for credit in credits} == {CREDIT_START_BYTES}
    assert all(credit.take(CREDIT_START_BYTES) for credit in credits), "all of it was given back"


def test_put__enough_holders_wait_for_nobody() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    (idle,) = set(cluster.targets) - {cluster.table.target_of(v).node_id for v in done.vdevs}
    cluster.targets[idle].crash()
    started = cluster.now
    assert cluster.result(cluster.put(data)).deduplicated
    assert cluster.now - started < 50 * MS


def test_put__one_duplicate_waits_for_a_holder_that_has_just_died_not_each() -> None:
    cluster = Cluster()
    chunks = [cluster.data(9000) for _ in range(20)]
    stored = {data: cluster.result(cluster.put(data)).vdevs for data in chunks}
    lost = [d for d in chunks if 2 in {cluster.table.target_of(v).node_id for v in stored[d]}]
    cluster.targets[2].crash()
    waited_ns = []
    for data in lost[:4]:
        started = cluster.now
        assert cluster.result(cluster.put(data)).stored_copies == 1
        waited_ns.append(cluster.now - started)
    assert waited_ns[0] >= 300 * MS, "it may hold the copy that is missing"
    assert len(waited_ns) == 4 and max(waited_ns[1:]) < 50 * MS


def test_put__an_old_bid_does_not_take_back_a_refusal() -> None:
    cluster = Cluster(hosts=3)
    bids: list[Outgoing] = []
    stores: list[int] = []
    deliver, store = cluster._deliver_message, cluster._store

    def record(sender: int, out: Outgoing) -> None:
        if isinstance(out.message, Bid):
            bids.append(out)
        deliver(sender, out)

    def faulted(target: Target, event: StoreChunk, v: int, later: Any) -> None:
        if target.node_id == 1:
            stores.append(v)
            later(0, lambda: target.core.stored(event.token, v, Reason.FAULTED, cluster.now))
        else:
            store(target, event, v, later)

    cluster._deliver_message, cluster._store = record, faulted  # type: ignore[method-assign]
    for v in cluster.targets[2].vdevs.values():
        v.delay_ns = 100 * MS
    cluster.put(cluster.data(9000))
    cluster.settle(20 * MS)
    assert sorted(stores) == sorted(cluster.targets[1].vdevs), "one took the other's place"
    for out in bids:
        deliver(1, out)
    cluster.settle(50 * MS)
    assert len(stores) == len(set(stores))


def test_put__given_up_frees_the_receivers_at_once() -> None:
    cluster = Cluster()
    cluster.faults.jitter_ns = 20 * MS
    operation = cluster.put(cluster.data(100_000))
    cluster.run(lambda: any(t.core._credit.granted_bytes for t in cluster.targets.values()))
    cluster.settle(10 * MS)
    cluster.gateway.cancel(operation, cluster.now)
    cluster.flush_gateway()
    cluster.settle(100 * MS)
    for target in cluster.targets.values():
        assert target.core._credit.granted_bytes == 0
        assert target.buffers.stats()["transfers"] == 0


def test_put__done_without_a_straggler_frees_its_receiver() -> None:
    cluster = Cluster(straggler_ms=50)
    silent = cluster.targets[1]
    receive = silent.buffers.feed
    silent.buffers.feed = lambda datagram: 0  # type: ignore[method-assign,assignment]
    done = [cluster.result(cluster.put(cluster.data(20_000))) for _ in range(3)]
    assert all(put.copies == 3 for put in done)
    silent.buffers.feed = receive  # type: ignore[method-assign]
    cluster.settle(50 * MS)
    assert silent.core._credit.granted_bytes == 0
