"""The log of one row on one VDEV: positions, the recent entries, and what is durable.

Entries get their index without gaps. `last` may be ahead of `durable_index`; records to
store collect in `records` until the owner takes them. Old entries are read back from the
store. Entries at or below the applied index are committed and are never cut.

Where a log was cut it begins behind its `base` (base.py); below that it has single entries, which
`get` finds while they are kept, and no positions.

An entry that is not applied and cannot be read is a hole: `last` ends before it. What the store
has behind it, up to `hidden_index`, may be committed and stays, until entries that fill the hole
show that it is another history. When a view has to be made of what was kept and some of that
cannot be read, the whole log is `broken`: it ends before its first entry, and has to be installed.
"""

from __future__ import annotations

from replicast.frozen import frozen
from replicast.target.names.base import START, Base, read_base, write_base
from replicast.target.names.position import ZERO, Position, entry_tenure
from replicast.target.names.store import (
    CutRecord,
    EntryRecord,
    RowRecord,
    RowStore,
    TruncateRecord,
)
from replicast.wire.codec import WireError, decode, encode
from replicast.wire.row_messages import RowEntry, RowOperation

TAIL_ENTRIES = 64  # applied entries kept in memory for replicas a little behind
TAIL_COST_BYTES = 3 << 19  # of 1 MiB of data, or less in small entries
ENTRY_COST_BYTES = 1000


@frozen
class LogEntry:
    """One entry; `data` is the encoded `operation`."""

    position: Position
    data: bytes
    operation: RowOperation

    def wire(self) -> RowEntry:
        """As it is sent."""
        return RowEntry(epoch=self.position.epoch, index=self.position.index, data=self.data)


def read_entry(epoch: int, index: int, data: bytes) -> LogEntry:
    """Decode what a peer sent or the store kept; raises WireError."""
    operation = decode(RowOperation.TYPE, data)
    if not isinstance(operation, RowOperation) or index < 1:
        raise WireError("range")
    return LogEntry(Position(epoch, operation.tenure, index), data, operation)


