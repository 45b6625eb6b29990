"""Chunk puts and gets between simulated targets and one gateway, on virtual time.

Fair faults: loss, duplication, delay and reordering of every datagram, wrong
payload bytes, slow and failing stores, crashed targets (volatile state gone,
durable chunks kept), lost leases, tables that some adopt later than others.
Replay one with SIM_SEED=n.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

import pytest

from replicast.flexhash.build import build
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.gateway.chunks import ChunkEvent, ChunkExchange
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.gateway.copies import NeedTable, PutDone, PutFailed
from replicast.gateway.get import ChunkFailed, ChunkRead, Outcome, VerifyPayload
from replicast.hashing import HashAlgorithm, content_hash
from replicast.machine import Group, Incoming, Outgoing
from replicast.metrics import Counters
from replicast.target.chunks import ChunkService, FetchTable
from replicast.target.get import ReadChunk
from replicast.target.put import JoinRendezvous, StoreChunk, StoreHold
from replicast.target.verify import VerifyChunk
from replicast.transfer import CreditPool, SendPayload
from replicast.transfer_header import datagram_length, header_for, index_runs
from replicast.transport.reassembly import Reassembly
from replicast.units import KIB, MIB, MS, SECOND, US
from replicast.wire.chunk_messages import VERIFIED, VERIFY_CORRUPT, VERIFY_MISSING
from replicast.wire.codec import decode, encode
from replicast.wire.reasons import Reason

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(200))
GATEWAY = 999
ALGORITHM = HashAlgorithm.BLAKE3_256
ADDRESS = ("127.0.0.1", 1)
POLICY = Policy(row_count=8, group_size=8, copies=3, min_copies=2)


@dataclass
class Faults:
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    jitter_ns: int = 200 * US
    store_error: float = 0.0


@dataclass
class SimVdev:
    """One disk: what is durable, and how slow it is."""

    delay_ns: int = 2 * MS
    free: int = 900_000
    reason: Reason | None = None
    durable: dict[bytes, bytes] = field(default_factory=dict)
    stored_count: int = 0
    queued: int = 0
    damaged: bool = False

    def has(self, chid: bytes) -> bool:
        return chid in self.durable

    def size_of(self, chid: bytes) -> int:
        return len(self.durable.get(chid, b""))

    def refusal(self, size_bytes: int) -> Reason | None:
        return self.reason

    def proves_misses(self) -> bool:
        return not self.damaged

    def queue_bytes(self) -> int:
        return self.queued

    def flush_ns(self) -> int:
        return self.delay_ns

    def free_ppm(self) -> int:
        return self.free


@dataclass
class SimLease:
    until_ns: int = 1 << 62

    def valid(self, now_ns: int) -> bool:
        return now_ns < self.until_ns


class Target:
    """One target process: volatile core, durable VDEVs."""

    def __init__(self, cluster: "Cluster", node_id: int, vdevs: dict[int, SimVdev]) -> None:
        self.cluster, self.node_id, self.vdevs = cluster, node_id, vdevs
        self.lease = SimLease()
        self.table = cluster.table
        self.up = True
        self.incarnation = 0
        self.start()

    def start(self) -> None:
        self.up = True
        self.incarnation += 1
        self.buffers = Reassembly(4 * MIB, 64)
        self.groups: set[int] = set()
        self.counters = Counters()
        self.core = ChunkService(
            node_id=self.node_id,
            table=self.table,
            lease=self.lease,
            vdevs=self.vdevs,
            buffers=self.buffers,
            counters=self.counters,
            credit_bytes=self.cluster.credit_bytes,
        )

    def crash(self) -> None:
        self.up = False
        self.incarnation += 1

    def adopt(self, table: Table) -> None:
        if table.generation > self.table.generation:
            self.table = table
            if self.up:
                self.core.adopt(table, self.cluster.now)
                self.cluster.flush_target(self)


class Cluster:
    def __init__(
        self,
        seed: int = 0,
        *,
        hosts: int = 4,
        faults: Faults | None = None,
        credit_bytes: int = MIB,
        policy: Policy = POLICY,
        **settings: Any,
    ) -> None:
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        self.credit_bytes = credit_bytes
        self.now = SECOND
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.trace: list[tuple[int, str, int]] = []
        addresses = (ADDRESS, ADDRESS, ADDRESS, "", ADDRESS)
        self.entries = [TargetEntry(n + 1, f"t{n}", f"h{n}", "z", *addresses) for n in range(hosts)]
        self.vdev_entries = [
            VdevEntry(v, v.to_bytes(16, "big"), v // 2 + 1, 100, VdevState.UP, 1)
            for v in range(2 * hosts)
        ]
        self.policy = policy
        self.table = build(None, self.entries, self.vdev_entries, policy, (), 1)
        self.vdevs = {v: SimVdev() for v in range(2 * hosts)}
        self.targets = {
            e.node_id: Target(
                self, e.node_id, {v: self.vdevs[v] for v in self.table.vdevs_of(e.node_id)}
            )
            for e in self.entries
        }
        defaults: dict[str, Any] = {"negotiate_above_bytes": 4096, "datagram_bytes": 1024}
        self.settings = ChunkSettings(**(defaults | settings))
        self.new_gateway()
        self.results: dict[bytes, Any] = {}
        self.watch: list[Callable[[Any], None]] = []
        self.refetches = 0
        self.payload_sent_bytes = 0
        self.multicast_bytes = 0

    def new_gateway(self) -> None:
        self.counters = Counters()
        self.buffers = Reassembly(4 * MIB, 64)
        self.context = ChunkContext(
            self.settings,
            self.buffers,
            self.counters,
            random.Random(self.rng.random()),
            CreditPool(MIB),
        )
        self.gateway = ChunkExchange(self.context, self.table)

    # -- time -------------------------------------------------------------------------

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.sequence += 1
        heappush(self.heap, (self.now + delay_ns, self.sequence, action))

    def run(self, until: Callable[[], bool], limit_ns: int = 120 * SECOND) -> None:
        end = self.now + limit_ns
        at_once = 0
        while not until():
            before = self.now
            due = self._next_deadline()
            if self.heap and (due is None or self.heap[0][0] <= due):
                time, _, action = heappop(self.heap)
                self.now = max(self.now, time)
                action()
            elif due is not None:
                self.now = max(self.now, due)
                self._expire()
            else:
                raise AssertionError("nothing will ever happen again")
            at_once = at_once + 1 if self.now == before else 0
            assert self.now < end and at_once < 10_000, "no progress"

    def settle(self, duration_ns: int) -> None:
        end = self.now + duration_ns
        self.at(duration_ns, lambda: None)
        self.run(lambda: self.now >= end)

    def _next_deadline(self) -> int | None:
        times = [self.gateway.deadline_ns()]
        times += [t.core.deadline_ns() for t in self.targets.values() if t.up]
        return min((t for t in times if t is not None), default=None)

    def _expire(self) -> None:
        self.gateway.expire(self.now)
        self.flush_gateway()
        for target in self.targets.values():
            if target.up:
                target.core.expire(self.now)
                self.flush_target(target)

    # -- network ------------------------------------------------------------------------

    def _delays(self) -> list[int]:
        if self.rng.random() < self.faults.loss:
            return []
        count = 2 if self.rng.random() < self.faults.duplication else 1
        return [30 * US + self.rng.randrange(self.faults.jitter_ns) for _ in range(count)]

    def _deliver_message(self, sender: int, out: Outgoing) -> None:
        nodes: list[int] = [out.to] if isinstance(out.to, int) else sorted(self.targets)
        group = out.to if isinstance(out.to, Group) else None
        message = decode(out.message.TYPE, encode(out.message))
        incoming = Incoming(message, sender, out.operation_id, out.generation, None, group)
        for node in nodes:
            for delay in self._delays():
                self.at(delay, lambda node=node: self._receive(node, incoming))  # type: ignore[misc]

    def _receive(self, node: int, incoming: Incoming) -> None:
        self.trace.append((self.now, type(incoming.message).__name__, node))
        if node == GATEWAY:
            self.gateway.receive(incoming, self.now)
            self.flush_gateway()
            return
        target = self.targets[node]
        if target.up:
            target.core.receive(incoming, self.now)
            self.flush_target(target)

    def _send_payload(self, sender: int, e: SendPayload, sent: Callable[[], None]) -> None:
        group = e.to if isinstance(e.to, Group) else None
        if isinstance(e.to, Group):
            number = e.to.number
            nodes = tuple(n for n, t in self.targets.items() if number in t.groups)
        else:
            nodes = e.to
        if sender == GATEWAY:
            self.payload_sent_bytes += e.payload_bytes
            self.multicast_bytes += e.payload_bytes if group else 0
        for first, end in index_runs(list(e.ranges), e.size_bytes, e.datagram_bytes):
            for index in range(first, end):
                self._send_datagram(sender, e, index, nodes)
        self.at(20 * US, sent)

    def _send_datagram(
        self, sender: int, e: SendPayload, index: int, nodes: tuple[int, ...]
    ) -> None:
        header = header_for(e.transfer_id, index, e.size_bytes, e.datagram_bytes, sender)
        start = index * e.datagram_bytes
        length = datagram_length(index, e.size_bytes, e.datagram_bytes)
        data = bytes(memoryview(e.buffer)[start : start + length])
        for node in nodes:
            wrong = self.rng.random() < self.faults.corruption and not e.authenticated
            sent = bytes([data[0] ^ 1]) + data[1:] if wrong else data
            for delay in self._delays():
                self.at(
                    delay,
                    lambda node=node, sent=sent: self._receive_payload(  # type: ignore[misc]
                        node, header.pack() + sent, e, start, sent
                    ),
                )

    def _receive_payload(
        self, node: int, datagram: bytes, e: SendPayload, start: int, data: bytes
    ) -> None:
        target = None if node == GATEWAY else self.targets[node]
        buffers = self.buffers if target is None else target.buffers
        if e.authenticated:
            try:
                buffers.place(e.transfer_id, start, data)
            except KeyError:
                return
        else:
            buffers.feed(datagram)
        for transfer_id in buffers.take_completed():
            if target is None:
                self.gateway.transfer_completed(transfer_id, self.now)
                self.flush_gateway()
            elif target.up:
                target.core.transfer_completed(transfer_id, self.now)
                self.flush_target(target)

    # -- shells -----------------------------------------------------------------------------

    def flush_gateway(self) -> None:
        for event in self.gateway.take_events():
            assert isinstance(event, ChunkEvent)
            self._gateway_event(event.operation, event.event)
        for out in self.gateway.take_outgoing():
            self._deliver_message(GATEWAY, out)

    def _gateway_event(self, operation: bytes, event: Any) -> None:
        if isinstance(event, SendPayload):
            gateway = self.gateway

            def sent() -> None:
                gateway.payload_sent(event.transfer_id, event.token, self.now)

            self._send_payload(GATEWAY, event, sent)
        elif isinstance(event, NeedTable):
            self.refetches += 1
            self.at(3 * MS, self._fetched)
        elif isinstance(event, VerifyPayload):
            ok = content_hash(event.hash_algorithm, event.buffer) == event.chid
            self.at(300 * US, lambda: self._verified(event.transfer_id, ok))
        else:
            assert operation not in self.results, "an operation ended twice"
            for check in self.watch:
                check(event)
            self.results[operation] = event

    def _verified(self, transfer_id: bytes, ok: bool) -> None:
        self.gateway.verified(transfer_id, ok, self.now)
        self.flush_gateway()

    def _fetched(self) -> None:
        self.gateway.table_changed(self.table, self.now)
        self.flush_gateway()

    def flush_target(self, target: Target) -> None:
        for event in target.core.take_events():
            self._target_event(target, event)
        for out in target.core.take_outgoing():
            self._deliver_message(target.node_id, out)

    def _target_event(self, target: Target, event: Any) -> None:
        def later(delay: int, action: Callable[[], None]) -> None:
            incarnation = target.incarnation

            def run() -> None:
                if target.incarnation == incarnation:
                    action()
                    self.flush_target(target)

            self.at(delay, run)

        core = target.core
        if isinstance(event, StoreChunk):
            for v in event.vdevs:
                self._store(target, event, v, later)
        elif isinstance(event, StoreHold):
            vdev = self.vdevs[event.vdev_index]

            def held() -> None:
                outcome = None if vdev.has(event.chid) else Reason.NOT_FOUND_HERE
                core.stored(event.token, event.vdev_index, outcome, self.now)

            later(vdev.delay_ns, held)
        elif isinstance(event, ReadChunk):
            data = self.vdevs[event.vdev_index].durable.get(event.chid)
            outcome = Reason.NOT_FOUND_HERE if data is None else data
            delay = self.vdevs[event.vdev_index].delay_ns
            later(delay, lambda: core.read_done(event.token, outcome, self.now))
        elif isinstance(event, SendPayload):

            def sent() -> None:
                if target.core is core:
                    core.payload_sent(GATEWAY, event.transfer_id, event.token, self.now)

            self._send_payload(target.node_id, event, sent)
        elif isinstance(event, JoinRendezvous):
            target.groups.add(event.number)
            core.group_joined(event.number, self.now)
        elif isinstance(event, FetchTable):
            later(2 * MS, lambda: target.adopt(self.table))
        elif isinstance(event, VerifyChunk):
            later(MS, lambda: core.verified(event.token, self._check_copy(event), ""))

    def _check_copy(self, event: VerifyChunk) -> int:
        durable = self.vdevs[event.vdev_index].durable
        if event.chid not in durable:
            return VERIFY_MISSING
        if content_hash(event.hash_algorithm, durable[event.chid]) == event.chid:
            return VERIFIED
        del durable[event.chid]
        return VERIFY_CORRUPT

    def _store(self, target: Target, event: StoreChunk, v: int, later: Any) -> None:
        vdev, data = self.vdevs[v], bytes(event.buffer)
        vdev.queued += len(data)
        fails = self.rng.random() < self.faults.store_error

        def stored() -> None:
            vdev.queued -= len(data)
            if content_hash(event.hash_algorithm, data) != event.chid:
                outcome: Reason | None = Reason.HASH_MISMATCH
            else:
                outcome = Reason.FAULTED if fails else None
            if outcome is None:
                vdev.durable[event.chid] = data
                vdev.stored_count += 1
            target.core.stored(event.token, v, outcome, self.now)

        later(vdev.delay_ns + self.rng.randrange(MS), stored)

    # -- operations -----------------------------------------------------------------------------

    def put(self, data: bytes, **more: Any) -> bytes:
        operation = self.gateway.put(
            chid=content_hash(ALGORITHM, data),
            hash_algorithm=ALGORITHM,
            buffer=data,
            deadline_ns=self.now + 20 * SECOND,
            now_ns=self.now,
            **more,
        )
        self.flush_gateway()
        return operation

    def get(self, data: bytes, **more: Any) -> bytes:
        operation = self.gateway.get(
            chid=content_hash(ALGORITHM, data),
            hash_algorithm=ALGORITHM,
            size_bytes=len(data),
            deadline_ns=self.now + 20 * SECOND,
            now_ns=self.now,
            **more,
        )
        self.flush_gateway()
        return operation

    def result(self, operation: bytes) -> Any:
        self.run(lambda: operation in self.results)
        return self.results[operation]

    def data(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    def check_durable(self, event: Any) -> None:
        """C1: what a PutDone counts is durable, right, and on distinct hosts, now."""
        if isinstance(event, PutDone):
            hosts = {self.table.host_of(v) for v in event.vdevs}
            assert event.copies == len(hosts) >= self.policy.min_copies
            for v in event.vdevs:
                assert content_hash(ALGORITHM, self.vdevs[v].durable[event.chid]) == event.chid

    def change_rows(self, generation: int, vdevs: list[VdevEntry]) -> None:
        self.table = build(self.table, self.entries, vdevs, self.policy, (), generation)


# -- whole runs under faults -----------------------------------------------------------------


def random_run(seed: int) -> Cluster:
    rng = random.Random(seed)
    faults = Faults(
        loss=rng.choice([0, 0, 0.02, 0.1]),
        duplication=rng.choice([0, 0.05]),
        corruption=rng.choice([0, 0, 0.01]),
        jitter_ns=rng.choice([100 * US, MS, 20 * MS]),
        store_error=rng.choice([0, 0, 0.02]),
    )
    cluster = Cluster(
        seed,
        hosts=rng.choice([3, 4, 5]),
        faults=faults,
        credit_bytes=rng.choice([64 * KIB, MIB]),
        transport=rng.choice(["unicast", "multicast"]),
        negotiate_above_bytes=rng.choice([0, 4096]),
    )
    cluster.watch.append(cluster.check_durable)
    for vdev in cluster.vdevs.values():
        vdev.delay_ns = rng.choice([MS, 2 * MS, 2 * MS, 50 * MS])
    victim = cluster.targets[rng.choice(sorted(cluster.targets))]
    if rng.random() < 0.4:
        cluster.at(rng.randrange(60 * MS), victim.crash)
        cluster.at(rng.randrange(200 * MS, 3 * SECOND), victim.start)
    if rng.random() < 0.3:
        other = cluster.targets[rng.choice(sorted(cluster.targets))]
        cluster.at(rng.randrange(50 * MS), lambda: setattr(other.lease, "until_ns", 0))
        cluster.at(2 * SECOND, lambda: setattr(other.lease, "until_ns", 1 << 62))
    if rng.random() < 0.4:
        cluster.at(rng.randrange(40 * MS), lambda: new_vdev(cluster, rng))
    return cluster


def new_vdev(cluster: Cluster, rng: random.Random) -> None:
    """A VDEV more: rows move; targets adopt one after the other, the gateway when refused."""
    index = len(cluster.vdev_entries)
    node = cluster.entries[0].node_id
    entry = VdevEntry(index, index.to_bytes(16, "big"), node, 100, VdevState.UP, 1)
    cluster.vdev_entries.append(entry)
    cluster.vdevs[index] = cluster.targets[node].vdevs[index] = SimVdev()
    cluster.change_rows(cluster.table.generation + 1, cluster.vdev_entries)
    table = cluster.table
    for target in cluster.targets.values():
        cluster.at(rng.randrange(30 * MS), lambda target=target: target.adopt(table))  # type: ignore[misc]


def drive(cluster: Cluster) -> dict[bytes, bytes]:
    """Six puts in flight together, reads of what is done while the faults go on."""
    chunks = [cluster.data(n) for n in (1, 700, 4096, 4097, 9000, 20000)]
    operations = {cluster.put(data): data for data in chunks}
    cluster.run(lambda: all(op in cluster.results for op in operations))
    done = {op: data for op, data in operations.items() if isinstance(cluster.results[op], PutDone)}
    reads = {cluster.get(data): data for data in done.values()}
    cluster.run(lambda: all(op in cluster.results for op in reads))
    for op, data in reads.items():
        outcome = cluster.results[op]
        if isinstance(outcome, ChunkRead):
            assert bytes(outcome.buffer) == data
        else:
            assert outcome.outcome is Outcome.UNAVAILABLE
    return done


def test_same_seed_same_trace() -> None:
    first, second = random_run(7), random_run(7)
    drive(first), drive(second)
    assert first.trace == second.trace


@pytest.mark.parametrize("seed", SEEDS)
def test_puts_are_durable_and_read_back(seed: int) -> None:
    cluster = random_run(seed)
    done = drive(cluster)
    cluster.faults.__dict__.update(Faults().__dict__)
    for target in cluster.targets.values():
        target.lease.until_ns = 1 << 62
    cluster.settle(5 * SECOND)
    again = {cluster.get(data): data for data in done.values()}
    cluster.run(lambda: all(op in cluster.results for op in again))
    for op, data in again.items():
        outcome = cluster.results[op]
        assert isinstance(outcome, ChunkRead), outcome
        assert bytes(outcome.buffer) == data
    puts = {cluster.put(cluster.data(6000)): None for _ in range(3)}
    cluster.run(lambda: all(op in cluster.results for op in puts))
    assert all(isinstance(cluster.results[op], PutDone) for op in puts)
    cluster.settle(40 * SECOND)
    for target in cluster.targets.values():
        assert target.buffers.stats()["transfers"] == 0
        assert target.core._credit.granted_bytes == 0
    assert cluster.buffers.stats()["transfers"] == 0
    assert cluster.context.credit.granted_bytes == 0


# -- single cases ------------------------------------------------------------------------------


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
    cluster.watch.append(cluster.check_durable)
    assert cluster.result(operation).stored_copies == 3


def test_put__hold_of_a_chunk_that_has_gone_is_replaced() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    cluster.watch.append(cluster.check_durable)
    operation = cluster.put(data)
    lost = cluster.vdevs[done.vdevs[0]]
    cluster.at(MS // 2, lambda: lost.durable.clear())
    assert cluster.result(operation).copies == 3


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


# -- canaries: planted bugs that the checkers above must see ---------------------------------------


def test_canary__stored_before_it_is_durable_is_seen() -> None:
    cluster = Cluster()
    cluster.watch.append(cluster.check_durable)

    def too_early(target: Target, event: StoreChunk, v: int, later: Any) -> None:
        later(0, lambda: target.core.stored(event.token, v, None, cluster.now))

    cluster._store = too_early  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        cluster.result(cluster.put(cluster.data(9000)))


def test_canary__a_hold_that_is_only_promised_is_seen() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    cluster.watch.append(cluster.check_durable)
    operation = cluster.put(data)
    events = cluster._target_event

    def forgetful(target: Target, event: Any) -> None:
        if isinstance(event, StoreHold):
            cluster.vdevs[event.vdev_index].durable.clear()
            target.core.stored(event.token, event.vdev_index, None, cluster.now)
        else:
            events(target, event)

    cluster._target_event = forgetful  # type: ignore[method-assign]
    assert done.copies == 3
    with pytest.raises(KeyError):
        cluster.result(operation)
