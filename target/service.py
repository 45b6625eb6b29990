"""A target's data plane in its event loop: drives the chunk and name cores over UDP, peers, VDEVs.

    UdpShell --------> ChunkService, NameService, status
    peer channel ----> NameService
    cores' events ---> VDEV threads, peers (by the way that row_paths.py says), control plane,
                       rendezvous groups

Nothing is served before the first table is known; what may be done then is the
cores' business (they ask the lease). One pump a wake-up carries out what the
cores want; the calls that answer from VDEV threads come through the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from replicast import __version__
from replicast.disks import file_system
from replicast.errors import ReplicastError
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.table import Table
from replicast.machine import Event, Incoming, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.native import IMPLEMENTATION
from replicast.target.chunks import CHUNK_REQUESTS, ChunkService
from replicast.target.chunks import FetchTable as ChunkFetchTable
from replicast.target.get import ReadChunk
from replicast.target.names.requests import ROW_REQUESTS
from replicast.target.names.service import NameService
from replicast.target.names.store import AppendRecords, FetchTable, RowsChange, SendPeer
from replicast.target.names.vdev_store import VdevRowStore, to_outcome
from replicast.target.names.verify import EntryBad, VerifyEntry
from replicast.target.put import JoinRendezvous, StoreChunk, StoreHold
from replicast.target.row_changes import RowChanges, command_of
from replicast.target.row_paths import RowPaths
from replicast.target.store.errors import Outcome
from replicast.target.vdev_state import VdevStates, is_full
from replicast.target.vdevs import REASONS, StoredDone, Vdevs
from replicast.target.verify import VerifyChunk
from replicast.transfer import BufferLike, PayloadBuffers, SendPayload
from replicast.units import SECOND
from replicast.wake_timer import WakeTimer
from replicast.wire.control_messages import CommandResult
from replicast.wire.name_messages import NameList, NameVerify
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import PairKey, RowAppend, RowStatus
from replicast.wire.schema import Message
from replicast.wire.status_messages import (
    RaftStatus,
    TargetStatus,
    TargetStatusQuery,
    VdevStatusEntry,
)

log = logging.getLogger("replicast.target")

HOLD_NS = 24 * 3600 * SECOND
SHORT_CHUNKS_MAX = 10_000
NAME_REQUESTS = frozenset((*ROW_REQUESTS, NameList, NameVerify))
NO_INDEX = 0xFFFF
NO_OPERATION = bytes(16)
BURST_SHARE = 4  # of what a socket takes, ours or a peer's: one in so many targets sends it at once


class Link(Protocol):
    """The network (replicast.transport.shell.UdpShell)."""

    endpoint: Any
    memberships: Any

    @property
    def receive_bytes(self) -> int: ...
    def send(self, outgoing: Outgoing, now_ns: int) -> None: ...
    def send_payload(self, event: SendPayload) -> None: ...
    def flush(self) -> None: ...


class Peers(Protocol):
    """The channel to other targets (target/peers.py)."""

    def send(self, node_id: NodeId, message: Message) -> bool: ...
    def update(self, table: Table) -> None: ...


class Control(Protocol):
    """The control plane (replicast.flexhash.client.TableClient)."""

    async def refetch(self, at_least_generation: int) -> Table: ...
    def renew_now(self) -> None: ...
    async def command(self, message: Message) -> CommandResult: ...


class TargetService:
    """See the module header. `connect` gives it its link, peers and control plane."""

    def __init__(
        self,
        node_id: NodeId,
        names: NameService,
        vdevs: Vdevs,
        lease: LeaseHolder,
        buffers: PayloadBuffers,
        counters: Counters,
        *,
        now_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        new_key: Callable[[], bytes],
        raft_status: Callable[[], RaftStatus],
    ) -> None:
        self._node_id, self.names, self._vdevs, self._lease = node_id, names, vdevs, lease
        self._buffers, self._counters = buffers, counters
        self._now_ns, self._wall_ns, self._raft_status = now_ns, wall_ns, raft_status
        self._new_key = new_key
        self.chunks: ChunkService | None = None
        self.table: Table | None = None
        self._rows_outcome: dict[int, Outcome] = {}  # by VDEV, the last one: changes are logged
        self._stored_of: dict[int, StoredDone] = {}  # by VDEV, who hears what became of its rows
        self._tasks: set[asyncio.Task[None]] = set()
        self.row_changes = RowChanges(self._change_rows, self._change_refused)
        self._states = VdevStates(vdevs, counters)
        self._timer = WakeTimer(now_ns, self._expire)
        self._pumping = False
        self._names_due_ns: int | None = None
        self._chunks_due_ns: int | None = None

    def connect(self, link: Link, peers: Peers, control: Control) -> None:
        """Everything below; before any message arrives."""
        self._link, self._peers, self._control = link, peers, control
        self._paths = RowPaths(self._new_key, link.receive_bytes // BURST_SHARE)
        self._vdevs.after = self._pump  # once for all outcomes of a flush

    # -- tables -----------------------------------------------------------------------

    def give_up(self, table: Table) -> None:
        """A table is about to be adopted: stop acting for the rows that it takes away."""
        now_ns = self._now_ns()
        self._map(table, now_ns)
        self.names.adopt_table(table, now_ns)
        self._pump()

    def on_prepared(self, table: Table) -> None:
        """A table is about to be acknowledged: from now its replicas count too."""
        self.names.prepare_table(table)

    def on_table(self, table: Table) -> None:
        """A table was adopted."""
        now_ns = self._now_ns()
        self._map(table, now_ns)
        self.table = table
        self._link.endpoint.set_addresses({n: t.udp for n, t in table.targets.items()})
        self._peers.update(table)
        self._link.endpoint.forget_pairs(table.targets)
        self._paths.keep(table.targets)
        self.names.adopt_table(table, now_ns)
        if self.chunks is None:
            self.chunks = ChunkService(
                node_id=self._node_id,
                table=table,
                lease=self._lease,
                vdevs=self._vdevs.chunk_views,
                buffers=self._buffers,
                counters=self._counters,
                credit_bytes=self._link.receive_bytes,
            )
        else:
            self.chunks.adopt(table, now_ns)
        self._pump()

    def _map(self, table: Table, now_ns: int) -> None:
        for index in self._vdevs.map_indexes(table):
            vdev = self._vdevs.by_index[index]
            if vdev.counted:  # else nothing tells its answers from those of its former life
                self.names.add_vdev(index, VdevRowStore(vdev), now_ns)

    def on_settings(self, version: int) -> None:
        """Buckets are those of this version of the settings now."""
        self.names.buckets_changed(version, self._now_ns())
        self._pump()

    def tick(self) -> None:
        """Once a second: the clock of the rows, and whatever waits for the lease."""
        now_ns = self._now_ns()
        wall_ns = self._wall_ns()
        self.names.set_clock(now_ns, wall_ns, self._lease.skew_ns(now_ns, wall_ns))
        self._lease.may_lead = self.names.context.clock_agrees
        self.names.expire(now_ns)
        self._states.tick(now_ns)
        self._pump()

    def stop(self) -> None:
        """Hand over: lead nothing any more."""
        self.names.stop(self._now_ns())
        self._pump()
        self._timer.cancel()
        self.row_changes.stop()
        for task in self._tasks:
            task.cancel()

    @property
    def transfers(self) -> int:
        """Chunks on their way to or from here."""
        chunks = self.chunks
        return 0 if chunks is None else len(chunks.put) + len(chunks.get)

    # -- messages ---------------------------------------------------------------------

    def on_incoming(self, incoming: Incoming, now_ns: int) -> None:
        """An authenticated message over UDP."""
        message = incoming.message
        if type(message) is RowStatus or type(message) is RowAppend:  # most of them
            self._paths.heard_over_udp(incoming.sender, message)
            self.names.receive_peer(message, incoming.sender, now_ns)
        elif type(message) in NAME_REQUESTS:
            self._counters.count("name_operations", message.NAME.lower())
            self.names.receive(incoming, now_ns)
        elif self.chunks is not None and type(message) in CHUNK_REQUESTS:
            self.chunks.receive(incoming, now_ns)
        elif isinstance(message, TargetStatusQuery):
            self._link.send(
                Outgoing(self._status(now_ns), incoming.sender, incoming.operation_id, 0), now_ns
            )
        else:
            self._counters.count("datagrams_dropped", "not_expected")

    def on_peers(self, messages: list[tuple[Message, NodeId]]) -> None:
        """What other targets say over CURVE."""
        now_ns = self._now_ns()
        for message, sender in messages:
            if isinstance(message, PairKey):
                self._link.endpoint.set_spoken_key(sender, message.session, message.key)
                continue
            self._heard_over_curve(sender, message, now_ns)
            self.names.receive_peer(message, sender, now_ns)
        self._pump()

    def _heard_over_curve(self, node_id: NodeId, message: Message, now_ns: int) -> None:
        key = self._paths.heard_over_curve(node_id, message, now_ns)
        if key is not None:
            endpoint = self._link.endpoint
            endpoint.set_heard_key(node_id, key)
            self._peers.send(node_id, PairKey(session=endpoint.session, key=key))

    def on_completed(self, transfer_ids: list[bytes], now_ns: int) -> None:
        """Payloads that have arrived whole."""
        for transfer_id in transfer_ids:
            if self.chunks is not None:
                self.chunks.transfer_completed(transfer_id, now_ns)

    def on_sent(self, event: SendPayload, now_ns: int) -> None:
        """A payload job has left."""
        assert isinstance(event.to, tuple) and self.chunks is not None
        self.chunks.payload_sent(event.to[0], event.transfer_id, event.token, now_ns)

    # -- carrying out -----------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self.on_delivered(self._now_ns())
        self._link.flush()

    def on_delivered(self, now_ns: int) -> None:
        """That was all of one wake-up of the network, which flushes by itself: carry out what follows.
        A core that was told nothing since the last time wants nothing new."""
        self._pumping = False
        if self._vdevs.flying:
            self._vdevs.land()
        names = self.names
        if names.told or names.answered:
            for outgoing in names.take_outgoing():
                self._link.send(outgoing, now_ns)
        if names.told:
            for event in names.take_events():
                if type(event) is SendPeer:  # nearly all are these two
                    self._send_peer(event, now_ns)
                elif type(event) is AppendRecords:
                    vdev_index = event.vdev_index
                    stored = self._stored_of.get(vdev_index) or self._rows_stored(vdev_index)
                    self._vdevs.append_rows(event, stored)
                else:
                    self._on_name_event(event)
            self._names_due_ns = names.deadline_ns()
        if self.chunks is not None and self.chunks.told:
            self._pump_chunks(self.chunks, now_ns)
        if self._vdevs.due:
            self._vdevs.flush()
        self._timer.arm(self._names_due_ns, self._chunks_due_ns)

    def _pump_chunks(self, chunks: ChunkService, now_ns: int) -> None:
        while chunks.told:  # again, where an event was answered at once: a read, by the page cache
            chunks.told = False
            for outgoing in chunks.take_outgoing():
                self._link.send(outgoing, now_ns)
            for event in chunks.take_events():
                self._on_chunk_event(event, chunks)
        self._chunks_due_ns = chunks.deadline_ns()

    def _on_name_event(self, event: Event) -> None:
        if isinstance(event, VerifyEntry):
            self._vdevs.verify_entry(event, self._entry_read)
        elif isinstance(event, RowsChange):
            self.row_changes.ask(event)
        elif isinstance(event, FetchTable):
            self._spawn(self._fetch(event.generation))

    def _send_peer(self, event: SendPeer, now_ns: int) -> None:
        """What is lost either way is asked for again by the rows."""
        known = self._link.endpoint.speaks_to(event.node_id)
        if known and self._paths.by_udp(event, now_ns):
            self._counters.count("row_messages_sent", "udp")
            self._link.send(Outgoing(event.message, event.node_id, NO_OPERATION, 0), now_ns)
        else:
            self._counters.count("row_messages_sent", "again" if event.again else "curve")
            self._peers.send(event.node_id, event.message)

    def _on_chunk_event(self, event: Event, chunks: ChunkService) -> None:
        if type(event) is SendPayload:
            self._link.send_payload(event)
        elif type(event) is StoreChunk:
            self._store_chunk(event)
        elif type(event) is StoreHold:
            self._store_hold(event, chunks)
        elif type(event) is ReadChunk:
            cached = self._vdevs.read_chunk(
                event.vdev_index, event.chid, event.token, self._read, event.to_kernel
            )
            if cached is not None:
                chunks.read_done(event.token, cached, self._now_ns())
        elif isinstance(event, VerifyChunk):
            self._vdevs.verify_chunk(
                event.vdev_index, event.chid, event.hash_algorithm, event.token, self._verified
            )
        elif isinstance(event, JoinRendezvous):
            self._join(event.number, chunks)
        elif isinstance(event, ChunkFetchTable):
            self._spawn(self._fetch(event.generation))

    def _store_chunk(self, event: StoreChunk) -> None:
        until_ns = self._wall_ns() + HOLD_NS
        for index in event.vdevs:
            self._vdevs.store_chunk(
                index,
                event.chid,
                event.hash_algorithm,
                event.buffer,
                until_ns,
                (event.token, index),
                self._chunk_stored,
                proved=event.proved,
            )

    def _store_hold(self, event: StoreHold, chunks: ChunkService) -> None:
        index = event.vdev_index
        if not self._vdevs.by_index[index].has(event.chid):
            chunks.stored(event.token, index, Reason.NOT_FOUND_HERE, self._now_ns())
            return
        until_ns = self._wall_ns() + HOLD_NS
        token = (event.token, index)
        self._vdevs.store_hold(index, event.chid, until_ns, token, self._chunk_stored)

    def _chunk_stored(self, token: object, outcome: Outcome) -> None:
        assert type(token) is tuple and self.chunks is not None
        self.chunks.stored(token[0], token[1], REASONS[outcome], self._now_ns())
        if outcome is Outcome.HASH_MISMATCH:
            self._counters.count("hash_mismatches", "received")

    def _rows_stored(self, vdev_index: int) -> StoredDone:
        def stored(token: object, outcome: Outcome) -> None:
            assert type(token) is int
            if outcome is not self._rows_outcome.get(vdev_index, Outcome.STORED):
                level = logging.INFO if outcome is Outcome.STORED else logging.ERROR
                log.log(level, "VDEV %d: name records: %s", vdev_index, outcome.name)
                self._rows_outcome[vdev_index] = outcome
            self.names.stored(vdev_index, token, to_outcome(outcome), self._now_ns())

        self._stored_of[vdev_index] = stored
        return stored

    def _read(self, token: object, result: BufferLike | Reason) -> None:
        assert isinstance(token, int) and self.chunks is not None
        self.chunks.read_done(token, result, self._now_ns())
        self._pump()

    def _entry_read(self, token: object, found: bytes | EntryBad | None) -> None:
        assert isinstance(token, int)
        self.names.entry_read(token, found, self._now_ns())
        self._pump_soon()

    def _verified(self, token: object, verdict: int, detail: str) -> None:
        assert isinstance(token, int) and self.chunks is not None
        self.chunks.verified(token, verdict, detail, self._now_ns())
        self._pump_soon()

    def _join(self, number: int, chunks: ChunkService) -> None:
        memberships = self._link.memberships
        if memberships is not None and memberships.join_rendezvous(number):
            chunks.group_joined(number, self._now_ns())

    def on_left(self, number: int) -> None:
        """A rendezvous group was left to make room for another."""
        if self.chunks is not None:
            self.chunks.group_left(number)

    async def _fetch(self, generation: int) -> None:
        try:
            await self._control.refetch(generation)
        except ReplicastError as error:
            log.warning("table %d: %s", generation, error)

    async def _change_rows(self, change: RowsChange) -> CommandResult:
        return await self._control.command(command_of(change))

    def _change_refused(self, change: RowsChange) -> None:
        self.names.change_refused(change, self._now_ns())
        self._pump_soon()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _expire(self, now_ns: int) -> None:
        """The timer is one for both cores: the one whose time has come is told."""
        if self._names_due_ns is not None and now_ns >= self._names_due_ns:
            self.names.expire(now_ns)
        due_ns = self._chunks_due_ns
        if self.chunks is not None and due_ns is not None and now_ns >= due_ns:
            self.chunks.expire(now_ns)
        self._pump()

    # -- status -----------------------------------------------------------------------

    def _status(self, now_ns: int) -> TargetStatus:
        led = self.table.rows_led_by(self._node_id) if self.table is not None else ()
        return TargetStatus(
            implementation=IMPLEMENTATION,
            version=__version__,
            generation=self.table.generation if self.table is not None else 0,
            lease_remaining_ns=self._lease.remaining_ns(now_ns),
            lease_age_ns=self._lease.age_ns(now_ns) or 0,
            rows_led=len(led),
            rows_not_ready=self.names.rows_not_ready(),
            short_chunks=len(self.names.short_of_copies(SHORT_CHUNKS_MAX)),
            raft=self._raft_status(),
            vdevs=tuple(self._vdev_status(each, now_ns) for each in sorted(self._vdevs.by_id)),
        )

    def _vdev_status(self, vdev_id: bytes, now_ns: int) -> VdevStatusEntry:
        vdev = self._vdevs.by_id[vdev_id]
        stat = vdev.stat()
        shared, shared_free_bytes = file_system(vdev.path)
        indexes = [i for i, v in self._vdevs.by_index.items() if v is vdev]
        return VdevStatusEntry(
            vdev_id=vdev_id,
            vdev_index=indexes[0] if indexes else NO_INDEX,
            state=self._states.word(vdev, now_ns),
            full=is_full(vdev),
            capacity_bytes=stat.total_bytes,
            used_bytes=stat.used_bytes,
            free_bytes=stat.free_bytes,
            file_system=shared,
            file_system_free_bytes=shared_free_bytes,
        )

    def refresh_gauges(self) -> None:
        """Just before /metrics is rendered."""
        now_ns = self._now_ns()
        age_ns = self._lease.age_ns(now_ns)
        self._counters.gauge("lease_valid", value=int(self._lease.valid(now_ns)))
        self._counters.gauge("lease_age_seconds", value=-1 if age_ns is None else age_ns / 1e9)
        self._counters.gauge("rows_led", value=self.names.rows_led())
        self._counters.gauge("names_parked", value=self.names.requests_parked)
        self._counters.gauge("chunk_transfers", value=self.transfers)
        for vdev_id, vdev in self._vdevs.by_id.items():
            stat, name = vdev.stat(), vdev_id.hex()
            self._counters.gauge("vdev_bytes", name, "capacity", value=stat.total_bytes)
            self._counters.gauge("vdev_bytes", name, "used", value=stat.used_bytes)
            self._counters.gauge("vdev_bytes", name, "free", value=stat.free_bytes)
            self._counters.gauge("vdev_queue_bytes", name, value=stat.queue_bytes)
            self._states.show(vdev, now_ns)
