"""One name replica: the log and the state of a row on one VDEV, and the follower's part.

    leader                                     replica
      | -- APPEND previous, entries, committed --> |  entries follow `previous`? then keep them
      | <-- STATUS acknowledged (durable) -------- |  highest gapless index, once durable

Invariants: an entry is kept only behind its predecessor of the same history; a suffix that
conflicts with the leader's is cut, never at or below a committed index; a tenure older
than one promised is refused; what was sent to an earlier life of this VDEV (`open_count`)
is refused, which is why promises need not be durable: a leader that may still send to the
new life holds a lease, and while it does no later leader can have committed anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from replicast.buggify import buggified, buggify
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry, RowLog, read_entry
from replicast.target.names.position import (
    Position,
    from_wire,
    to_wire,
)
from replicast.target.names.state import RowState
from replicast.target.names.store import RowStore
from replicast.wire.codec import WireError
from replicast.wire.row_messages import (
    ACCEPTED,
    MISMATCH,
    STALE,
    AppendItem,
    EntryList,
    FetchedItem,
    FetchItem,
    QueryItem,
    StatusItem,
)

Tenure = tuple[int, int]


class RowReplica:
    """`committed_index` is what this replica knows; effects of entries up to it are applied."""

    __slots__ = (
        "_limits",
        "_status_due",
        "_verified_index",
        "committed_index",
        "leader",
        "log",
        "open_count",
        "promised",
        "row",
        "serial",
        "state",
        "vdev_index",
    )

    def __init__(self, row: int, vdev_index: int, store: RowStore, limits: NameLimits) -> None:
        self.row, self.vdev_index = row, vdev_index
        self.open_count = store.open_count
        self._limits = limits
        retention_ns = limits.retry_window_ns + 2 * limits.max_skew_ns
        self.state = RowState(row, store, retention_ns)
        self.log = RowLog(row, store, self.state.applied)
        self.committed_index = self.state.applied.index
        self.promised: Tenure = (0, 0)
        self.leader: int | None = None  # VDEV that the promise was made to
        self.serial = 0  # tenures of our own
        self._verified_index = 0
        self._status_due: int | None = None

    # -- what a leader sends ---------------------------------------------------

    def on_query(self, item: QueryItem, epoch_floor: int) -> StatusItem:
        """Promise and answer."""
        if not self._promise((item.epoch, item.tenure), item.leader, epoch_floor):
            return self._status(item, STALE, epoch_floor)
        return self._status(item, ACCEPTED, epoch_floor)

    def on_append(self, item: AppendItem, epoch_floor: int) -> StatusItem | None:
        """Keep the entries; returns what must be said at once (refusals and repeats)."""
        if not self._promise((item.epoch, item.tenure), item.leader, epoch_floor):
            return self._status(item, STALE, epoch_floor)
        if item.open_count != self.open_count or buggify("names/refuse-append"):
            return self._status(item, MISMATCH, epoch_floor)
        before = self.log.last
        if not self.accept(from_wire(item.previous), item.entries):
            return self._status(item, MISMATCH, epoch_floor)
        self.commit(min(item.committed_index, self._verified_index))
        if self.log.last == before:
            return self._status(item, ACCEPTED, epoch_floor)
        return None

    def accept(self, previous: Position, entries: EntryList) -> bool:
        """Take entries that follow `previous`; False when they do not follow what is here."""
        if not self._follows(previous):
            return False
        index = previous.index
        for wire in entries:
            if wire.index != index + 1:
                return False
            try:
                self._take(read_entry(wire.epoch, wire.index, wire.data))
            except WireError:
                return False
            index = wire.index
        self._verified_index = max(self._verified_index, index)
        return True

    def _follows(self, previous: Position) -> bool:
        if previous.index > self.log.last.index:
            return False
        if previous.index <= self.committed_index:
            return True  # committed entries are the same everywhere
        return self.log.position_at(previous.index) == previous

    def _take(self, entry: LogEntry) -> None:
        index = entry.position.index
        if index <= min(self.committed_index, self.log.last.index):
            return
        if index <= self.log.last.index:
            if self.log.position_at(index) == entry.position:
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
        if self._status_due is None or self.leader in (None, self.vdev_index):
            return None
        self._status_due = None
        epoch, tenure = self.promised
        assert self.leader is not None
        return self._make_status(self.leader, epoch, tenure, ACCEPTED, epoch)

    def _status(self, item: QueryItem | AppendItem, outcome: int, floor: int) -> StatusItem:
        known = max(self.promised[0], floor)
        return self._make_status(item.leader, item.epoch, item.tenure, outcome, known)

    def _make_status(
        self, leader: int, epoch: int, tenure: int, outcome: int, known_epoch: int
    ) -> StatusItem:
        durable = self.log.durable_index
        return StatusItem(
            row=self.row,
            replica=self.vdev_index,
            leader=leader,
            epoch=epoch,
            tenure=tenure,
            open_count=self.open_count,
            outcome=outcome,
            known_epoch=known_epoch,
            acknowledged_index=min(durable, self._verified_index),
            committed_index=self.committed_index,
            last=to_wire(self.log.position_at(durable) or self.state.applied),
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
        found = list(self.entries_after(item.after_index, bytes_max))
        durable = tuple(e.wire() for e in found if e.position.index <= self.log.durable_index)
        return FetchedItem(
            row=self.row,
            replica=self.vdev_index,
            leader=item.leader,
            epoch=item.epoch,
            tenure=item.tenure,
            previous=to_wire(previous),
            entries=durable,
        )

    def entries_after(self, index: int, bytes_max: int) -> Iterator[LogEntry]:
        """Entries in order, at least one where there is one, up to about `bytes_max`."""
        size = 0
        while size < bytes_max:
            index += 1
            entry = self.log.get(index)
            if entry is None:
                return
            size += len(entry.data) + 64
            yield entry

    # -- the disk, and commits ----------------------------------------------------

    def stored(self, index: int, cuts: int) -> None:
        """The store finished what was handed out when the log had `cuts` truncations."""
        self.log.stored(index, cuts)
        self._status_due = index
        self.apply()

    def commit(self, index: int) -> None:
        """Learn that everything up to `index` is on all in-sync replicas."""
        if index > self.committed_index:
            self.committed_index = index
            self.apply()

    def apply(self) -> None:
        """Apply what is committed, and durable here: the view must not run ahead of the log."""
        target = min(self.committed_index, self.log.durable_index)
        while self.state.applied.index < target:
            entry = self.log.get(self.state.applied.index + 1)
            assert entry is not None, "a durable entry can be read"
            self.state.apply(entry.position, entry.operation)
        self.log.trim(self.state.applied)
