"""The name service of one target: all its rows, as one core.

    gateways --receive()--> rows led here --take_outgoing()--> replies
    peers --receive_peer()--> replicas and leaders --SendPeer--> peers
    rows --AppendRecords--> VDEV logs --stored()--> rows
    rows --RowsChange--> Raft --adopt_table()--> rows

The daemon (or the simulator) drives it: calls in, then take_outgoing() and take_events() once
per wake-up; these gather everything, so each peer gets one message, each VDEV one append.
adopt_table() gives up lost leaderships before it returns: call it before the adoption is
reported, and prepare_table() before a prepared table is acknowledged. Untouched rows cost nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from replicast.buggify import buggified
from replicast.flexhash.table import Table
from replicast.machine import Event, Incoming, NodeId, Outgoing, earliest
from replicast.metrics import Counters
from replicast.target.names.appends import Appends, hand_out
from replicast.target.names.context import Buckets, Lease, RowContext
from replicast.target.names.due import Due
from replicast.target.names.heal import Healer
from replicast.target.names.leader import Leadership
from replicast.target.names.limits import NameLimits
from replicast.target.names.listing import list_page, listable
from replicast.target.names.outbox import Outbox
from replicast.target.names.parking import ANY_ROW, Parking
from replicast.target.names.peers import Peers
from replicast.target.names.removals import Removals
from replicast.target.names.replica import RowReplica
from replicast.target.names.replication import PeerWindows
from replicast.target.names.requests import (
    RETRY_NS,
    ROW_REQUESTS,
    WRITES,
    Judge,
    bucket_refusal,
    well_formed,
)
from replicast.target.names.store import RowsChange, RowStore, StoreOutcome, View
from replicast.target.names.upkeep import Upkeep
from replicast.target.names.verify import EntryBad, NameVerifier
from replicast.units import MS
from replicast.wire.name_messages import NameGet, NameKey, NameList, NameVerify
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

RowKey = tuple[int, int]  # (row, vdev_index)
LOCAL_ROUNDS_MAX = 16
PARKED = (*ROW_REQUESTS, NameList)  # when they cannot be decided yet


class NameService:
    """See the module header."""

    def __init__(
        self,
        node_id: NodeId,
        segment_id: int,
        lease: Lease,
        buckets: Buckets,
        counters: Counters,
        limits: NameLimits | None = None,
    ) -> None:
        limits = limits or NameLimits()
        self.context = RowContext(node_id, segment_id, lease, buckets, limits, counters)
        self._outbox = Outbox(node_id, limits.message_bytes_max, counters)
        self._healer = Healer(self.context, self._outbox, self._find, self._touched)
        self._judge = Judge(self.context, self._outbox, self._healer)
        self._verifier = NameVerifier(self.context, self._outbox, self._find, self._healer)
        windows = PeerWindows(limits.peer_bytes_max)
        self._leading = (self.context, self._outbox, windows, self._healer)
        self._parking = Parking(limits.parked_max, limits.parked_bytes_max)
        self._removals = Removals(self.context, self._outbox)
        self._stores: dict[int, RowStore] = {}
        self._replicas: dict[RowKey, RowReplica] = {}
        self._leaders: dict[int, Leadership] = {}  # by row
        self._dirty: dict[RowKey, RowReplica] = {}
        self._due = Due()  # when leaderships want a step
        self._to_touch: deque[int] = deque()
        self._appends: dict[int, Appends] = {}
        self._blocked = False  # some of them are
        self._upkeep = Upkeep(self.context, self._healer, self._leaders, self._touched)
        self._peers = Peers(
            self.context,
            self._outbox,
            self._healer,
            self._stores,
            self._leaders,
            self._replica,
            self._end,
            self._touched,
        )
        self._now_ns = 0
        self._flushed = True
        self.told = False  # something, since the owner last took events
        self.answered = False  # reads from which nothing follows, since the owner last took replies
        self._held: dict[int, None] = {}  # rows that held records when their VDEV was opened

    # -- what the owner tells ----------------------------------------------------

    def add_vdev(self, vdev_index: int, store: RowStore, now_ns: int) -> None:
        """A VDEV is open and known to the cluster under this index."""
        self._wake(now_ns)
        self._stores[vdev_index] = store
        self._held.update(dict.fromkeys(store.rows()))
        self._appends[vdev_index] = Appends(vdev_index)
        self.context.open_counts[vdev_index] = store.open_count
        if self.context.table is not None:
            self._plan(self.context.table)

    def remove_vdev(self, vdev_index: int, now_ns: int) -> None:
        """A VDEV failed or is being closed: it leads and acknowledges nothing any more."""
        self._wake(now_ns)
        self._stores.pop(vdev_index, None)
        self._appends.pop(vdev_index, None)
        self.context.open_counts.pop(vdev_index, None)
        self._healer.forget(vdev_index)
        self._upkeep.forget(vdev_index)
        for row in [r for r, lead in self._leaders.items() if lead.vdev_index == vdev_index]:
            self._end(row)
        for key in [key for key in self._replicas if key[1] == vdev_index]:
            del self._replicas[key]
            self._dirty.pop(key, None)

    def set_clock(self, now_ns: int, wall_ns: int, error_ns: int = 0) -> None:
        """Time of day, and how far it is off the cluster's (beyond max_skew: leads nothing)."""
        self.context.set_wall(now_ns, wall_ns)
        self.context.clock_error_ns = error_ns

    def prepare_table(self, table: Table | None) -> None:
        """A table that is about to be acknowledged (None: it was aborted)."""
        self.context.prepare(table)

    def adopt_table(self, table: Table, now_ns: int) -> None:
        """Use a newer table; leaderships that it takes away end before this returns."""
        self._wake(now_ns)
        before = self.context.table
        if before is not None and table.generation <= before.generation:
            return
        self.context.adopt(table)
        self._outbox.generation = table.generation
        for row in table.moved(self._leaders, before):  # few, of thousands
            lead = self._leaders[row]
            if table.row_leader(row) == lead.vdev_index and table.leader_since(row) == lead.epoch:
                lead.on_table(now_ns)
                self._due.set(row, now_ns)
            else:
                self._end(row)
        self._plan(table)
        self._parking.wake()

    def buckets_changed(self, settings_version: int, now_ns: int) -> None:
        """The map of buckets has news: requests may wait for it."""
        self._to_touch.extend(self.context.new_settings(settings_version, self._leaders))
        self._wake(now_ns)
        self._parking.wake()

    def change_refused(self, change: RowsChange, now_ns: int) -> None:
        """Raft refused a RowsChange for certain (not: no answer)."""
        self._wake(now_ns)
        for row in change.rows if change.add else ():
            lead = self._leaders.get(row)
            if lead is not None and lead.vdev_index == change.by:
                lead.on_change_refused(change.vdev_index, change.seen)

    def stored(self, vdev_index: int, token: int, outcome: StoreOutcome, now_ns: int) -> None:
        """What became of an AppendRecords; after FAILED nothing of this VDEV counts any more."""
        appends = self._appends.get(vdev_index)
        if appends is None:
            return
        if outcome == StoreOutcome.FAILED:
            return self.remove_vdev(vdev_index, now_ns)
        self._now_ns = now_ns  # of a leader's own write mostly nothing follows
        for replica in appends.stored(token, outcome, now_ns):
            lead = self._leaders.get(replica.row)
            if lead is None or lead.replica is not replica or lead.decides_stored():
                self._wake(now_ns)
                self._touched(replica)
        if appends.blocked:
            self._blocked = True
            self._wake(now_ns)

    def stop(self, now_ns: int) -> None:
        """Lead nothing any more (hand-over before the lease is given back)."""
        self._wake(now_ns)
        for row in list(self._leaders):
            self._end(row)
        self._to_touch.clear()
        self._removals.clear()

    # -- core calls ----------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A named request from a gateway."""
        if isinstance(incoming.message, NameGet) and self._read(incoming, now_ns):
            return
        self._wake(now_ns)
        if isinstance(incoming.message, PARKED):
            park_ns = buggified("names/parked-short", self.context.limits.park_ns, MS)
            self._try(incoming, now_ns + park_ns)
        elif isinstance(incoming.message, NameVerify):
            self._verifier.receive(incoming, incoming.message, now_ns)

    def entry_read(self, token: int, found: bytes | EntryBad | None, now_ns: int) -> None:
        """What a VerifyEntry has found on disk; None: it could not be read now."""
        self._wake(now_ns)
        self._verifier.read(token, found)

    def receive_peer(self, message: Message, sender: NodeId, now_ns: int) -> None:
        """A row message from another target; `sender` is who the channel's key belongs to."""
        self._now_ns = now_ns
        for item in getattr(message, "items", ()):
            if self._peers.on_item(item, sender, now_ns):
                self._flushed, self.told = False, True

    def expire(self, now_ns: int) -> None:
        """Timers."""
        self._wake(now_ns)

    def deadline_ns(self) -> int | None:
        """When to call expire() next."""
        due_ns = self._due.first_ns if self._due.rows else None
        if self._to_touch:
            due_ns = earliest(due_ns, self._now_ns + RETRY_NS)
        if self._parking.rows:
            due_ns = earliest(due_ns, self._parking.deadline_ns())
        if self._upkeep.rebuilding or self._upkeep.given_up:
            due_ns = earliest(due_ns, self._upkeep.deadline_ns(self._now_ns))
        if self._removals.due_ns is not None:
            due_ns = earliest(due_ns, self._removals.due_ns)
        if self._healer.wanted:
            due_ns = earliest(due_ns, self._healer.deadline_ns())
        if self._blocked:
            due_ns = earliest(due_ns, *(each.deadline_ns() for each in self._appends.values()))
        return due_ns

    def take_outgoing(self) -> list[Outgoing]:
        """Replies to gateways."""
        if not self._flushed:
            self._flush()
        self.answered = False
        return self._outbox.take_outgoing()

    def take_events(self) -> list[Event]:
        """SendPeer, AppendRecords, RowsChange, FetchTable."""
        if not self._flushed:
            self._flush()
        self.told = False
        some = self._dirty or self._blocked
        records = hand_out(self._dirty, self._appends, self._now_ns) if some else ()
        self._blocked = self._blocked and any(each.blocked for each in self._appends.values())
        return self._outbox.take_events(self._now_ns, records)

    # -- for status pages and background work ------------------------------------------

    def rows_led(self) -> int:
        """Rows whose leadership is at work here."""
        return sum(lead.readable for lead in self._leaders.values())

    def rows_not_ready(self) -> int:
        """Rows whose leadership has begun here and cannot be read yet."""
        return sum(not lead.readable for lead in self._leaders.values())

    @property
    def requests_parked(self) -> int:
        """Requests that wait until their row can decide them."""
        return len(self._parking)

    def short_of_copies(self, limit: int) -> list[tuple[int, int, bytes]]:
        """(row, entry index, key of the version) of versions whose chunks lack copies."""
        found: list[tuple[int, int, bytes]] = []
        for row, lead in sorted(self._leaders.items()):
            if lead.readable and len(found) < limit:
                more = lead.replica.state.short_of_copies(limit - len(found))
                found += [(row, index, key) for index, key in more]
        return found

    # -- requests ------------------------------------------------------------------

    def _read(self, incoming: Incoming, now_ns: int) -> bool:
        """Answer a read of a row that is ready, as most are: nothing follows from it at the end of the
        wake-up. False: it is a request like others."""
        request: Any = incoming.message
        table, lead = self.context.table, self._leaders.get(request.key.row)
        if table is None or lead is None or incoming.generation > table.generation:
            return False
        if self._to_touch or self._refusal(incoming, request.key, now_ns) is not None:
            return False
        if self._judge.judge(lead, incoming, now_ns, False) is not None:
            return False
        self.answered = True
        return True

    def _try(self, incoming: Incoming, deadline_ns: int) -> None:
        """Decide a request now, or park it until something changes or its deadline."""
        request: Any = incoming.message
        table = self.context.table
        last = self._now_ns >= deadline_ns
        if table is None or incoming.generation > table.generation:
            self._outbox.fetch_table(incoming.generation)
            leased = self.context.lease.valid(self._now_ns)  # else that table may never come
            row, wait = ANY_ROW, Reason.NOT_READY if leased else Reason.NO_LEASE
            last = last or not leased
        elif isinstance(request, NameList):
            row_or_none = self._list(incoming, request, last)
            if row_or_none is None:
                return
            row, wait = row_or_none, Reason.NOT_READY
        else:
            row = request.key.row
            wait_or_none = self._row_request(incoming, request.key, table)
            if wait_or_none is None:
                return
            wait = wait_or_none
        if last or not self._parking.park(row, deadline_ns, incoming):
            self._refuse(incoming, wait if last else Reason.BUSY)

    def _row_request(self, incoming: Incoming, key: NameKey, table: Table) -> Reason | None:
        request: Any = incoming.message
        reason = self._refusal(incoming, key, self._now_ns)
        if reason == Reason.NOT_READY:
            self._outbox.fetch_table(table.generation)
            return reason
        if reason is not None:
            self._refuse(incoming, reason)
            return None
        lead = self._touch(key.row)
        if lead is None:
            self._refuse(incoming, Reason.FAULTED)
            return None
        writes = isinstance(request, WRITES)
        full = writes and self._stores[lead.vdev_index].names_full()
        wait = self._judge.judge(lead, incoming, self._now_ns, full)
        if wait is None and writes:  # else nothing happened yet
            self._touched(lead.replica)
        return wait

    def _refusal(self, incoming: Incoming, key: NameKey, now_ns: int) -> Reason | None:
        """Why a request is not answered here; NOT_READY: not yet."""
        request: Any = incoming.message
        if not well_formed(request):
            return Reason.BAD_REQUEST
        reason = self.context.refusal(key.row, incoming.generation, now_ns)
        return reason or bucket_refusal(self.context, key)

    def _list(self, incoming: Incoming, request: NameList, last: bool) -> int | None:
        """Answer with all rows that are ready; a row to wait for if one will be soon."""
        ready: list[tuple[int, View]] = []
        reason = waiting = None
        bucket = bucket_refusal(self.context, request)
        if bucket == Reason.NOT_READY:
            self._outbox.fetch_table(incoming.generation)
        for row in request.rows:
            refusal = self.context.refusal(row, incoming.generation, self._now_ns) or bucket
            lead = self._touch(row) if refusal is None else None
            if lead is None and refusal != Reason.NOT_READY:
                reason = reason or refusal or Reason.FAULTED
            elif lead and listable(request, lead, self.context.buckets, self._now_ns):
                ready.append((row, self._stores[lead.vdev_index]))
            else:
                waiting = row
        if waiting is not None and not last:
            return waiting
        if not ready:
            self._refuse(incoming, reason or Reason.NOT_READY)
            return None
        self._outbox.reply(incoming, list_page(request, ready, self.context.limits.page_bytes_max))
        return None

    def _refuse(self, incoming: Incoming, reason: Reason) -> None:
        self._outbox.refuse(incoming, reason, retry_after_ns=RETRY_NS)

    # -- rows ----------------------------------------------------------------------

    def _touch(self, row: int) -> Leadership | None:
        """The leadership of a row that the table says is led here; None: its VDEV is not open."""
        lead = self._leaders.get(row)
        if lead is None:
            assert self.context.table is not None
            vdev = self.context.table.row_leader(row)
            if vdev is None or vdev not in self._stores:
                return None
            replica = self._replica(row, vdev)
            lead = Leadership(replica, *self._leading, self._now_ns)
            self._leaders[row] = lead
            self._due.set(row, self._now_ns)
        return lead

    def _replica(self, row: int, vdev: int) -> RowReplica:
        found = self._replicas.get((row, vdev))
        if found is None:
            found = RowReplica(row, vdev, self._stores[vdev], self.context.limits)
            self._replicas[row, vdev] = found
            self._upkeep.opened(found)
            if found.rebuilding or found.log.records:
                self._touched(found)
        return found

    def _find(self, row: int, vdev: int) -> RowReplica | None:
        return self._replica(row, vdev) if vdev in self._stores else None

    def _end(self, row: int) -> None:
        """Give up a leadership; whoever waits for it asks the next leader."""
        self._due.drop(row)
        for pending in self._leaders.pop(row).end():
            for incoming in pending.waiters.values():
                self._refuse(incoming, Reason.NOT_LEADER)

    def _touched(self, replica: RowReplica) -> None:
        """Something happened: see at the end of the wake-up what follows from it."""
        self._dirty[replica.row, replica.vdev_index] = replica
        lead = self._leaders.get(replica.row)
        if lead is not None and lead.replica is replica:
            self._due.set(replica.row, self._now_ns)

    def _plan(self, table: Table) -> None:
        """Which rows led here want attention without being asked: those that hold records,
        and those whose replica set is not what it should be."""
        held = dict.fromkeys(row for (row, _), r in self._replicas.items() if r.log.last.index)
        held.update(self._held)
        led = [int(row) for row in table.rows_led_by(self.context.node_id)]
        self._to_touch = deque(
            row
            for row in led
            if row not in self._leaders and (row in held or self._incomplete(table, row))
        )
        self._removals.plan(led, self._now_ns)

    def _incomplete(self, table: Table, row: int) -> bool:
        replicas = table.name_replicas(row)
        return any(v not in replicas and self.context.is_up(v) for v in self.context.wanted(row))

    # -- the end of a wake-up ------------------------------------------------------

    def _wake(self, now_ns: int) -> None:
        self._now_ns, self._flushed, self.told = now_ns, False, True

    def _flush(self) -> None:
        """Follow up on everything that was told. Often: who has nothing to do is not called."""
        self._flushed = True
        if self._to_touch:
            self._touch_some()
        if self._upkeep.rebuilding or self._upkeep.given_up:
            self._upkeep.step(self._now_ns)
        if self._removals.due_ns is not None:
            self._removals.sweep(self._now_ns)
        for _ in range(LOCAL_ROUNDS_MAX):
            if self._due.first_ns <= self._now_ns:
                self._step()
            if self._parking.rows:
                for incoming, deadline_ns in self._parking.take(self._now_ns, self._ready):
                    self._try(incoming, deadline_ns)
            if self._healer.wanted:
                self._healer.step(self._now_ns)
            if self._dirty:
                self._look_and_acknowledge()
            local = self._outbox.take_local() if self._outbox.items else ()
            if not local:
                break
            for message in local:
                for item in getattr(message, "items", ()):
                    self._peers.on_item(item, self.context.node_id, self._now_ns)

    def _touch_some(self) -> None:
        room = buggified("names/touch-one", self.context.limits.touch_batch, 1)
        for _ in range(min(room, len(self._to_touch))):
            row, table = self._to_touch.popleft(), self.context.table
            if table is not None and table.row_leader(row) in self._stores:
                self._touch(row)

    def _step(self) -> None:
        most = buggified("names/step-one", self.context.limits.step_batch, 1)
        for row in self._due.take(self._now_ns, self._leaders, self._parking, most):
            lead = self._leaders[row]
            due_ns = lead.step(self._now_ns)
            if due_ns is not None:
                self._due.set(row, due_ns)
            if lead.replica.log.records or lead.replica.rebuilding:
                self._dirty[row, lead.vdev_index] = lead.replica

    def _ready(self, row: int) -> bool:
        """Would waiting requests of this row be decided now?"""
        lead, now_ns = self._leaders.get(row), self._now_ns
        if lead is None:
            return True
        # Without a lease they are refused; without any other part of the fence they wait on.
        return lead.readable and (lead.acting(now_ns) or not self.context.lease.valid(now_ns))

    def _look_and_acknowledge(self) -> None:
        self._upkeep.look(self._dirty.values(), self._now_ns)
        for replica in self._dirty.values():
            if replica.status_due and replica.leader != replica.vdev_index:
                status = replica.take_status()
                if status is not None:
                    self._outbox.item(self.context.nodes.get(status.leader), status)
