"""A replica whose log ends before another's begins is installed: it gets what that log has kept.

    leader                                        replica
      | -- ROW_INSTALL base, piece behind 0 -------> |  staged beside its log
      | <-- STATUS installing, acknowledged -------- |  when that is durable
      | -- ROW_INSTALL base, last piece, done -----> |  staged, then one record: its log is what
      | <-- STATUS accepted, last = base ----------- |  was staged, and begins behind `base`

A leader that takes over gets it in answer to ROW_FETCH (leader.py), piece by piece in the same way.
What follows the base comes by ordinary catch-up. Until the last record is durable the old log
stays, on disk and in its answers; what was staged and not finished says nothing. What the old log has
behind the base stays after it, too, when it has the entry at the base: it may be committed. Any giver with the
same base can go on where another one stopped, for a base says exactly which entries are kept; with
another base it begins again. Results of the retry window need no place in it: they are those of
entries behind the base. Pieces are read by give.py.
"""

from __future__ import annotations

from replicast.target.names.base import Base, write_base
from replicast.target.names.log import read_entry
from replicast.target.names.store import (
    INDEX_MAX,
    CutRecord,
    RowRecord,
    StagedRecord,
    UnstageRecord,
)
from replicast.wire.codec import WireError
from replicast.wire.row_messages import MARK_DELETED, PUT, RESTORED, EntryList

KEPT_KINDS = (PUT, MARK_DELETED, RESTORED)  # what versions refer to


class Installation:
    """One that is under way. `cursor` is the last entry that has come, `durable_index` the last that
    is staged for good; `finishing`: all has come, and the record that makes it the log is on its way
    to the disk, behind which nothing of the old log may be written."""

    __slots__ = ("base", "cursor", "durable_index", "finishing", "keeps_rest", "row")

    def __init__(self, row: int, base: Base) -> None:
        self.row, self.base = row, base
        self.cursor = self.durable_index = 0
        self.finishing = False
        self.keeps_rest = False  # of the old log: what follows the base

    def begin(self) -> list[RowRecord]:
        """Records to store first."""
        return [UnstageRecord(self.row)]

    def take(self, after_index: int, entries: EntryList, done: bool) -> list[RowRecord] | None:
        """Records to store for a piece; None when it is not the next one, or makes no sense."""
        if after_index != self.cursor or self.finishing:
            return None
        records: list[RowRecord] = []
        index = after_index
        for wire in entries:
            if not index < wire.index <= self.base.index:
                return None
            try:
                entry = read_entry(wire.epoch, wire.index, wire.data)
            except WireError:
                return None
            if entry.operation.kind not in KEPT_KINDS:
                return None
            records.append(StagedRecord(self.row, wire.epoch, wire.index, wire.data))
            index = wire.index
        self.cursor = index
        if done:
            self.finishing = True
            last = self.base.index if self.keeps_rest else INDEX_MAX
            base = write_base(self.base)
            record = CutRecord(self.row, self.base.index, ((0, last),), base, installs=True)
            records.append(record)
        return records
