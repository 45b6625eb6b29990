"""Replicas converge when faults stop: in-sync copies of a row hold the same log and the same state.

    differences(copies_of(cluster))    what still differs; empty when all agree

A copy is what a replica's VDEV holds: the applied state key by key, and the log up to what is
applied. It is read past the daemon, which notices nothing. Replicas whose VDEV is not up are
left out: they are not in use, and come back through catch-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicast.flexhash.table import Table, VdevState
from replicast.target.names.position import from_wire
from replicast.target.names.state import META
from replicast.target.store.errors import ReadError
from replicast.target.store.vdev import Vdev
from replicast.wire.codec import decode
from replicast.wire.row_messages import RowApplied

if TYPE_CHECKING:
    from replicast.sim.cluster import SimCluster

ALL = 1 << 30


@dataclass(frozen=True, slots=True)
class Copy:
    """What one in-sync replica holds of a row."""

    row: int
    replica: str
    applied_index: int
    state: bytes
    log: bytes


def differences(copies: list[Copy]) -> list[str]:
    """One line a row whose copies are not the same; names what and who."""
    rows: dict[int, list[Copy]] = {}
    for copy in copies:
        rows.setdefault(copy.row, []).append(copy)
    found = []
    for row, here in rows.items():
        for what in ("applied_index", "state", "log"):
            values = [getattr(copy, what) for copy in here]
            if any(value != values[0] for value in values):
                shown = ", ".join(
                    f"{c.replica}: {v.hex()[:12] if isinstance(v, bytes) else v}"
                    for c, v in zip(here, values, strict=True)
                )
                found.append(f"row {row}: {what} differs: {shown}")
                break
    return found


def copies_of(cluster: SimCluster) -> list[Copy]:
    """Of all rows, by the newest table that a target acts by."""
    vdevs: dict[int, Vdev] = {}
    newest: Table | None = None
    for unit in cluster.targets:
        assert unit.daemon is not None
        service = unit.daemon._service
        vdevs.update(service._vdevs.by_index)
        table = service.table
        if table is not None and (newest is None or table.generation > newest.generation):
            newest = table
    return list(_copies(newest, vdevs)) if newest is not None else []


def _copies(table: Table, vdevs: dict[int, Vdev]) -> Iterator[Copy]:
    for row in range(table.policy.row_count):
        for index in table.name_replicas(row):
            if table.vdevs[index].state == VdevState.UP and index in vdevs:
                yield _copy(row, table.target_of(index).name, index, vdevs[index])


def _copy(row: int, target: str, index: int, vdev: Vdev) -> Copy:
    state = hashlib.blake2b(digest_size=16)
    head = row.to_bytes(4, "big")
    for key, value in vdev.view_scan(head, (row + 1).to_bytes(4, "big"), ALL):
        state.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    raw = vdev.view_get(head + META + b"A")
    mark = None if raw is None else decode(RowApplied.TYPE, raw)
    applied_index = from_wire(mark.position).index if isinstance(mark, RowApplied) else 0
    return Copy(
        row, f"{target}/{index}", applied_index, state.digest(), _log(row, applied_index, vdev)
    )


def _log(row: int, applied_index: int, vdev: Vdev) -> bytes:
    log = hashlib.blake2b(digest_size=16)
    for location in vdev.row_log(row):
        if location.index > applied_index:
            break
        try:
            data = vdev.read_entry(location)
        except ReadError as error:
            data = repr(error).encode()
        log.update(f"{location.index} {location.epoch} {len(data)} ".encode() + data)
    return log.digest()
