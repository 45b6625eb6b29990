"""Moves of row leadership between replicas that are up: a core of the steward.

A target whose clock is off the cluster's answers for none of its rows, though it is up and its lease
is good: they are moved away at once. All other moves are planned ones, back to where the table
wants a row to be led.

In-sync sets keep the order of addition, so a VDEV that was removed from its rows and came back
leads none of them, and after a restart of each target in turn one of them leads everything. The
first member of a row is who should lead it: members are placed so that first places are even.

    look(table)          at each active generation: since when is each VDEV steady?
    next_change(table, fit, unfit)   a RowsChange of kind LEAD for rows of one pair of VDEVs, or None

Invariants: a VDEV is given leaderships only when it has been UP, under one open count and removed
from no row, its target's clock right, for STEADY_NS, and twice as long after each time that this did
not last; one command per SPACING_NS. So a replica that flaps gets less and less to lead, and a move
back is never urgent: the floor guards it like every change of leader, and requests go on at the new
one. Rows are moved away as fast as generations follow each other, one pair of VDEVs with each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replicast.flexhash.commands import EditKind
from replicast.flexhash.entries import NO_VDEV, VdevState
from replicast.flexhash.table import Leaders, Table, leaders_of
from replicast.machine import NodeId
from replicast.units import SECOND
from replicast.wire import control_messages as cm

STEADY_NS = 60 * SECOND
STEADY_DOUBLINGS_MAX = 6  # about an hour
SPACING_NS = 5 * SECOND


@dataclass(slots=True)
class _Seen:
    """What the last look saw of a VDEV."""

    open_count: int
    rows: int  # that have it in sync
    since_ns: int
    up: bool
    moved: bool = False  # was given leaderships since then
    relapses: int = 0  # how often that did not last

    def begin_anew(self, now_ns: int) -> None:
        """It was not steady just now."""
        if now_ns - self.since_ns > STEADY_NS << STEADY_DOUBLINGS_MAX:
            self.relapses = 0
        elif self.moved:
            self.relapses += 1
        self.moved, self.since_ns = False, now_ns


class Balancer:
    """One per term: a new Raft leader has seen nobody steady yet."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._generation = 0
        self._next_ns = 0

    def look(self, table: Table, now_ns: int) -> None:
        """Note who is not steady; call for every active generation."""
        if table.generation == self._generation:
            return
        self._generation = table.generation
        counts = np.bincount(table.rows.names.ravel(), minlength=NO_VDEV + 1)
        for index, vdev in table.vdevs.items():
            rows, up = int(counts[index]), vdev.state == VdevState.UP
            seen = self._seen.get(index)
            if seen is None:
                self._seen[index] = _Seen(vdev.open_count, rows, now_ns, up)
                continue
            same = seen.open_count == vdev.open_count and up and seen.up
            if not same or rows < seen.rows:
                seen.begin_anew(now_ns)
            seen.open_count, seen.rows, seen.up = vdev.open_count, rows, up
        for index in [index for index in self._seen if index not in table.vdevs]:
            del self._seen[index]

    def next_change(
        self, table: Table, now_ns: int, fit: Collection[NodeId], unfit: Collection[NodeId] = ()
    ) -> cm.RowsChange | None:
        """The next move that is due, to a VDEV of one of the `fit` targets.

        The `unfit` say under their lease that they lead nothing; of others nothing is known.
        """
        bad = [index for index, vdev in table.vdevs.items() if vdev.target in unfit]
        if bad and (away := self._away(table, bad, fit, now_ns)) is not None:
            return away
        if now_ns < self._next_ns:
            return None
        self._next_ns = now_ns + SPACING_NS
        first = table.rows.members[:, 0].astype(np.int32)
        leaders = leaders_of(table.rows.names, table.vdevs)
        in_sync = (table.rows.names == first[:, None]).any(axis=1) & (first != NO_VDEV)
        misplaced = in_sync & (leaders >= 0) & (leaders != first)
        for index in np.unique(first[misplaced]).tolist():
            if table.vdevs[index].target in fit and self._steady(table, index, now_ns):
                self._seen[index].moved = True
                return _move(table, index, leaders, misplaced & (first == index))
        return None

    def _away(
        self, table: Table, bad: list[int], fit: Collection[NodeId], now_ns: int
    ) -> cm.RowsChange | None:
        """Rows that one of the `bad` leads, to the next of their replicas that may lead."""
        for index in bad:
            if index in self._seen:
                self._seen[index].begin_anew(now_ns)
        up = [i for i, v in table.vdevs.items() if v.target in fit and v.state == VdevState.UP]
        names = table.rows.names
        leaders = leaders_of(names, table.vdevs)
        able = np.isin(names, up)
        stuck = np.isin(leaders, bad) & able.any(axis=1)
        if not stuck.any():
            return None
        heirs = names[np.arange(len(names)), able.argmax(axis=1)]
        heir = int(heirs[stuck][0])
        return _move(table, heir, leaders, stuck & (heirs == heir))

    def _steady(self, table: Table, index: int, now_ns: int) -> bool:
        seen = self._seen.get(index)
        if seen is None or table.vdevs[index].state != VdevState.UP:
            return False
        steady_ns = STEADY_NS << min(seen.relapses, STEADY_DOUBLINGS_MAX)
        return now_ns - seen.since_ns >= steady_ns


def _move(table: Table, index: int, leaders: Leaders, rows: npt.NDArray[np.bool_]) -> cm.RowsChange:
    """Its rows that one other VDEV leads; those of others come with the next commands."""
    chosen = np.flatnonzero(rows)
    by = int(leaders[chosen[0]])
    mine = chosen[leaders[chosen] == by][: cm.ROWS_PER_COMMAND_MAX]
    return cm.RowsChange(
        by=by,
        by_open_count=table.vdevs[by].open_count,
        vdev=index,
        open_count=table.vdevs[index].open_count,
        kind=EditKind.LEAD,
        seen=table.generation,
        rows=tuple(mine.tolist()),
    )
