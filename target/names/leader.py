"""The leadership of one row: take over, order operations, replicate, commit, answer.

    WAITING   until the fence (fence.py) opens
    ASKING    QUERY to all in-sync replicas: last entry and committed index of each
    FETCHING  when another one has a longer history: any in-sync log holds all that is
              committed, so the longest is taken (nothing prepared is lost, damage heals). One
              with a hole does not: what is behind the hole is taken for committed, until all
              others have said that they have not got it
    LEADING   entries go to all replicas; committed when every required one has them durable

Invariants: an entry is committed only while the fence is open, and only when durable on every
replica of the adopted table, of a table already acknowledged, and on every one whose addition
is submitted and undecided. A removal counts when the adopted table says so. Answers leave
after their entry is committed and applied. Entries of earlier leaderships keep their identity.
Limits: entries and bytes undecided per row, bytes on the way per replica and per peer.
"""

from __future__ import annotations

from enum import IntEnum

from replicast.buggify import buggified, buggify
from replicast.machine import Incoming, earliest
from replicast.target.names import base as bases
from replicast.target.names.context import RowContext
from replicast.target.names.fence import Fence
from replicast.target.names.follower import Follower, Role
from replicast.target.names.heal import Healer
from replicast.target.names.members import POLL_NS, Members
from replicast.target.names.outbox import Outbox
from replicast.target.names.position import tenure_number
from replicast.target.names.replica import RowReplica
from replicast.target.names.replication import PeerWindows, Replication
from replicast.target.names.state import summary_of
from replicast.target.names.undecided import Pending, Undecided
from replicast.units import MS, SECOND
from replicast.wire.name_messages import NameResult, VersionId
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import (
    ACCEPTED,
    INSTALLING,
    STALE,
    EntryList,
    FetchedItem,
    FetchItem,
    InstallItem,
    RowOperation,
    StatusItem,
)


class Phase(IntEnum):
    """See the module header."""

    WAITING = 1
    ASKING = 2
    FETCHING = 3
    LEADING = 4


