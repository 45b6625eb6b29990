"""A RowStore in memory that forgets like a disk: what tests and the simulator give to rows.

append() is what the owner does for AppendRecords; nothing of it survives crash() before sync().
The view survives as of the last checkpoint(), which comes with the log, as in the real store.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from replicast.target.names.store import (
    INDEX_MAX,
    CutRecord,
    EntryRecord,
    RowRecord,
    StagedRecord,
    TruncateRecord,
)

Log = dict[int, dict[int, tuple[int, bytes]]]


class MemoryView:
    """An ordered map."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def view_get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self.values.get(key)

    def view_write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set keys, or remove them (None) if they are there."""
        for key, value in changes:
            if value is not None:
                if key not in self.values:
                    insort(self._keys, key)
                self.values[key] = value
            elif self.values.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def view_scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Pairs in order."""
        first = bisect_left(self._keys, start)
        keys = self._keys[first : first + limit]
        return [(key, self.values[key]) for key in keys if key < end]

    def view_first(self, start: bytes, end: bytes) -> bytes | None:
        """Of the first of these keys."""
        return next((value for _, value in self.view_scan(start, end, 1)), None)

    def replace(self, values: dict[bytes, bytes]) -> None:
        """Become exactly `values`."""
        self.values = dict(values)
        self._keys = sorted(values)


class MemoryRowStore(MemoryView):
    """One VDEV."""

    def __init__(self) -> None:
        super().__init__()
        self.open_count = 1
        self.full = False
        self._log: Log = {}
        self._staged: Log = {}
        self._bases: dict[int, bytes] = {}
        self._unreadable: set[tuple[int, int]] = set()
        self._waiting: list[RowRecord] = []
        self._checkpoint: dict[bytes, bytes] = {}

    def rows(self) -> Iterable[int]:
        """Rows that hold entries."""
        return [row for row, log in self._log.items() if log or row in self._bases]

    def base(self, row: int) -> bytes | None:
        """Of the newest cut."""
        return self._bases.get(row)

    def span(self, row: int, after: int) -> tuple[int, int]:
        """Highest index without a gap behind `after`, highest index."""
        log = self._log.get(row, {})
        gapless = next((i - 1 for i in range(after + 1, after + len(log) + 2) if i not in log), 0)
        return gapless, max(after, *log) if log else after

    def held(self, row: int, after: int, limit: int) -> list[int]:
        """Indices of entries behind `after`."""
        return sorted(index for index in self._log.get(row, {}) if index > after)[:limit]

    def entry(self, row: int, index: int) -> tuple[int, bytes] | None:
        """(epoch, data); None after rot()."""
        if (row, index) in self._unreadable:
            return None
        return self._log.get(row, {}).get(index)

    def entry_epoch(self, row: int, index: int) -> int | None:
        """Of any entry that is there."""
        held = self._log.get(row, {}).get(index)
        return None if held is None else held[0]

    def rot(self, row: int, index: int) -> None:
        """An entry that is there cannot be read any more, until it is written again."""
        self._unreadable.add((row, index))

    def names_full(self) -> bool:
        """As `full` says."""
        return self.full

    def append(self, records: Sequence[RowRecord]) -> None:
        """Write, without sync."""
        self._waiting.extend(records)

    def sync(self, count: int | None = None) -> None:
        """Make the first `count` (or all) waiting records durable."""
        count = len(self._waiting) if count is None else count
        for record in self._waiting[:count]:
            self._write(record)
        del self._waiting[:count]

    def _write(self, record: RowRecord) -> None:
        log = self._log.setdefault(record.row, {})
        staged = self._staged.setdefault(record.row, {})
        if isinstance(record, EntryRecord):
            log[record.index] = (record.epoch, record.data)
            self._unreadable.discard((record.row, record.index))
        elif isinstance(record, StagedRecord):
            staged[record.index] = (record.epoch, record.data)
        elif isinstance(record, TruncateRecord):
            self._drop(record.row, record.from_index, INDEX_MAX)
        elif isinstance(record, CutRecord):
            for first, last in record.dropped:
                self._drop(record.row, first, last)
            self._bases[record.row] = record.base
            if record.installs:
                log.update(staged)
                self._unreadable -= {(record.row, index) for index in staged}
                staged.clear()
        else:
            staged.clear()

    def _drop(self, row: int, first: int, last: int) -> None:
        log = self._log[row]
        for index in [i for i in log if first <= i <= last]:
            del log[index]

    def checkpoint(self) -> None:
        """Make the view durable as it is."""
        self._checkpoint = dict(self.values)

    def damage(self, row: int, from_index: int) -> None:
        """Lose the end of a row's log without knowing it (design-review 1.5)."""
        for index in [i for i in self._log.get(row, {}) if i >= from_index]:
            del self._log[row][index]

    def crash(self, lose_index: bool = False) -> None:
        """Power fails; then the VDEV is opened again. Without its index it has its log alone."""
        self._waiting.clear()
        if lose_index:
            self._checkpoint = {}
        self.replace(self._checkpoint)
        self.open_count += 1
