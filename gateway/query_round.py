"""One round of asking a row who has a chunk: whom, and what each answered. Part of GetChunk."""

from __future__ import annotations

from replicast.flexhash.table import Table, VdevState
from replicast.gateway.stats import Stats
from replicast.machine import NodeId
from replicast.wire.chunk_messages import MISS


class QueryRound:
    """CHUNK_QUERY to every target that a row lists, draining VDEVs included."""

    def __init__(self, query_id: bytes, table: Table, row: int, now_ns: int) -> None:
        self.query_id, self.row, self.asked_ns = query_id, row, now_ns
        self.asked: dict[NodeId, tuple[int, ...]] = {}
        self.answers: dict[NodeId, dict[int, int]] = {}  # kind by VDEV; empty: refused
        for v in listed(table, row):
            node = table.target_of(v).node_id
            self.asked[node] = (*self.asked.get(node, ()), v)

    def silent(self) -> tuple[NodeId, ...]:
        """Targets that have not answered."""
        return tuple(node for node in self.asked if node not in self.answers)

    def all_in(self, table: Table, stats: Stats, now_ns: int) -> bool:
        """Has everybody answered who is up and was not silent a moment ago?"""
        return all(
            table.vdevs[v].state != VdevState.UP or stats.suspect(v, now_ns)
            for node in self.silent()
            for v in self.asked[node]
        )

    def lost(self, table: Table) -> bool:
        """Did every VDEV that `table` lists prove its miss, all being up? Nobody proves nothing."""
        said = {v: kind for answers in self.answers.values() for v, kind in answers.items()}
        vdevs = listed(table, self.row)
        proved = all(table.vdevs[v].state == VdevState.UP and said.get(v) == MISS for v in vdevs)
        return proved and bool(vdevs)


def listed(table: Table, row: int) -> tuple[int, ...]:
    """Every VDEV that may hold chunks of the row."""
    return (*table.members(row), *table.draining(row))
