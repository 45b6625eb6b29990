"""A cluster of simulated targets and one gateway: time, network, and the shells of both sides."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from replicast.credit import CreditPool
from replicast.flexhash.build import build
from replicast.flexhash.table import Policy, TargetEntry, VdevEntry, VdevState
from replicast.gateway.chunks import ChunkEvent, ChunkExchange
from replicast.gateway.context import ChunkContext, ChunkSettings, NeedTable
from replicast.gateway.read_events import ChunkRead, VerifyPayload
from replicast.hashing import HashAlgorithm, content_hash
from replicast.machine import Group, Incoming, Outgoing
from replicast.metrics import Counters
from replicast.target.chunks import FetchTable
from replicast.target.get import ReadChunk
from replicast.target.put import JoinRendezvous, StoreChunk, StoreHold
from replicast.target.verify import VerifyChunk
from replicast.transfer import SendPayload
from replicast.transfer_header import datagram_length, header_for, index_runs
from replicast.transport.net import Reassembly
from replicast.transport.result import Result
from replicast.units import MIB, MS, SECOND, US
from replicast.wire.chunk_messages import VERIFIED, VERIFY_CORRUPT, VERIFY_MISSING
from replicast.wire.codec import decode, encode
from replicast.wire.reasons import Reason

from .faults import Faults
from .link import Link
from .target import SimVdev, Target

GATEWAY = 999
ALGORITHM = HashAlgorithm.BLAKE3_256
ADDRESS = ("127.0.0.1", 1)
POLICY = Policy(row_count=8, group_size=8, copies=3, min_copies=2)


class Buffers(Reassembly):
    """Those of the gateway; a test may put another feed() in."""


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
        self.links_in: dict[int, Link] = {}  # of nodes whose lines are slow
        self.links_out: dict[int, Link] = {}
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
        self.gets = 0
        self.wanted: dict[bytes, Result] = {}  # by operation: where its bytes are to be
        self.given: list[tuple[bytes, bytes]] = []  # such bytes, and what they were when they came
        self.refetches = 0
        self.payload_sent_bytes = 0
        self.multicast_bytes = 0

    def new_gateway(self) -> None:
        self.counters = Counters()
        self.buffers = Buffers(4 * MIB, 64)
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

    def _delays(self, sender: int, node: int, size_bytes: int) -> list[int]:
        delay_ns = 30 * US
        for link in (self.links_out.get(sender), self.links_in.get(node)):
            took_ns = 0 if link is None else link.carry(size_bytes, self.now)
            if took_ns is None:
                return []
            delay_ns += took_ns
        if self.rng.random() < self.faults.loss:
            return []
        count = 2 if self.rng.random() < self.faults.duplication else 1
        return [delay_ns + self.rng.randrange(self.faults.jitter_ns) for _ in range(count)]

    def _deliver_message(self, sender: int, out: Outgoing) -> None:
        nodes: list[int] = [out.to] if isinstance(out.to, int) else sorted(self.targets)
        group = out.to if isinstance(out.to, Group) else None
        packed = encode(out.message)
        message = decode(out.message.TYPE, packed)
        incoming = Incoming(message, sender, out.operation_id, out.generation, None, group)
        for node in nodes:
            for delay in self._delays(sender, node, len(packed)):
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
            for delay in self._delays(sender, node, length):
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
        self.gateway.collect(self.now)
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
            self.at(3 * MS, self.hear_table)
        elif isinstance(event, VerifyPayload):
            ok = content_hash(event.hash_algorithm, event.buffer) == event.chid
            self.at(300 * US, lambda: self._verified(event.transfer_id, ok))
        else:
            assert operation not in self.results, "an operation ended twice"
            for check in self.watch:
                check(event)
            if isinstance(event, ChunkRead) and operation in self.wanted:
                whole = self.wanted.pop(operation).take()
                self.given.append((whole, bytes(event.buffer)))
                self.check_given()
            self.results[operation] = event

    def check_given(self) -> None:
        """What was given out is not written any more."""
        assert all(now == then for now, then in self.given)

    def _verified(self, transfer_id: bytes, ok: bool) -> None:
        self.gateway.verified(transfer_id, ok, self.now)
        self.flush_gateway()

    def hear_table(self) -> None:
        """The newest table reaches the gateway."""
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
                vdev.held_count += outcome is None
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
            later(MS, lambda: core.verified(event.token, self._check_copy(event), "", self.now))

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

    def hold(self, data: bytes) -> bytes:
        operation = self.gateway.hold(
            chid=content_hash(ALGORITHM, data),
            hash_algorithm=ALGORITHM,
            size_bytes=len(data),
            deadline_ns=self.now + 20 * SECOND,
            now_ns=self.now,
        )
        self.flush_gateway()
        return operation

    def get(self, data: bytes, **more: Any) -> bytes:
        """Every other one in a buffer."""
        self.gets += 1
        result = Result(len(data)) if self.gets % 2 and data else None
        operation = self.gateway.get(
            chid=content_hash(ALGORITHM, data),
            hash_algorithm=ALGORITHM,
            size_bytes=len(data),
            deadline_ns=self.now + 20 * SECOND,
            now_ns=self.now,
            section=result and result.section(0, len(data)),
            **more,
        )
        if result is not None:
            self.wanted[operation] = result
        self.flush_gateway()
        return operation

    def give_up_later(self, operation: bytes, delay_ns: int) -> None:
        """The caller is cancelled, unless the operation has ended by then."""

        def give_up() -> None:
            self.gateway.cancel(operation, self.now)
            self.flush_gateway()

        self.at(delay_ns, give_up)

    def result(self, operation: bytes) -> Any:
        self.run(lambda: operation in self.results)
        return self.results[operation]

    def data(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    def change_rows(self, generation: int, vdevs: list[VdevEntry]) -> None:
        self.table = build(self.table, self.entries, vdevs, self.policy, (), generation)
