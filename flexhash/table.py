"""One generation of the FlexHash table: which VDEVs serve which row.

    row --> members        the negotiating group; the first `copies` are the name candidates
        --> draining       VDEVs that may still hold chunks of the row; read only
        --> name_replicas  the in-sync set; the first UP one leads

flexhash/build.py makes tables, flexhash/table_format.py reads and writes them;
targets and gateways only look things up. A table never changes; lookups keep
what they computed. Cells are kept in u16 arrays, NO_VDEV at the end of a line.

Invariants: every index in a row belongs to a known VDEV, none appears twice in
a list, and no VDEV is both member and draining. `digest` is blake2b-256 of the
canonical bytes, so equal digests mean equal tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from replicast.flexhash.entries import (
    NO_VDEV,
    Policy,
    RowChange,
    RowChangeKind,
    TableError,
    TargetEntry,
    VdevEntry,
    VdevState,
)

__all__ = [
    "NO_VDEV",
    "Policy",
    "RowChange",
    "RowChangeKind",
    "Rows",
    "Table",
    "TableError",
    "TargetEntry",
    "VdevEntry",
    "VdevState",
]

Cells = npt.NDArray[np.uint16]
Generations = npt.NDArray[np.uint64]
Leaders = npt.NDArray[np.int32]


class Rows:
    """The arrays of a table, one line per row. Made once, then never written."""

    __slots__ = ("draining", "leader_since", "members", "members_since", "names", "names_since")

    def __init__(
        self,
        *,
        members: Cells,
        draining: Cells,
        names: Cells,
        members_since: Generations,
        names_since: Generations,
        leader_since: Generations,
    ) -> None:
        self.members = members
        self.draining = draining
        self.names = names
        self.members_since = members_since
        self.names_since = names_since
        self.leader_since = leader_since
        for array in (members, draining, names, members_since, names_since, leader_since):
            array.flags.writeable = False


class Table:
    """Immutable. `targets` is ordered by node_id, `vdevs` by index."""

    def __init__(
        self,
        generation: int,
        policy: Policy,
        targets: Mapping[int, TargetEntry],
        vdevs: Mapping[int, VdevEntry],
        rows: Rows,
    ) -> None:
        self.generation = generation
        self.policy = policy
        self.targets = MappingProxyType(dict(sorted(targets.items())))
        self.vdevs = MappingProxyType(dict(sorted(vdevs.items())))
        self.rows = rows
        self._row_shift = 32 - (policy.row_count.bit_length() - 1)
        self._leaders = leaders_of(rows.names, self.vdevs)
        self._members: list[tuple[int, ...] | None] = [None] * policy.row_count
        self._replicas: list[tuple[int, ...] | None] = [None] * policy.row_count
        self._candidates: list[tuple[int, ...] | None] = [None] * policy.row_count
        self._vdevs_by_node: dict[int, tuple[int, ...]] = dict.fromkeys(self.targets, ())
        for index, vdev in self.vdevs.items():
            self._vdevs_by_node[vdev.target] += (index,)

    # -- rows ---------------------------------------------------------------------------------

    def row_of_chunk(self, chid: bytes) -> int:
        """The row of a chunk: the first bits of its CHID."""
        return int.from_bytes(chid[:4], "big") >> self._row_shift

    def members(self, row: int) -> tuple[int, ...]:
        """The negotiating group, best first; no draining VDEV."""
        found = self._members[row]
        if found is None:
            found = self._members[row] = _line(self.rows.members, row)
        return found

    def draining(self, row: int) -> tuple[int, ...]:
        """VDEVs outside the group that may hold chunks of the row, oldest first."""
        return _line(self.rows.draining, row)

    def name_replicas(self, row: int) -> tuple[int, ...]:
        """The in-sync set; the first that is UP leads."""
        found = self._replicas[row]
        if found is None:
            found = self._replicas[row] = _line(self.rows.names, row)
        return found

    def name_candidates(self, row: int) -> tuple[int, ...]:
        """Who should be name replicas: the first `copies` members on distinct hosts."""
        found = self._candidates[row]
        if found is None:
            by_host: dict[str, int] = {}
            for index in self.members(row):
                by_host.setdefault(self.host_of(index), index)
            found = self._candidates[row] = tuple(by_host.values())[: self.policy.copies]
        return found

    def row_leader(self, row: int) -> int | None:
        """The first in-sync replica whose VDEV is UP; None: names of the row are unavailable."""
        return self._leader_list[row]

    def members_since(self, row: int) -> int:
        """The generation that last changed members or draining of the row."""
        return self._members_since_list[row]

    def names_since(self, row: int) -> int:
        """The generation that last changed the in-sync set or the leader of the row."""
        return self._names_since_list[row]

    def leader_since(self, row: int) -> int:
        """The generation that last changed the leader of the row."""
        return self._leader_since_list[row]

    # Asked several times for every request, and a list answers far faster than an array.

    @cached_property
    def _leader_list(self) -> list[int | None]:
        return [None if leader < 0 else leader for leader in self._leaders.tolist()]

    @cached_property
    def _members_since_list(self) -> list[int]:
        found: list[int] = self.rows.members_since.tolist()
        return found

    @cached_property
    def _names_since_list(self) -> list[int]:
        found: list[int] = self.rows.names_since.tolist()
        return found

    @cached_property
    def _leader_since_list(self) -> list[int]:
        found: list[int] = self.rows.leader_since.tolist()
        return found

    # -- VDEVs and targets --------------------------------------------------------------------

    def target_of(self, vdev_index: int) -> TargetEntry:
        """The target that owns a VDEV. Raises KeyError when there is no such VDEV."""
        return self.targets[self.vdevs[vdev_index].target]

    def host_of(self, vdev_index: int) -> str:
        """The failure domain that never holds two copies."""
        return self.target_of(vdev_index).host

    def moved(self, rows: Iterable[int], before: Table | None) -> list[int]:
        """Those of `rows` that may look different than in an older table: the row itself, or
        what all rows depend on (states of VDEVs, places of targets, the policy)."""
        if before is None or self.policy != before.policy:
            return list(rows)
        if self.vdevs != before.vdevs or self.targets != before.targets:
            return list(rows)
        since = (self.rows.members_since, self.rows.names_since, self.rows.leader_since)
        moved = np.maximum.reduce(since) > before.generation
        return [row for row in rows if moved[row]]

    def vdevs_of(self, node_id: int) -> tuple[int, ...]:
        """The indexes of a target's VDEVs, ascending; empty for a stranger."""
        return self._vdevs_by_node.get(node_id, ())

    def rows_led_by(self, node_id: int) -> tuple[int, ...]:
        """The rows whose leader is one of this target's VDEVs, ascending."""
        mine = np.array(self.vdevs_of(node_id), dtype=np.int32)
        return tuple(np.flatnonzero(np.isin(self._leaders, mine)).tolist())

    def rows_replicated_by(self, node_id: int) -> tuple[int, ...]:
        """The rows with one of this target's VDEVs in sync, ascending."""
        return self._rows_with(self.rows.names, node_id)

    def rows_listing(self, node_id: int) -> tuple[int, ...]:
        """The rows with one of this target's VDEVs as a member, ascending."""
        return self._rows_with(self.rows.members, node_id)

    def _rows_with(self, cells: Cells, node_id: int) -> tuple[int, ...]:
        mine = np.array(self.vdevs_of(node_id), dtype=np.uint16)
        return tuple(np.flatnonzero(np.isin(cells, mine).any(axis=1)).tolist())

    # -- bytes --------------------------------------------------------------------------------

    @cached_property
    def _bytes(self) -> bytes:
        from replicast.flexhash.table_format import encode_table

        return encode_table(self)

    def to_bytes(self) -> bytes:
        """The canonical bytes: equal tables, equal bytes."""
        return self._bytes

    @staticmethod
    def from_bytes(data: bytes) -> Table:
        """Read what to_bytes wrote; anything else raises TableError."""
        from replicast.flexhash.table_format import decode_table

        return decode_table(data)

    @cached_property
    def digest(self) -> bytes:
        """blake2b-256 of the canonical bytes."""
        return hashlib.blake2b(self._bytes, digest_size=32).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Table(generation={self.generation}, rows={self.policy.row_count})"


def leaders_of(names: Cells, vdevs: Mapping[int, VdevEntry]) -> Leaders:
    """Per row the first in-sync VDEV that is UP, or -1."""
    is_up = np.zeros(NO_VDEV + 1, dtype=np.bool_)
    is_up[[index for index, vdev in vdevs.items() if vdev.state == VdevState.UP]] = True
    up = is_up[names]
    first = np.arange(len(names)), up.argmax(axis=1)  # the first place when none is up
    return np.where(up[first], names[first].astype(np.int32), np.int32(-1))


def _line(cells: Cells, row: int) -> tuple[int, ...]:
    return tuple([index for index in cells[row].tolist() if index != NO_VDEV])