def ranges(indices: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The same as (first, last) of each run."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return tuple(found)


class RowLog:
    """`cuts` counts truncations: a store completion from before one says nothing any more.
    `tail_cost_bytes`: what the entries in memory take there, about: encoded, decoded, and the objects.
    """

    __slots__ = (
        "_applied",
        "_store",
        "_tail",
        "base",
        "broken_base_index",
        "broken_index",
        "cuts",
        "dropping",
        "durable_index",
        "hidden_index",
        "last",
        "records",
        "row",
        "tail_cost_bytes",
    )

    def __init__(self, row: int, store: RowStore, applied: Position, cuts: int = 0) -> None:
        self.row = row
        self.records: list[RowRecord] = []
        self.cuts = cuts
        self.base = read_base(store.base(row))
        self.broken_index = 0  # of a log that is broken: what is known to be committed
        self.broken_base_index = 0
        self.dropping: tuple[int, ...] = ()  # of a cut that is not durable yet
        self._store = store
        # Known from the view, or the base, whether or not its entry can be read.
        self._applied = max(applied, self.base.position)
        self._tail: dict[int, LogEntry] = {}
        self.tail_cost_bytes = 0
        self.last = ZERO
        self.hidden_index = 0  # none
        gapless, highest = store.span(row, self.base.index)
        before = self._applied
        self.durable_index = gapless
        for index in range(before.index + 1, self.durable_index + 1):
            entry = self._read(index)
            if entry is None:
                self.durable_index = index - 1
                break
            if entry.position < before:
                # Of an older history, behind a hole that a later one had begun to fill.
                gapless = self.durable_index = index - 1
                break
            self._keep(entry)
            before = entry.position
        at_applied = self.durable_index == self._applied.index
        self.last = self._applied if at_applied else self.position_at(self.durable_index) or ZERO
        if highest > gapless == self.last.index:
            # Leftovers behind a gap: they must not seem to follow what is appended next.
            self.records.append(TruncateRecord(row, gapless + 1))
        elif highest > self.last.index:
            self.hidden_index = highest

    @property
    def broken(self) -> bool:
        """Does it have to be installed?"""
        return self.broken_index > 0

    def get(self, index: int) -> LogEntry | None:
        """Entry `index`, from memory or the store."""
        entry = self._tail.get(index)
        if entry is None and 1 <= index <= self.last.index:
            entry = self._read(index)
        return entry

    def position_at(self, index: int) -> Position | None:
        """Identity of entry `index`; None when this log does not reach or hold it, or begins
        behind it."""
        last = self.last
        if index == last.index and index:
            return last  # which is never below the base, but where there is none
        if index <= self.base.index:
            return self.base.position if index == self.base.index else None
        if index == self._applied.index < last.index:
            return self._applied
        entry = self._tail.get(index)
        if entry is not None:
            return entry.position
        raw = self._store.entry(self.row, index) if index <= self.durable_index else None
        return None if raw is None else Position(raw[0], entry_tenure(raw[1]), index)

    def agrees(self, at: Position) -> bool:
        """Is this entry in the log as it is stored, as far as can be read? Then what follows it there
        may be what follows it everywhere."""
        base = read_base(self._store.base(self.row))
        if at.index <= base.index:
            return at == base.position
        held = self._store.entry(self.row, at.index)
        if held is None:
            return self._store.entry_epoch(self.row, at.index) == at.epoch
        return Position(held[0], entry_tenure(held[1]), at.index) == at

    def append(self, entry: LogEntry) -> None:
        """Add the next entry; it is durable when stored() says so."""
        position = entry.position
        assert position.index == self.last.index + 1, "a log has no gaps"
        if position.index <= self.hidden_index:
            self._fill(entry)
        self._keep(entry)
        self.last = position
        self.records.append(EntryRecord(self.row, position.epoch, position.index, entry.data))

    def _fill(self, entry: LogEntry) -> None:
        """An entry for a place that the store has one for already: the same, or a conflict."""
        position = entry.position
        held = self._store.entry(self.row, position.index)
        if held is not None:
            same = Position(held[0], entry_tenure(held[1]), position.index) == position
        else:  # its tenure cannot be read: the next entry that can be tells
            same = self._store.entry_epoch(self.row, position.index) == position.epoch
        if not same:
            self.records.append(TruncateRecord(self.row, position.index))
        if not same or position.index == self.hidden_index:
            self.hidden_index = 0

    def make(self, epoch: int, operation: RowOperation) -> LogEntry:
        """Append an operation of our own tenure."""
        position = Position(epoch, operation.tenure, self.last.index + 1)
        entry = LogEntry(position, encode(operation), operation)
        self.append(entry)
        return entry

    def truncate(self, from_index: int) -> None:
        """Drop the suffix that starts at `from_index`; the caller knows it is not committed."""
        before = self.position_at(from_index - 1)
        assert before is not None, "the entry before a conflict was compared"
        for index in range(from_index, self.last.index + 1):
            self._forget(index)
        self.last = before
        self.hidden_index = 0
        self.cuts += 1
        self.durable_index = min(self.durable_index, from_index - 1)
        self.records.append(TruncateRecord(self.row, from_index))

    def stored(self, index: int, cuts: int) -> None:
        """The store made everything up to `index` durable, as of truncation count `cuts`."""
        if cuts == self.cuts and index > self.durable_index:
            self.durable_index = index
        if len(self._tail) > TAIL_ENTRIES or self.tail_cost_bytes > TAIL_COST_BYTES:
            self._trim()

    def restore(self, entry: LogEntry) -> None:
        """An applied entry that could not be read any more: keep it, and store it anew."""
        position = entry.position
        self._forget(position.index)
        self._keep(entry)
        self.records.append(EntryRecord(self.row, position.epoch, position.index, entry.data))

    def cut(self, base: Base, dropped: tuple[int, ...]) -> None:
        """Begin behind `base` from now on, without these entries."""
        self.base, self.dropping = base, dropped
        for index in dropped:
            self._forget(index)
        data = write_base(base)
        self.records.append(CutRecord(self.row, base.index, ranges(dropped), data))

    def give_up(self) -> None:
        """What the view needs cannot be read here."""
        self.broken_index, self.broken_base_index = self.base.settled_index, self.base.index
        self.hidden_index = max(self.hidden_index, self.last.index)
        self.last, self.base, self.durable_index = ZERO, START, 0
        self._tail, self.tail_cost_bytes = {}, 0
        self.cuts += 1

    def trim(self, applied: Position) -> None:
        """Everything up to there is applied: forget old entries; the store has them."""
        self._applied = applied
        if len(self._tail) > TAIL_ENTRIES or self.tail_cost_bytes > TAIL_COST_BYTES:
            self._trim()

    def _trim(self) -> None:
        tail, limit = self._tail, min(self._applied.index, self.durable_index)
        while tail and (len(tail) > TAIL_ENTRIES or self.tail_cost_bytes > TAIL_COST_BYTES):
            first = next(iter(tail))
            if first > limit:
                return
            self._forget(first)

    def forget_applied(self) -> None:
        """All that the store has is read there from now on."""
        limit = min(self._applied.index, self.durable_index)
        for index in [index for index in self._tail if index <= limit]:
            self._forget(index)

    def kept(self, after: int, limit: int) -> list[int]:
        """Indices of entries at or below the base, in order; fewer than `limit`: these are the last."""
        found = self._store.held(self.row, after, limit)
        return [index for index in found if index <= self.base.index]

    def _read(self, index: int) -> LogEntry | None:
        raw = self._store.entry(self.row, index)
        return None if raw is None else read_entry(raw[0], index, raw[1])

    def _keep(self, entry: LogEntry) -> None:
        self._tail[entry.position.index] = entry
        self.tail_cost_bytes += ENTRY_COST_BYTES + len(entry.data) * 3 // 2

    def _forget(self, index: int) -> None:
        entry = self._tail.pop(index, None)
        if entry is not None:
            self.tail_cost_bytes -= ENTRY_COST_BYTES + len(entry.data) * 3 // 2
