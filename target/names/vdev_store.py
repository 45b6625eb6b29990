"""The RowStore of a real VDEV (target/store), and its outcomes as ours."""

from __future__ import annotations

from collections.abc import Iterable

from replicast.target.names.store import StoreOutcome
from replicast.target.store.errors import Outcome, ReadError, RecordClass
from replicast.target.store.facts import VdevFacts

ENTRY_BYTES = 4096  # a usual entry
AGAIN = (Outcome.BUSY, Outcome.NO_SPACE)


class VdevRowStore:
    """What name rows want from an open VDEV."""

    def __init__(self, vdev: VdevFacts) -> None:
        self._vdev = vdev
        self.view_get = vdev.view_get
        self.view_write = vdev.view_write
        self.view_scan = vdev.view_scan
        self.view_first = vdev.view_first

    @property
    def open_count(self) -> int:
        """Durable count of opens."""
        return self._vdev.open_count

    def rows(self) -> Iterable[int]:
        """Rows that hold entries."""
        return self._vdev.rows()

    def base(self, row: int) -> bytes | None:
        """Of the newest cut."""
        return self._vdev.row_base(row)

    def span(self, row: int, after: int) -> tuple[int, int]:
        """Highest index without a gap behind `after`, highest index."""
        found = self._vdev.row_log(row, after + 1)
        if not found:
            return after, after
        gapless = after
        for location in found:
            if location.index != gapless + 1:
                break
            gapless = location.index
        return gapless, found[-1].index

    def held(self, row: int, after: int, limit: int) -> list[int]:
        """Indices of entries behind `after`."""
        return [location.index for location in self._vdev.row_log(row, after + 1, limit)]

    def entry(self, row: int, index: int) -> tuple[int, bytes] | None:
        """(epoch, data); None also for a record that cannot be read."""
        location = self._vdev.row_entry(row, index)
        if location is None:
            return None
        try:
            return location.epoch, self._vdev.read_entry(location)
        except ReadError:
            return None

    def entry_epoch(self, row: int, index: int) -> int | None:
        """Known of an entry that cannot be read, too; None when there is none."""
        location = self._vdev.row_entry(row, index)
        return None if location is None else location.epoch

    def names_full(self) -> bool:
        """No new names: the VDEV is past that gate."""
        return not self._vdev.fits(RecordClass.NAME, ENTRY_BYTES)


def to_outcome(outcome: Outcome) -> StoreOutcome:
    """For NameService.stored()."""
    if outcome == Outcome.STORED:
        return StoreOutcome.STORED
    return StoreOutcome.AGAIN if outcome in AGAIN else StoreOutcome.FAILED
