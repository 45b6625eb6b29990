"""A RowStore in memory that forgets like a disk: what tests and the simulator give to rows.

append() is what the owner does for AppendRecords; nothing of it survives crash() before sync().
The view survives as of the last checkpoint(), which comes with the log, as in the real store.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from replicast.target.names.store import EntryRecord, RowRecord

Log = dict[int, dict[int, tuple[int, bytes]]]


class MemoryView:
    """An ordered map."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def view_get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self.values.get(key)

    def view_put(self, key: bytes, value: bytes) -> None:
        """Set a key."""
        if key not in self.values:
            insort(self._keys, key)
        self.values[key] = value

    def view_delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""
        if self.values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def view_scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Pairs in order."""
        first = bisect_left(self._keys, start)
        keys = self._keys[first : first + limit]
        return [(key, self.values[key]) for key in keys if key < end]

    @contextmanager
    def view_batch(self) -> Iterator[None]:
        """Nothing else runs meanwhile."""
        yield

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
        self._unreadable: set[tuple[int, int]] = set()
        self._waiting: list[RowRecord] = []
        self._checkpoint: dict[bytes, bytes] = {}

    def rows(self) -> Iterable[int]:
        """Rows that hold entries."""
        return [row for row, log in self._log.items() if log]

    def span(self, row: int) -> tuple[int, int]:
        """Highest index without a gap, highest index."""
        log = self._log.get(row, {})
        gapless = next((i - 1 for i in range(1, len(log) + 2) if i not in log), 0)
        return gapless, max(log, default=0)

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
            log = self._log.setdefault(record.row, {})
            if isinstance(record, EntryRecord):
                log[record.index] = (record.epoch, record.data)
                self._unreadable.discard((record.row, record.index))
            else:
                for index in [i for i in log if i >= record.from_index]:
                    del log[index]
        del self._waiting[:count]

    def checkpoint(self) -> None:
        """Make the view durable as it is."""
        self._checkpoint = dict(self.values)

    def damage(self, row: int, from_index: int) -> None:
        """Lose the end of a row's log without knowing it (design-review 1.5)."""
        for index in [i for i in self._log.get(row, {}) if i >= from_index]:
            del self._log[row][index]

    def crash(self) -> None:
        """Power fails; then the VDEV is opened again."""
        self._waiting.clear()
        self.replace(self._checkpoint)
        self.open_count += 1
