"""Small tables, for tests of how they travel."""

from __future__ import annotations

from replicast.flexhash.build import build
from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Table


def table(generation: int, states: dict[int, VdevState] | None = None) -> Table:
    """Of three targets with one VDEV each."""
    at = ("10.0.0.1", 1)
    targets = [TargetEntry(n, f"t{n}", f"h{n}", "z", at, at, at, "", at) for n in (1, 2, 3)]
    vdevs = [
        VdevEntry(n, bytes([n]) * 16, n, 10, (states or {}).get(n, VdevState.UP), generation)
        for n in (1, 2, 3)
    ]
    return build(None, targets, vdevs, Policy(row_count=16, group_size=3), (), generation)
