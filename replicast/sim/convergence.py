"""Replicas converge when faults stop: in-sync copies of a row hold the same log and the same state.

    differences(copies_of(cluster))    what still differs; empty when all agree

A copy is what a replica's VDEV holds: the applied state key by key, and the log up to what is
applied. Each replica cuts its own log: up to its base it needs the entries that versions refer to, and
no others; what it has to drop yet is its own affair. It is read past the daemon, which notices nothing. Replicas whose VDEV is not up are
left out: they are not in use, and come back through catch-up. So are entries that cannot be read
on a host whose disks were damaged: nobody has asked for them since, and they heal when read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicast.flexhash.table import Table, VdevState
from replicast.target.names.base import read_base
from replicast.target.names.state import META
from replicast.target.store.errors import ReadError
from replicast.target.store.vdev import Vdev
from replicast.wire.codec import decode
from replicast.wire.row_messages import RowApplied, RowVersion

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
    log: dict[int, bytes | None]  # by index; None: not readable, and it may be so
    base_index: int = 0  # up to there the log has been cut
    lacks: tuple[int, ...] = ()  # entries that it should have


def differences(copies: list[Copy]) -> list[str]:
    """One line a row whose copies are not the same; names what and who."""
    rows: dict[int, list[Copy]] = {}
    for copy in copies:
        rows.setdefault(copy.row, []).append(copy)
    found = []
    for row, here in rows.items():
        for what in ("applied_index", "state"):
            values = [getattr(copy, what) for copy in here]
            if any(value != values[0] for value in values):
                break
        else:
            what = _first_other_entry(here)
        if what:
            shown = ", ".join(f"{copy.replica} at {copy.applied_index}" for copy in here)
            found.append(f"row {row}: {what} differs: {shown}")
    return found


def _first_other_entry(copies: list[Copy]) -> str:
    for copy in copies:
        if copy.lacks:
            return f"{copy.replica} lacks entry {copy.lacks[0]}, and its log"
    for index in sorted({index for copy in copies for index in copy.log}):
        entries = [copy.log[index] for copy in copies if index in copy.log]
        readable = [entry for entry in entries if entry is not None]
        if any(entry != readable[0] for entry in readable):
            return f"entry {index}"
    return ""


def copies_of(cluster: SimCluster) -> list[Copy]:
    """Of all rows, by the newest table that a target acts by."""
    vdevs: dict[int, tuple[Vdev, bool]] = {}
    newest: Table | None = None
    for unit in cluster.targets:
        if unit.daemon is None or not hasattr(unit.daemon, "_service"):
            continue
        service, damaged = unit.daemon._service, cluster.damage.hit(unit.member.host)
        vdevs.update((index, (vdev, damaged)) for index, vdev in service._vdevs.by_index.items())
        table = service.table
        if table is not None and (newest is None or table.generation > newest.generation):
            newest = table
    return list(_copies(newest, vdevs)) if newest is not None else []


def _copies(table: Table, vdevs: dict[int, tuple[Vdev, bool]]) -> Iterator[Copy]:
    for row in range(table.policy.row_count):
        for index in table.name_replicas(row):
            if table.vdevs[index].state == VdevState.UP and index in vdevs:
                yield _copy(row, f"{table.target_of(index).name}/{index}", *vdevs[index])


def _copy(row: int, replica: str, vdev: Vdev, damaged: bool) -> Copy:
    state = hashlib.blake2b(digest_size=16)
    head = row.to_bytes(4, "big")
    needed: set[int] = set()
    for key, value in vdev.view_scan(head, (row + 1).to_bytes(4, "big"), ALL):
        if key.startswith(head + META + b"D"):
            continue
        state.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
        if not key.startswith(head + META):
            version = decode(RowVersion.TYPE, value)
            assert isinstance(version, RowVersion)
            needed |= {version.index, version.restored_index} - {0}
    raw = vdev.view_get(head + META + b"A")
    mark = None if raw is None else decode(RowApplied.TYPE, raw)
    applied_index = mark.position.index if isinstance(mark, RowApplied) else 0
    base_index = read_base(vdev.row_base(row)).index
    log = dict(_log(row, applied_index, vdev, damaged))
    needed.update(range(base_index + 1, applied_index + 1))
    lacks = () if damaged else tuple(sorted(needed - set(log)))
    return Copy(row, replica, applied_index, state.digest(), log, base_index, lacks)


def _log(
    row: int, applied_index: int, vdev: Vdev, damaged: bool
) -> Iterator[tuple[int, bytes | None]]:
    for location in vdev.row_log(row):
        if location.index > applied_index:
            return
        try:
            data = vdev.read_entry(location)
        except ReadError as error:
            yield location.index, None if damaged else repr(error).encode()
        else:
            head = location.epoch.to_bytes(8, "big")
            yield location.index, hashlib.blake2b(head + data, digest_size=16).digest()
