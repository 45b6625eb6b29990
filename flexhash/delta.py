"""What a new generation changes, for logs and `replicast flexhash show`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replicast.flexhash.table import NO_VDEV, Cells, Table


@dataclass(frozen=True, slots=True)
class TableDelta:
    """Counts of rows and cells; `moved_cells` are VDEVs that are new in a row's group."""

    rows_changed: int
    moved_cells: int
    drained_cells: int
    name_sets_changed: int
    leaders_changed: int

    def __str__(self) -> str:
        return (
            f"{self.rows_changed} rows changed, {self.moved_cells} cells moved, "
            f"{self.drained_cells} draining gone, {self.name_sets_changed} name sets changed, "
            f"{self.leaders_changed} leaders changed"
        )


def diff(previous: Table, following: Table) -> TableDelta:
    """Compare two tables of one cluster (same row_count and group_size)."""
    old, new = previous.rows, following.rows
    return TableDelta(
        rows_changed=int((new.members_since > previous.generation).sum()),
        moved_cells=_count_new(old.members, new.members),
        drained_cells=_count_new(np.hstack((new.draining, new.members)), old.draining),
        name_sets_changed=int((old.names != new.names).any(axis=1).sum()),
        leaders_changed=int((new.leader_since > previous.generation).sum()),
    )


def _count_new(old: Cells, new: Cells) -> int:
    """Cells of `new` that their row in `old` does not list."""
    is_old = new == NO_VDEV
    for column in range(old.shape[1]):
        is_old |= new == old[:, column : column + 1]
    return int((~is_old).sum())
