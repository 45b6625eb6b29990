"""One name replica: the log and the state of a row on one VDEV, and the follower's part.

    leader                                     replica
      | -- APPEND previous, entries, committed --> |  entries follow `previous`? then keep them
      | <-- STATUS acknowledged (durable) -------- |  highest gapless index, once durable

Invariants: an entry is kept only behind its predecessor of the same history; a suffix that
conflicts with the leader's is cut, never at or below a committed index; a tenure older
than one promised is refused; what was sent to an earlier life of this VDEV (`open_count`)
is refused, which is why promises need not be durable: a leader that may still send to the
new life holds a lease, and while it does no later leader can have committed anything. A log that
begins behind a base (base.py) may be without its view: it is made again from what the log has,
a part in each wake-up (upkeep.py), and until then nothing is applied. How a log that ends too early
is replaced stands in install.py.
"""

from __future__ import annotations

import contextlib

from replicast.buggify import buggified, buggify
from replicast.frozen import frozen
from replicast.target.names.base import Base, read_base
from replicast.target.names.base import from_wire as from_wire_base
from replicast.target.names.install import Installation
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry, RowLog, read_entry
from replicast.target.names.position import ZERO, Position
from replicast.target.names.state import RowState
from replicast.target.names.store import RowStore
from replicast.wire.codec import WireError
from replicast.wire.row_messages import (
    ACCEPTED,
    ENTRIES_MAX,
    INSTALLING,
    MISMATCH,
    STALE,
    AppendItem,
    EntryList,
    FetchedItem,
    FetchItem,
    InstallItem,
    QueryItem,
    StatusItem,
)

Tenure = tuple[int, int]


@frozen
class Rest:
    """What else of a replica is durable with records that are handed out now: of a cut, an install."""

    dropping: tuple[int, ...]
    installation: Installation | None
    staged_index: int
    finishing: bool


# What is durable then: the last index, as of truncation count `cuts`, and seldom more.
Mark = tuple[int, int, Rest | None]


