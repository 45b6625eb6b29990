"""The one fence of everything that only a row's leader may do: may this VDEV act for the row now?

It is asked with the `now_ns` of the call that commits or answers; the owner reads the clock after
it took the request from the network, and nothing else changes a row's state within one call, so a
read is ordered at that instant, inside its own interval.
"""

from __future__ import annotations

from replicast.flexhash.table import Table
from replicast.target.names.context import RowContext


class Fence:
    """Of one VDEV for one row. What a table says of both is looked up once for each table; lease, clock
    and the VDEV itself are asked every time."""

    __slots__ = ("_context", "_leads", "_open_count", "_row", "_since", "_table", "_vdev_index")

    def __init__(self, context: RowContext, row: int, vdev_index: int) -> None:
        self._context, self._row, self._vdev_index = context, row, vdev_index
        self._table: Table | None = None
        self._leads = False
        self._since = self._open_count = 0

    def open(self, now_ns: int) -> bool:
        """May this VDEV commit and answer for the row right now?"""
        context = self._context
        if context.table is not self._table:
            self._look_up(context.table)
        return (
            self._leads
            and context.lease.valid(now_ns)
            and context.lease.floor >= self._since
            and context.clock_agrees
            # A table from before our last start: additions of the former life may be in flight.
            and context.open_counts.get(self._vdev_index) == self._open_count
        )

    def _look_up(self, table: Table | None) -> None:
        self._table = table
        self._leads = table is not None and table.row_leader(self._row) == self._vdev_index
        if table is not None and self._leads:
            self._since = table.leader_since(self._row)
            self._open_count = table.vdevs[self._vdev_index].open_count
