"""build(): the next table from the previous one and what has changed.

    inputs -> quotas (quota.py) -> cells (placement.py or its native twin)
           -> name replicas (name_sets.py) -> the generations at which each row last changed

Pure, deterministic, integers only, versioned by policy.algorithm: all who build
from the same inputs get the same bytes and compare digests. Order of the
input sequences does not matter, except that of row_changes.

Invariants: a VDEV going DOWN or coming back changes neither members nor in-sync
sets, only leaders; one that is STOPPING leaves those sets that can do without it. A VDEV that may hold chunks of a row stays listed there, as
member or draining, until `emptied` or OUT; a row lists at most group_size
draining VDEVs, and while it is full nobody else leaves its group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replicast.flexhash.entries import (
    NO_VDEV,
    Policy,
    RowChange,
    TableError,
    TargetEntry,
    VdevEntry,
    VdevState,
    check_inputs,
)
from replicast.flexhash.name_sets import NameInputs, first_name_sets, next_name_sets
from replicast.flexhash.placement import GONE, LEAVING, STAYING
from replicast.flexhash.quota import cell_quotas
from replicast.flexhash.table import Cells, Generations, Rows, Table, leaders_of
from replicast.flexhash.table_format import names_width
from replicast.native import PURE, compiled

if PURE:
    from replicast.flexhash.placement import place_cells
else:
    with compiled():
        from replicast.native._flexhash import place_cells

KIND_OF_STATE = {
    VdevState.UP: STAYING,
    VdevState.DOWN: STAYING,
    VdevState.DRAINING: LEAVING,
    VdevState.OUT: GONE,
    VdevState.STOPPING: STAYING,
}


def build(
    previous: Table | None,
    targets: Sequence[TargetEntry],
    vdevs: Sequence[VdevEntry],
    policy: Policy,
    row_changes: Sequence[RowChange],
    generation: int,
    *,
    emptied: Sequence[tuple[int, int]] = (),
    damaged: Sequence[int] = (),
) -> Table:
    """The table of `generation`. Raises TableError for inputs that cannot be a table.

    `emptied` are (row, vdev_index) of draining VDEVs that hold nothing of the row any more;
    `damaged` are VDEVs that lost their row logs and are in sync for no row.
    """
    check_inputs(targets, vdevs, policy)
    _check_previous(previous, policy, generation)
    by_node = {target.node_id: target for target in sorted(targets, key=lambda t: t.node_id)}
    by_index = {vdev.index: vdev for vdev in sorted(vdevs, key=lambda v: v.index)}
    domains = _domains(by_node, by_index)
    members, draining = _place(previous, by_index, domains, policy, emptied)
    candidates = members[:, : _candidate_count(by_index, domains, policy)]
    inputs = NameInputs(candidates, by_index, policy, row_changes, damaged)
    if previous is None:
        names = first_name_sets(inputs, names_width(policy))
    else:
        names = next_name_sets(previous.rows.names, previous.rows.names_since, inputs)
    rows = _stamp(previous, (members, draining, names), by_index, generation)
    return Table(generation, policy, by_node, by_index, rows)


@dataclass(frozen=True, slots=True)
class Domains:
    """Host and zone numbers per vdev_index; labels are numbered in sorted order."""

    hosts: dict[int, int]
    zones: dict[int, int]


def _check_previous(previous: Table | None, policy: Policy, generation: int) -> None:
    if not 0 < generation < 1 << 64:
        raise TableError(f"generation {generation} is not a positive u64")
    if previous is None:
        return
    if generation <= previous.generation:
        raise TableError(f"generation {generation} is not above {previous.generation}")
    old = previous.policy
    for what in ("row_count", "group_size", "copies", "algorithm"):
        if getattr(policy, what) != getattr(old, what):
            raise TableError(f"{what} cannot change in the life of a cluster")


def _domains(targets: Mapping[int, TargetEntry], vdevs: Mapping[int, VdevEntry]) -> Domains:
    """A host whose targets name several zones counts in that of its lowest node_id."""
    zone_of_host: dict[str, str] = {}
    for target in targets.values():
        zone_of_host.setdefault(target.host, target.zone)
    host_numbers = {host: number for number, host in enumerate(sorted(zone_of_host))}
    zones = sorted(set(zone_of_host.values()))
    zone_numbers = {zone: number for number, zone in enumerate(zones)}
    host_of = {index: targets[vdev.target].host for index, vdev in vdevs.items()}
    return Domains(
        hosts={index: host_numbers[host] for index, host in host_of.items()},
        zones={index: zone_numbers[zone_of_host[host]] for index, host in host_of.items()},
    )


def _candidate_count(vdevs: Mapping[int, VdevEntry], domains: Domains, policy: Policy) -> int:
    hosts = {
        domains.hosts[index]
        for index, vdev in vdevs.items()
        if KIND_OF_STATE[vdev.state] == STAYING
    }
    return min(policy.copies, len(hosts))


# -- cells ------------------------------------------------------------------------------------


def _place(
    previous: Table | None,
    vdevs: Mapping[int, VdevEntry],
    domains: Domains,
    policy: Policy,
    emptied: Sequence[tuple[int, int]],
) -> tuple[Cells, Cells]:
    """Members and draining of every row."""
    shape = (policy.row_count, policy.group_size)
    if previous is None:
        members = np.full(shape, NO_VDEV, dtype=np.uint16)
        draining = members.copy()
    else:
        members = previous.rows.members.copy()
        draining = previous.rows.draining.copy()
        if not emptied and _same_cells(previous, vdevs, domains):
            return members, draining
    _drop_emptied(draining, emptied)
    holders = np.hstack((draining, members))
    kinds = np.zeros(NO_VDEV + 1, dtype=np.uint8)
    for index, vdev in vdevs.items():
        kinds[index] = KIND_OF_STATE[vdev.state]
    holders[kinds[holders] == GONE] = NO_VDEV
    _call_place(members, holders, vdevs, domains, policy, previous is None)
    return _close_gaps(members), _left_over(holders, members)


def _same_cells(previous: Table, vdevs: Mapping[int, VdevEntry], domains: Domains) -> bool:
    """Whether nothing changed that cells depend on (UP, DOWN and STOPPING are the same to them)."""
    old = _domains(previous.targets, previous.vdevs)
    return _cell_inputs(previous.vdevs, old) == _cell_inputs(vdevs, domains)


def _cell_inputs(vdevs: Mapping[int, VdevEntry], domains: Domains) -> list[tuple[object, ...]]:
    """Labels may be renumbered when targets come and go, so domains compare by partition."""
    first_of: dict[tuple[str, int], int] = {}
    return [
        (
            index,
            vdev.weight,
            KIND_OF_STATE[vdev.state],
            first_of.setdefault(("host", domains.hosts[index]), index),
            first_of.setdefault(("zone", domains.zones[index]), index),
        )
        for index, vdev in vdevs.items()
    ]


def _drop_emptied(draining: Cells, emptied: Sequence[tuple[int, int]]) -> None:
    for row, index in emptied:
        if 0 <= row < len(draining):
            draining[row][draining[row] == index] = NO_VDEV


def _call_place(
    members: Cells,
    holders: Cells,
    vdevs: Mapping[int, VdevEntry],
    domains: Domains,
    policy: Policy,
    fresh: bool,
) -> None:
    """Lay everything out by slot (= vdev_index) and let the placement work on `members`."""
    slot_count = max([*vdevs, int(_largest(members)), int(_largest(holders))], default=0) + 1
    kinds = np.zeros(slot_count, dtype=np.uint8)
    hosts = np.zeros(slot_count, dtype=np.int32)
    zones = np.zeros(slot_count, dtype=np.int32)
    for index, vdev in vdevs.items():
        kinds[index] = KIND_OF_STATE[vdev.state]
        hosts[index] = domains.hosts[index]
        zones[index] = domains.zones[index]
    staying = [
        (index, vdevs[index].weight, domains.hosts[index], domains.zones[index])
        for index in vdevs
        if kinds[index] == STAYING
    ]
    candidate_count = _candidate_count(vdevs, domains, policy)
    quotas = [
        _quota_array(staying, policy.row_count, size, slot_count)
        for size in (policy.group_size, candidate_count, min(1, candidate_count))
    ]
    place_cells(
        members,
        holders,
        kinds,
        hosts,
        zones,
        quotas[0],
        quotas[1],
        quotas[2],
        policy.copies,
        policy.group_size,
        fresh,
    )


def _largest(cells: Cells) -> int:
    """The largest index listed; -1 when all cells are empty."""
    return int(np.where(cells == NO_VDEV, -1, cells.astype(np.int32)).max())


def _quota_array(
    staying: Sequence[tuple[int, int, int, int]], row_count: int, size: int, slot_count: int
) -> npt.NDArray[np.int64]:
    quotas = np.zeros(slot_count, dtype=np.int64)
    if staying:
        for index, quota in cell_quotas(staying, row_count, size).items():
            quotas[index] = quota
    return quotas


def _close_gaps(cells: Cells) -> Cells:
    """Move empty cells to the end of each line, keeping the order of the others."""
    order = np.argsort(cells == NO_VDEV, axis=1, kind="stable")
    return np.take_along_axis(cells, order, axis=1)


def _left_over(holders: Cells, members: Cells) -> Cells:
    """Holders outside the group; oldest (already draining) first."""
    outside = holders.copy()
    for column in range(members.shape[1]):
        outside[holders == members[:, column : column + 1]] = NO_VDEV
    return _close_gaps(outside)[:, : members.shape[1]].copy()


# -- generations ------------------------------------------------------------------------------


def _stamp(
    previous: Table | None,
    cells: tuple[Cells, Cells, Cells],
    vdevs: Mapping[int, VdevEntry],
    generation: int,
) -> Rows:
    """Put `generation` on every row that changed, per kind of change."""
    members, draining, names = cells
    if previous is None:
        first = np.full(len(members), generation, dtype=np.uint64)
        since = [first, first.copy(), first.copy()]
    else:
        old = previous.rows
        moved = (members != old.members).any(axis=1) | (draining != old.draining).any(axis=1)
        old_leaders = leaders_of(old.names, previous.vdevs)
        led = leaders_of(names, vdevs) != old_leaders
        named = (names != old.names).any(axis=1) | led
        since = [
            _stamped(old.members_since, moved, generation),
            _stamped(old.names_since, named, generation),
            _stamped(old.leader_since, led, generation),
        ]
    return Rows(
        members=members,
        draining=draining,
        names=names,
        members_since=since[0],
        names_since=since[1],
        leader_since=since[2],
    )


def _stamped(since: Generations, changed: npt.NDArray[np.bool_], generation: int) -> Generations:
    return np.where(changed, np.uint64(generation), since)