class RowReplica:
    """`committed_index` is what this replica knows; effects of entries up to it are applied.
    `rebuilding`: its view is being made of what the log kept."""

    __slots__ = (
        "_cleared",
        "_limits",
        "_rebuilt_index",
        "_store",
        "_verified_index",
        "committed_index",
        "installation",
        "installed",
        "leader",
        "log",
        "open_count",
        "promised",
        "rebuilding",
        "row",
        "serial",
        "state",
        "status_due",
        "vdev_index",
    )

    def __init__(self, row: int, vdev_index: int, store: RowStore, limits: NameLimits) -> None:
        self.row, self.vdev_index = row, vdev_index
        self.open_count = store.open_count
        self._limits, self._store = limits, store
        retention_ns = limits.retry_window_ns + 2 * limits.max_skew_ns
        self.state = RowState(row, store, retention_ns, read_base(store.base(row)))
        self.promised: Tenure = (0, 0)
        self.leader: int | None = None  # VDEV that the promise was made to
        self.serial = 0  # tenures of our own
        self.installation: Installation | None = None
        self.installed = False  # and nobody has taken note yet
        self._cleared, self._rebuilt_index = False, -1  # none is under way
        self._verified_index = 0
        self.status_due = False  # something became durable, and its leader was not told
        self.log = RowLog(row, store, self.state.applied)
        self._open()

    def _open(self) -> None:
        """The log is another one than before: what follows from it alone."""
        base = self.log.base
        self.state.follow(base)
        self.committed_index = max(self.state.applied.index, base.index)
        if self.state.applied.index < base.index and self._rebuilt_index < 0:
            self._cleared, self._rebuilt_index = False, 0
        self.rebuilding = self._rebuilt_index >= 0
        self.apply()

    # -- what a leader sends ---------------------------------------------------

    def on_query(self, item: QueryItem, epoch_floor: int) -> StatusItem:
        """Promise and answer."""
        if not self._promise((item.epoch, item.tenure), item.leader, epoch_floor):
            return self._status(item, STALE, epoch_floor)
        outcome = INSTALLING if self.takes_no_entries else ACCEPTED
        return self._status(item, outcome, epoch_floor)

    def on_append(self, item: AppendItem, epoch_floor: int) -> StatusItem | None:
        """Keep the entries; returns what must be said at once (refusals and repeats)."""
        tenure = item.epoch, item.tenure
        same = tenure == self.promised and item.leader == self.leader
        promised = same and item.epoch >= epoch_floor
        if not promised and not self._promise(tenure, item.leader, epoch_floor):
            return self._status(item, STALE, epoch_floor)
        if item.open_count != self.open_count or buggify("names/refuse-append"):
            return self._status(item, MISMATCH, epoch_floor)
        log = self.log
        if (log.broken_index or self.installation is not None) and self.takes_no_entries:
            return self._status(item, INSTALLING, epoch_floor)
        before = log.last
        if not self._accept(item.previous, item.entries):
            return self._status(item, MISMATCH, epoch_floor)
        if item.committed_index > self.committed_index:
            self.commit(min(item.committed_index, self._verified_index))
        if log.last is before:
            return self._make_status(item.leader, *tenure, ACCEPTED, item.epoch)
        return None

    @property
    def finishing(self) -> bool:
        """Is the record on its way to the disk that replaces the log?"""
        return self.installation is not None and self.installation.finishing

    @property
    def takes_no_entries(self) -> bool:
        """Only an install, or the end of it."""
        return self.log.broken_index > 0 or self.finishing

    def on_install(self, item: InstallItem, epoch_floor: int) -> StatusItem | None:
        """A piece from the leader; returns what must be said at once."""
        if not self._promise((item.epoch, item.tenure), item.giver, epoch_floor):
            return self._status(item, STALE, epoch_floor)
        if item.open_count != self.open_count:
            return self._status(item, MISMATCH, epoch_floor)
        known = min(self.committed_index, self.log.last.index)
        if not self.log.broken_index and item.base.position.index <= known:
            return self._status(item, ACCEPTED, epoch_floor)
        if self.take_piece(item):
            return None
        return self._status(item, INSTALLING, epoch_floor)

    def take_piece(self, item: InstallItem) -> bool:
        """Stage it; False when it is not the piece that comes next."""
        base, installation = from_wire_base(item.base), self.installation
        if base.index < self.log.broken_base_index:
            # What is behind our base would be lost, and may be committed. Who begins before us has
            # what we lack.
            self.read_again()
            return False
        if installation is None or (installation.base != base and not installation.finishing):
            self.installation = None
            if item.after_index:
                return False
            installation = self.installation = Installation(self.row, base)
            self.log.records += installation.begin()
        if item.done:
            installation.keeps_rest = self.log.agrees(base.position)
        records = installation.take(item.after_index, item.entries, item.done)
        self.log.records += records or ()
        return records is not None

    def _installed(self, installation: Installation) -> None:
        """It is durable: the log is another one now, and so will be the view."""
        base = installation.base
        self.log = RowLog(self.row, self._store, base.position, self.log.cuts + 1)
        self.installation, self.installed = None, True
        self.state.applied = ZERO
        self._cleared, self._rebuilt_index = False, 0
        self._verified_index = base.index
        self._open()

    def accept(self, previous: Position, entries: EntryList) -> bool:
        """Take entries that follow `previous`; False when they do not follow what is here."""
        return not self.takes_no_entries and self._accept(previous, entries)

    def _accept(self, previous: Position, entries: EntryList) -> bool:
        """Of a log that takes entries."""
        log = self.log
        if previous != log.last and not self._follows(previous):
            return False
        self.installation = None
        index = previous.index
        for wire in entries:
            index += 1
            if wire.index != index:
                return False
            try:
                entry = read_entry(wire.epoch, index, wire.data)
            except WireError:
                return False
            if index > log.last.index:
                log.append(entry)
            else:
                self._take_again(entry)
        if index > self._verified_index:
            self._verified_index = index
        return True

    def _follows(self, previous: Position) -> bool:
        if previous.index > self.log.last.index:
            return False
        if previous.index <= self.committed_index:
            return True  # committed entries are the same everywhere
        return self.log.position_at(previous.index) == previous

    def _take_again(self, entry: LogEntry) -> None:
        """For a place that the log has an entry for: the same, or a conflict."""
        index = entry.position.index
        if index <= self.committed_index or self.log.position_at(index) == entry.position:
            return
        self.log.truncate(index)
        self._verified_index = min(self._verified_index, index - 1)
        self.log.append(entry)

    def _promise(self, tenure: Tenure, leader: int, epoch_floor: int) -> bool:
        if tenure < self.promised or tenure[0] < epoch_floor:
            return False
        if tenure > self.promised:
            self.promised, self.leader = tenure, leader
            self._verified_index = self.committed_index
        return leader == self.leader

    def promise_self(self, tenure: Tenure) -> None:
        """This VDEV begins to lead: nothing older is accepted any more.

        By an old table it may begin after it heard of a newer leader: that promise stands,
        or the newer leader, whose tenure this would take over, were refused for good.
        """
        if tenure > self.promised:
            self.promised, self.leader = tenure, self.vdev_index

    # -- answers ---------------------------------------------------------------

    def take_status(self) -> StatusItem | None:
        """The acknowledgement that is due since something became durable."""
        if not self.status_due or self.leader is None or self.leader == self.vdev_index:
            return None
        self.status_due = False
        epoch, tenure = self.promised
        busy = self.installation is not None or self.log.broken_index
        outcome = INSTALLING if busy else ACCEPTED
        return self._make_status(self.leader, epoch, tenure, outcome, epoch)

    def _status(
        self, item: QueryItem | AppendItem | InstallItem, outcome: int, floor: int
    ) -> StatusItem:
        known = max(self.promised[0], floor)
        leader = item.giver if isinstance(item, InstallItem) else item.leader
        return self._make_status(leader, item.epoch, item.tenure, outcome, known)

    def _make_status(
        self, leader: int, epoch: int, tenure: int, outcome: int, known_epoch: int
    ) -> StatusItem:
        log, durable = self.log, self.log.durable_index
        at_end = durable == log.last.index
        acknowledged_index = min(durable, self._verified_index)
        if outcome == INSTALLING:
            acknowledged_index = self.installation.durable_index if self.installation else 0
        return StatusItem(
            row=self.row,
            replica=self.vdev_index,
            leader=leader,
            epoch=epoch,
            tenure=tenure,
            open_count=self.open_count,
            outcome=outcome,
            known_epoch=known_epoch,
            acknowledged_index=acknowledged_index,
            committed_index=self.committed_index,
            last=log.last if at_end else log.position_at(durable) or self.state.applied,
        )

    def fetched(self, item: FetchItem) -> FetchedItem | None:
        """Entries that a leader taking over lacks; durable ones only."""
        previous = self.log.position_at(item.after_index)
        if previous is None and item.after_index <= self.state.applied.index:
            # It cannot be read, but it is committed, so its identity tells the leader nothing.
            previous = Position(0, 0, item.after_index)
        if previous is None or (item.epoch, item.tenure) != self.promised:
            return None
        bytes_max = buggified("names/fetch-short", self._limits.message_bytes_max // 2, 1)
        found = self.entries_after(item.after_index, bytes_max)
        durable = tuple(e.wire() for e in found if e.position.index <= self.log.durable_index)
        return FetchedItem(
            row=self.row,
            replica=self.vdev_index,
            leader=item.leader,
            epoch=item.epoch,
            tenure=item.tenure,
            previous=previous,
            entries=durable,
        )

    def entries_after(self, index: int, bytes_max: int) -> list[LogEntry]:
        """Entries in order, at least one where there is one, up to about `bytes_max` and no more than
        one item of a message has room for: small ones reach that first."""
        log, found, size = self.log, list[LogEntry](), 0
        while index < log.last.index and len(found) < ENTRIES_MAX:
            index += 1
            entry = log.get(index)
            if entry is None:
                break
            found.append(entry)
            size += len(entry.data) + 64
            if size >= bytes_max:
                break
        return found

    # -- the disk, and commits ----------------------------------------------------

    def mark(self) -> Mark:
        """With the records that are handed out now."""
        of, log, rest = self.installation, self.log, None
        if log.dropping or of is not None:
            cursor, finishing = (of.cursor, of.finishing) if of is not None else (0, False)
            rest = Rest(log.dropping, of, cursor, finishing)
        return log.last.index, log.cuts, rest

    def stored(self, mark: Mark) -> None:
        """The store finished what was handed out with this mark."""
        last_index, cuts, rest = mark
        self.log.stored(last_index, cuts)
        if rest is not None:
            self._rest_stored(rest)
        self.status_due = True
        if self.committed_index > self.state.applied.index:
            self.apply()

    def _rest_stored(self, rest: Rest) -> None:
        if rest.dropping and rest.dropping is self.log.dropping:
            self.state.dropped(rest.dropping)
            self.log.dropping = ()
        if rest.installation is not None and rest.installation is self.installation:
            rest.installation.durable_index = rest.staged_index
            if rest.finishing:
                self._installed(rest.installation)

    def restore(self, entry: LogEntry) -> bool:
        """An entry that could not be read any more has come back; False when it is not needed."""
        index, state = entry.position.index, self.state
        if self.takes_no_entries or index > max(state.applied.index, self.log.base.index):
            return False  # its leader brings that, in order
        known = self.rebuilding or state.refers_to(index, entry.operation)
        if index <= self.log.base.index and not known:
            return False
        self.log.restore(entry)
        return True

    def commit(self, index: int) -> None:
        """Learn that everything up to `index` is on all in-sync replicas."""
        if index > self.committed_index:
            self.committed_index = index
            if self.log.durable_index > self.state.applied.index:
                self.apply()

    def apply(self) -> None:
        """Apply what is committed, and durable here: the view must not run ahead of the log."""
        if self._rebuilt_index >= 0:
            return
        state, log = self.state, self.log
        target = min(self.committed_index, log.durable_index)
        for index in range(state.applied.index + 1, target + 1):
            entry = log.get(index)
            assert entry is not None, "a durable entry can be read"
            state.apply(entry.position, entry.operation)
        log.trim(state.applied)

    # -- a log that was cut ---------------------------------------------------------

    def cut(self, least: int, most: int) -> bool:
        """Drop what is of no use and older than all results that are remembered, when it is enough."""
        state, log = self.state, self.log
        busy = log.dropping or log.hidden_index or log.broken or self.installation is not None
        if busy or self._rebuilt_index >= 0 or state.applied.index < log.base.settled_index:
            return False
        dropped = state.of_no_use(state.forgotten_index, most + 1)
        if len(dropped) < least:
            return False
        index = state.forgotten_index if len(dropped) <= most else dropped.pop() - 1
        position, time_ns = log.base.position, log.base.time_ns
        if index > position.index:
            entry = log.get(index)
            if entry is None:
                return False  # of one that cannot be read nobody knows the time
            position, time_ns = entry.position, entry.operation.time_ns
        # Else what is left of no use is removed by entries behind the old base.
        base = Base(position, time_ns, state.applied.index, state.forgotten_index)
        log.cut(base, tuple(dropped))
        state.follow(base)
        return True

    def rebuild(self, limit: int) -> int | None:
        """Make a part of the view from so many entries that the log kept; returns the next one
        when it cannot be read."""
        log = self.log
        if not self._cleared:
            self._cleared = self.state.clear(limit)
            return None
        kept = log.kept(self._rebuilt_index, limit)
        for index in kept:
            entry = log.get(index)
            if entry is None:
                return index
            self.state.keep(index, entry.operation)
            self._rebuilt_index = index
        if len(kept) < limit:
            self.state.begin(log.base)
            self._rebuilt_index, self.rebuilding = -1, False
            self.apply()
        return None

    def give_up(self) -> None:
        """Nobody has what the view needs: what has come since is needed, too."""
        self.log.give_up()
        self.rebuilding = False  # there is nothing to make it of
        self.committed_index = self._verified_index = 0
        self.status_due = True  # its leader may think that all is well

    def mend(self, entries: EntryList) -> bool:
        """Of a replica in sync, whose log is not as short as ours: take the one that the view needs,
        if it is there. What is in our base is committed, so it is the same."""
        after = [i for i in self._store.held(self.row, self._rebuilt_index, 1) if self.log.broken]
        for wire in entries:
            if [wire.index] == after:
                with contextlib.suppress(WireError):
                    entry = read_entry(wire.epoch, wire.index, wire.data)
                    self.read_again()
                    self.log.restore(entry)
                    return True
        return False

    def read_again(self) -> None:
        """What could not be read may be readable now."""
        if self.log.broken and self.installation is None:
            self.log = RowLog(self.row, self._store, ZERO, self.log.cuts + 1)
            self._open()
