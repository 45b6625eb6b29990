"""Who joins the in-sync set of a row has all that was committed without it (C1, C2).

A leader asks for an addition when the replica has caught up, and from then on waits for it, too;
the control plane makes it only for the leader that asked, while that one leads. So whatever a
replica knows to be committed when the new table is first seen is on the disk of who joins by it:
else that one might lead, and answer, with what it has. It is read past the daemon (convergence.py).
A VDEV that is not open just then, or on damaged disks, is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from replicast.flexhash.table import Table
from replicast.target.names.service import NameService
from replicast.target.names.store import RowStore

if TYPE_CHECKING:
    from replicast.sim.cluster import SimCluster, Unit


class Joined:
    """One per run."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._newest: Table | None = None

    def seen(self, table: Table) -> str | None:
        """A table is adopted for the first time; what is wrong with its additions."""
        before = self._newest
        if before is None or table.generation > before.generation:
            self._newest = table
            if before is not None:
                return next(self._lacking(before, table), None)
        return None

    def _lacking(self, before: Table, table: Table) -> Iterator[str]:
        for row in range(min(before.policy.row_count, table.policy.row_count)):
            old, new = before.name_replicas(row), table.name_replicas(row)
            added = [vdev for vdev in new if vdev not in old] if old and new != old else []
            if added:
                yield from self._compare(row, added)

    def _compare(self, row: int, added: list[int]) -> Iterator[str]:
        stores: dict[int, RowStore] = {}
        committed, teller = 0, 0
        for unit, names in self._services():
            if not self._cluster.damage.hit(unit.member.host):
                stores |= names._stores
            for vdev in names._stores:
                replica = names._replicas.get((row, vdev))
                if replica is not None and replica.committed_index > committed:
                    committed, teller = replica.committed_index, vdev
        for vdev in added:
            gapless, _ = stores[vdev].span(row) if vdev in stores else (committed, 0)
            if gapless < committed:
                yield (
                    f"VDEV {vdev} joins row {row} with entries up to {gapless},"
                    f" VDEV {teller} knows that {committed} is committed"
                )

    def _services(self) -> Iterator[tuple[Unit, NameService]]:
        for unit in self._cluster.targets:
            if unit.daemon is not None and hasattr(unit.daemon, "_service"):
                yield unit, unit.daemon._service.names
