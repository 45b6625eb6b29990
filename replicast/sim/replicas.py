"""Every replica in a row's set has what is committed (C1, C2): its log is looked at, on its disk.

    acknowledged   when a write is answered, each replica that the leader counts has the newest
                   entry that this leader takes for committed
    joined         when a table is first seen, who joins a set by it has what any replica knows to
                   be committed: else that one might lead, and answer, with what it has

What a log was cut of had been committed long before. Logs are read past the daemons, which notice nothing. A VDEV that is not open just then, or on
damaged disks, is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from replicast.flexhash.table import Table
from replicast.sim.checkers import OK, UNKNOWN
from replicast.target.names.base import Base, read_base
from replicast.target.names.service import NameService
from replicast.target.names.store import RowStore

if TYPE_CHECKING:
    from replicast.sim.cluster import SimCluster, Unit


class Replicas:
    """One per run."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._newest: Table | None = None
        self._looked = 0

    def acknowledged(self, target: str, row: int) -> str | None:
        """`target` answers a write to `row`."""
        services = {unit.member.name: names for unit, names in self._services()}
        names = services.get(target)
        lead = None if names is None else names._leaders.get(row)
        if names is None or lead is None:
            return None
        index, stores = lead.replica.committed_index, self._stores()
        epoch = _epoch(names._stores[lead.vdev_index], row, index)
        for vdev in names.context.name_replicas(row):
            store = stores.get(vdev)
            if store is not None:
                self._looked += 1
                if index >= _base(store, row).index and _epoch(store, row, index) != epoch:
                    return (
                        f"{target} takes entry {index} of row {row} for committed,"
                        f" which VDEV {vdev} of its set has not got"
                    )
        return None

    def joined(self, table: Table) -> str | None:
        """A table is adopted for the first time."""
        before = self._newest
        if before is None or table.generation > before.generation:
            self._newest = table
            if before is not None:
                return next(self._lacking(before, table), None)
        return None

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when no replica's log was looked at."""
        return (OK, []) if self._looked else (UNKNOWN, ["no log of a replica was seen"])

    def _lacking(self, before: Table, table: Table) -> Iterator[str]:
        for row in range(min(before.policy.row_count, table.policy.row_count)):
            old, new = before.name_replicas(row), table.name_replicas(row)
            added = [vdev for vdev in new if vdev not in old] if old and new != old else []
            if added:
                yield from self._compare(row, added)

    def _compare(self, row: int, added: list[int]) -> Iterator[str]:
        committed, teller, stores = 0, 0, self._stores()
        for _, names in self._services():
            for vdev in names._stores:
                replica = names._replicas.get((row, vdev))
                if replica is not None and replica.committed_index > committed:
                    committed, teller = replica.committed_index, vdev
        for vdev in added:
            gapless = _last(stores[vdev], row) if vdev in stores else committed
            if gapless < committed:
                yield (
                    f"VDEV {vdev} joins row {row} with entries up to {gapless},"
                    f" VDEV {teller} knows that {committed} is committed"
                )

    def _stores(self) -> dict[int, RowStore]:
        """Those that are judged, by VDEV."""
        found: dict[int, RowStore] = {}
        for unit, names in self._services():
            if not self._cluster.damage.hit(unit.member.host):
                found |= names._stores
        return found

    def _services(self) -> Iterator[tuple[Unit, NameService]]:
        for unit in self._cluster.targets:
            if unit.daemon is not None and hasattr(unit.daemon, "_service"):
                yield unit, unit.daemon._service.names


def _last(store: RowStore, row: int) -> int:
    """The end of a log: all is there that follows its base."""
    return store.span(row, _base(store, row).index)[0]


def _base(store: RowStore, row: int) -> Base:
    return read_base(store.base(row))


def _epoch(store: RowStore, row: int, index: int) -> int | None:
    """Of an entry, or of the base, whose entry may be gone."""
    at = _base(store, row).position
    return at.epoch if index == at.index else store.entry_epoch(row, index)