class Leadership:
    """One stretch of leading one row by one VDEV; never revived after end()."""

    def __init__(
        self,
        replica: RowReplica,
        context: RowContext,
        outbox: Outbox,
        windows: PeerWindows,
        healer: Healer,
        now_ns: int,
    ) -> None:
        assert context.table is not None
        self.replica = replica
        self.row, self.vdev_index = replica.row, replica.vdev_index
        self.epoch = context.table.leader_since(replica.row)
        self.phase = Phase.WAITING
        self.undecided = Undecided(replica.state, context.undecided)
        self._members = Members(replica, context, outbox)
        self.followers = self._members.followers
        self.replication = Replication(replica, context, outbox, windows, healer, self.followers)
        self._new_tenure()
        self.acting = Fence(context, self.row, self.vdev_index).open  # (now_ns): is the fence open?
        self.copies = 0  # replicas that have what is committed
        self._enough = self._enough_up = False  # are they as many as policy asks; and those up?
        self._context, self._outbox = context, outbox
        self._phase_since_ns = now_ns
        self._fetch: Follower | None = None
        self._fetch_due_ns = 0
        self._fetch_open = False  # something asked for has not come
        self._time_ns = 0
        self.on_table(now_ns)

    # -- questions -------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Taken over, and all that is known to be committed is applied."""
        applied = self.replica.state.applied.index
        return self.phase == Phase.LEADING and applied >= self.replica.committed_index

    @property
    def writable(self) -> bool:
        """Enough replicas are up for an acknowledged write to survive, and one of them was heard:
        a log that lost its end without knowing it must not grow over what was committed."""
        return self._enough_up and (self.copies == 1 or self._compared)

    @property
    def _compared(self) -> bool:
        for follower in self.followers.values():
            if follower.compared and follower.role == Role.IN_SYNC:
                return True
        return False

    @property
    def full(self) -> bool:
        """No more undecided entries are taken."""
        return self.undecided.full(self._context.limits) or buggify("names/row-full")

    # -- ordering --------------------------------------------------------------

    def next_version(self, now_ns: int) -> VersionId:
        """Above everything in the log: the row's hybrid logical clock."""
        time_ns = max(self._context.wall_ns(now_ns), self._time_ns + 1)
        return VersionId(time_ns=time_ns, segment_id=self._context.segment_id, sequence=0)

    def order(self, operation: RowOperation, incoming: Incoming) -> None:
        """Append an operation; the answer goes to `incoming` once it is committed."""
        entry = self.replica.log.make(self.epoch, operation)
        self._time_ns = operation.time_ns
        self.undecided.add(entry).waiters[incoming.sender] = incoming

    # -- what replicas say -----------------------------------------------------

    def on_status(self, item: StatusItem, now_ns: int) -> bool:
        """An acknowledgement, an answer to a query, or a refusal. False: no step follows from it."""
        follower = self.followers.get(item.replica)
        if follower is None or (item.epoch, item.tenure) != self.replication.tenure:
            return False
        if item.outcome == STALE:
            if item.known_epoch > self.epoch:
                self._outbox.fetch_table(item.known_epoch)
            return False
        same_life = item.open_count == follower.open_count
        lost = follower.matched and (not same_life or buggify("names/lose-track"))
        if follower.matched and not lost and item.outcome == ACCEPTED:  # nearly always
            if item.committed_index > follower.committed_index:
                follower.committed_index = item.committed_index
            freed_bytes = follower.acknowledge(item.acknowledged_index, now_ns)
            if freed_bytes:
                self.replication.release(follower, freed_bytes)
            return self._decides(follower)
        first_word, follower.heard, follower.last = not follower.heard, True, item.last
        known = follower.committed_index if same_life else 0
        follower.committed_index = max(known, item.committed_index)
        follower.open_count = item.open_count
        if item.outcome == INSTALLING and self.phase == Phase.LEADING:
            self.replication.release(follower, follower.land())
            follower.committed_index = item.committed_index
            follower.install(item.acknowledged_index, now_ns)
        elif item.outcome != ACCEPTED or lost:
            self.replication.release(follower, follower.lost(now_ns + POLL_NS, now_ns))
        elif self.phase == Phase.LEADING and first_word and self._knows_more(follower):
            self._ask_again(now_ns)
        elif self.phase == Phase.LEADING:
            self._match(follower, now_ns)
        return True

    def _decides(self, follower: Follower) -> bool:
        """Does anything follow from an acknowledgement? Not while another one is waited for: then
        the row is due anyway, soon. Who has room again may be another one on the same target."""
        if self.phase != Phase.LEADING or follower.role != Role.IN_SYNC:
            return True
        last_index, committed_index = self.replica.log.last.index, self.replica.committed_index
        waits = False
        for other in self.followers.values():
            if other.sent_index < last_index:
                return True
            waits = waits or bool(other.flight) or other.committed_index < committed_index
        return not waits or (self._members.reached() or 0) > committed_index

    def decides_stored(self) -> bool:
        """Does anything follow from what our own VDEV has stored? Not while an acknowledgement is
        waited for, and nothing was applied: whoever waits for that then has to be answered."""
        reached, entries = self._members.reached() or 0, self.undecided.entries
        if self.phase != Phase.LEADING or reached > self.replica.committed_index:
            return True
        if not entries or next(iter(entries)) <= self.replica.state.applied.index:
            return True
        waits = False
        for follower in self.followers.values():
            waits = waits or bool(follower.flight)
        return not waits

    def _knows_more(self, follower: Follower) -> bool:
        """We took over without hearing it, ordered nothing yet, and its history is longer: what it
        has and we have not may be committed, so it is taken and not cut."""
        if self._compared or follower.role != Role.IN_SYNC:
            return False
        return follower.last > self.replica.log.last

    def on_fetched(self, item: FetchedItem, now_ns: int) -> None:
        """A part of the longer history."""
        if not self._fetches(item, item.replica):
            return
        if self.replica.log.broken:
            self._mend(item.entries, item.previous.index + len(item.entries), None, now_ns)
            return
        if not item.entries or not self.replica.accept(item.previous, item.entries):
            self._ask_again(now_ns)
            return
        self._fetch_on(item.previous.index + len(item.entries), now_ns)

    def on_piece(self, item: InstallItem, now_ns: int) -> None:
        """A part of what a log has kept that begins behind the end of ours."""
        if not self._fetches(item, item.giver):
            return
        base = bases.from_wire(item.base)
        if base.index < self.replica.log.broken_base_index:
            last = item.entries[-1].index if item.entries else 0
            behind, base_or_none = (base.index, None) if item.done else (last, base)
            self._mend(item.entries, behind, base_or_none, now_ns)
        elif self.replica.take_piece(item):
            self._fetch_open = False  # what comes next is asked for when this is durable
        else:
            self._ask_again(now_ns)

    def _mend(
        self, entries: EntryList, reached_index: int, base: bases.Base | None, now_ns: int
    ) -> None:
        """A log that begins before ours: among its entries is the one that we cannot read."""
        log = self.replica.log
        mended = self.replica.mend(entries)
        if mended or reached_index >= log.broken_base_index or not (entries or base is None):
            self._ask_again(now_ns)
        else:
            self._send_fetch(reached_index, now_ns, base)

    def _fetches(self, item: FetchedItem | InstallItem, source: int) -> bool:
        mine = (item.epoch, item.tenure) == (self.epoch, self.tenure)
        fetching = self.phase == Phase.FETCHING and self._fetch is not None and self._fetch_open
        return mine and fetching and self._fetch is not None and source == self._fetch.vdev_index

    def _fetch_on(self, reached_index: int, now_ns: int) -> None:
        assert self._fetch is not None
        if reached_index >= self._fetch.last.index:
            self._fetch = None
            self._lead(now_ns)
        else:
            self._send_fetch(reached_index, now_ns)

    def _match(self, follower: Follower, now_ns: int) -> None:
        log = self.replica.log
        last = follower.last
        if follower.committed_index > log.last.index:
            # An in-sync log ends below what was committed: never overwrite, ask again.
            self._context.counters.count("row_conflicts")
            self._ask_again(now_ns)
            return
        same = log.position_at(last.index) == last
        index = last.index if same else min(follower.committed_index, last.index)
        if index < log.base.index:
            follower.install(0, now_ns)
            return
        self.replication.release(follower, follower.match(index, now_ns))

    # -- tables and outcomes -----------------------------------------------------

    def on_table(self, now_ns: int) -> None:
        """A table was adopted under which this VDEV still leads by the same epoch (or now does)."""
        for follower in self._members.on_table(now_ns):
            self._drop(follower)
        assert self._context.table is not None
        replicas, policy = self._context.name_replicas(self.row), self._context.table.policy
        self.copies = len(replicas)
        self._enough = self.copies >= policy.min_copies
        self._enough_up = self._context.up_count(replicas) >= policy.min_copies
        if self.phase == Phase.LEADING and buggify("names/take-over-again"):
            self._ask_again(now_ns)
        for follower in self.followers.values():
            known = self._context.open_count(follower.vdev_index)
            if follower.matched and follower.open_count < known:
                # It was restarted: it may know less of what is committed, and we ask at once.
                self.replication.release(follower, follower.lost(now_ns, now_ns))

    def on_change_refused(self, vdev_index: int, seen: int) -> None:
        """Raft refused an addition for certain; `seen` is the generation that it named."""
        self._members.refused(vdev_index, seen)

    def end(self) -> list[Pending]:
        """Stop leading: returns what was undecided, whose askers must ask elsewhere."""
        for follower in list(self.followers.values()):
            self._drop(follower)
        self.phase = Phase.WAITING
        return self.undecided.clear()

    def _drop(self, follower: Follower) -> None:
        self.replication.release(follower, follower.flight_bytes)
        self._members.drop(follower)

    # -- steps -----------------------------------------------------------------

    def step(self, now_ns: int) -> int | None:
        """Do what is due; returns when to come again (None: only when something arrives)."""
        replica = self.replica
        if not self.acting(now_ns) or replica.rebuilding:
            return now_ns + POLL_NS
        if replica.installation is not None and replica.finishing:
            return now_ns + POLL_NS
        if self.phase == Phase.WAITING:
            self._ask_again(now_ns)
        if self.phase == Phase.ASKING:
            self._ask(now_ns)
        elif self.phase == Phase.FETCHING:
            self._go_on_fetching(now_ns)
        if self.phase == Phase.LEADING:
            self.replication.step(now_ns)
            self._commit(now_ns)
            if self.undecided.entries:
                self._settle()
            if now_ns >= self._members.due_ns:
                for follower in self._members.tend(now_ns):
                    self._drop(follower)
        return self._next(now_ns)

    def _next(self, now_ns: int) -> int | None:
        last_index, committed_index = self.replica.log.last.index, self.replica.committed_index
        poll_ns, due_ns = now_ns + POLL_NS, None
        busy = self.phase != Phase.LEADING or bool(self.undecided.entries)
        busy = busy or self.replica.state.applied.index < committed_index
        for follower in self.followers.values():
            if (
                follower.flight
                or follower.sent_index < last_index  # there was no room
                or not follower.matched
                or follower.role == Role.CATCHING_UP  # a joining one waits for a table
            ):
                busy = True
            if follower.committed_index < committed_index:
                notice_ns = follower.notice_due_ns
                if notice_ns <= now_ns:
                    notice_ns = poll_ns  # it is down, or something is on its way
                if due_ns is None or notice_ns < due_ns:
                    due_ns = notice_ns
        if busy:
            return earliest(due_ns, poll_ns)
        return earliest(due_ns, self._members.due_ns) if self._members.unsettled else due_ns

    def _ask_again(self, now_ns: int) -> None:
        """(Re)start taking over; not in a tight loop when it leads nowhere."""
        query_ns = now_ns if self.phase == Phase.WAITING else now_ns + 4 * POLL_NS
        if self.phase == Phase.LEADING:
            # Entries that we sent may go now, and what we sent may still arrive.
            self._new_tenure()
        self.phase, self._phase_since_ns = Phase.ASKING, now_ns
        self.undecided.clear()
        for follower in self.followers.values():
            self.replication.release(follower, follower.lost(query_ns, now_ns))
            follower.start_over()
            follower.waiting_since_ns = now_ns

    def _new_tenure(self) -> None:
        self.replica.serial += 1
        self.tenure = tenure_number(self.replica.open_count, self.replica.serial)
        self.replication.tenure = (self.epoch, self.tenure)
        self.replica.promise_self(self.replication.tenure)

    # -- taking over ---------------------------------------------------------------

    def _ask(self, now_ns: int) -> None:
        waited_ns = now_ns - self._phase_since_ns
        missing = False
        for follower in self.followers.values():
            if follower.role != Role.IN_SYNC or follower.heard:
                continue
            self.replication.query(follower, now_ns)
            missing = missing or self._context.is_up(follower.vdev_index)
        silence_ns = buggified("names/ask-short", self._context.limits.silence_ns, 100 * MS)
        if not missing or waited_ns >= silence_ns:
            self._choose_history(now_ns)

    def _choose_history(self, now_ns: int) -> None:
        replica, log = self.replica, self.replica.log
        heard = [f for f in self.followers.values() if f.heard and f.role == Role.IN_SYNC]
        committed = max([replica.committed_index, *(f.committed_index for f in heard)])
        # What is here of it is not fetched again: the other may fail to read it.
        replica.commit(min(committed, log.last.index))
        best = max(heard, key=lambda f: f.last, default=None)
        if log.hidden_index and not self._all_heard:
            committed = max(committed, log.hidden_index)
        committed = max(committed, log.base.settled_index, log.broken_index)
        if best is not None and best.last.index < committed:
            best = max(heard, key=lambda f: f.last.index)
        mine = log.last
        if mine.index >= committed and (best is None or best.last <= mine):
            self._lead(now_ns)
        elif best is not None and best.last.index >= committed:
            self._fetch = best
            self._enter_fetching(now_ns)
        else:
            replica.read_again()
            self._ask_again(now_ns)  # nobody heard has what was committed

    @property
    def _all_heard(self) -> bool:
        """Have all others in sync, up or not, told what they have? Alone there is nobody to ask."""
        others = [f for f in self.followers.values() if f.role == Role.IN_SYNC]
        return bool(others) and all(f.heard for f in others)

    def _enter_fetching(self, now_ns: int) -> None:
        self.phase, self._phase_since_ns = Phase.FETCHING, now_ns
        replica, under_way = self.replica, self.replica.installation
        if under_way is not None:
            self._send_fetch(under_way.cursor, now_ns, under_way.base)
        elif replica.log.broken:
            self._send_fetch(0, now_ns, bases.START)
        else:
            self._send_fetch(min(replica.committed_index, replica.log.last.index), now_ns)

    def _send_fetch(self, after_index: int, now_ns: int, install: bases.Base | None = None) -> None:
        """`install`: not what follows in the log, but that piece of an install with this base."""
        assert self._fetch is not None
        self._fetch_due_ns, self._fetch_open = now_ns + self._context.limits.silence_ns, True
        item = FetchItem(
            **self.replication.between(self._fetch),
            after_index=after_index,
            install=install is not None,
            base=bases.to_wire(install or bases.START),
        )
        self._outbox.item(self._fetch.node_id, item)

    def _go_on_fetching(self, now_ns: int) -> None:
        """What was asked for does not come; or a piece of an install is durable by now."""
        if self._fetch_open:
            if now_ns >= self._fetch_due_ns:
                self._ask_again(now_ns)
            return
        under_way = self.replica.installation
        if under_way is None:
            self._fetch_on(self.replica.committed_index, now_ns)
        elif under_way.durable_index == under_way.cursor:
            self._send_fetch(under_way.cursor, now_ns, under_way.base)

    def _lead(self, now_ns: int) -> None:
        """The history is chosen: complete what was prepared, then go on."""
        replica = self.replica
        replica.installation = None
        heard = [f for f in self.followers.values() if f.heard]
        known = max([replica.committed_index, *(f.committed_index for f in heard)])
        replica.commit(min(known, replica.log.last.index))
        self.phase, self._phase_since_ns = Phase.LEADING, now_ns
        self._time_ns = replica.state.time_ns
        self.undecided.inherited_index = replica.log.last.index
        self._members.inherited_index = replica.log.last.index
        for index in range(replica.state.applied.index + 1, replica.log.last.index + 1):
            entry = replica.log.get(index)
            assert entry is not None, "entries not applied are at hand"
            self.undecided.add(entry)
            self._time_ns = max(self._time_ns, entry.operation.time_ns)
        for follower in heard:
            if self.phase == Phase.LEADING:
                self._match(follower, now_ns)
        self._context.counters.count("row_takeovers")

    # -- committing ------------------------------------------------------------------

    def _commit(self, now_ns: int) -> None:
        target = self._members.reached()
        if target is None:
            self._members.follow_required(now_ns)
            target = 0
        # Damage takes VDEVs out of the set even below min_copies, with entries on their way.
        if self._enough and target > self.replica.committed_index:
            self.replica.commit(target)
            beat_ns = max(1, self._context.limits.commit_notice_ns)
            for follower in self.followers.values():
                beat_ns = buggified("names/notice-late", beat_ns, SECOND)
                # On a beat that all rows share: one message tells a target of many.
                follower.notice_due_ns = (now_ns // beat_ns + 2) * beat_ns

    def _settle(self) -> None:
        """Answer for what is applied."""
        applied, outbox = self.replica.state.applied.index, self._outbox
        for pending in self.undecided.decided(applied):
            if not pending.waiters:
                continue
            operation = pending.entry.operation
            if operation.reason:
                for incoming in pending.waiters.values():
                    outbox.refuse(incoming, Reason(operation.reason))
                continue
            summary = summary_of(operation)
            answer = NameResult(summary=summary, copies=self.copies, holders=(), body=b"")
            for incoming in pending.waiters.values():
                outbox.reply(incoming, answer)
