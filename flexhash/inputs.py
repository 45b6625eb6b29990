"""From the frozen inputs of a generation to its table: pure, the same at every voter.

The state machine keeps wire records; the builder wants table entries. Row edits are
judged here, against the table before: one whose row has moved since its submitter
looked, or that does not come from the row's acting leader, is dropped (DESIGN 9).
"""

from __future__ import annotations

from replicast.flexhash.build import build
from replicast.flexhash.commands import EditKind
from replicast.flexhash.entries import (
    Policy,
    RowChange,
    RowChangeKind,
    TargetEntry,
    VdevEntry,
    VdevState,
)
from replicast.flexhash.table import Table
from replicast.wire import control_messages as cm


def build_table(previous: Table | None, inputs: cm.InputsInfo, policy: cm.PolicyInfo) -> Table:
    """The table of `inputs`; raises TableError when they cannot be one."""
    return build(
        previous,
        [target_entry(t) for t in inputs.targets],
        [vdev_entry(v) for v in inputs.vdevs],
        Policy(
            row_count=policy.row_count,
            group_size=policy.group_size,
            copies=policy.copies,
            min_copies=policy.min_copies,
            algorithm=policy.algorithm,
        ),
        row_changes(previous, inputs.edits),
        inputs.generation,
        emptied=emptied_rows(previous, inputs.emptied),
        damaged=inputs.damaged,
    )


def row_changes(previous: Table | None, edits: tuple[cm.RowEdit, ...]) -> list[RowChange]:
    """The edits that still hold, in the order in which the log had them."""
    if previous is None:
        return []
    changes = []
    for edit in edits:
        since = previous.names_since(edit.row)
        if since > edit.seen or previous.row_leader(edit.row) != edit.by:
            continue
        if edit.kind == EditKind.REMOVE and edit.vdev == edit.by:
            continue  # the acting leader stays; being down is what moves leadership
        changes.append(RowChange(edit.row, edit.vdev, RowChangeKind(edit.kind), since))
    return changes


def emptied_rows(previous: Table | None, edits: tuple[cm.RowEdit, ...]) -> list[tuple[int, int]]:
    """Draining VDEVs that reported a row empty in a generation in which they drained it."""
    if previous is None:
        return []
    return [(e.row, e.vdev) for e in edits if previous.members_since(e.row) <= e.seen]


def target_entry(info: cm.TargetInfo) -> TargetEntry:
    """The table's entry of a target."""
    return TargetEntry(
        node_id=info.node_id,
        name=info.name,
        host=info.host,
        zone=info.zone,
        udp=(info.udp.host, info.udp.port),
        peer=(info.peer.host, info.peer.port),
        control=(info.control.host, info.control.port),
        public_key=info.public_key,
        metrics=(info.metrics.host, info.metrics.port),
    )


def target_info(entry: TargetEntry, vdev_count: int) -> cm.TargetInfo:
    """The record with which a target joins."""
    return cm.TargetInfo(
        node_id=entry.node_id,
        name=entry.name,
        host=entry.host,
        zone=entry.zone,
        udp=cm.Place(host=entry.udp[0], port=entry.udp[1]),
        peer=cm.Place(host=entry.peer[0], port=entry.peer[1]),
        control=cm.Place(host=entry.control[0], port=entry.control[1]),
        metrics=cm.Place(host=entry.metrics[0], port=entry.metrics[1]),
        public_key=entry.public_key,
        vdev_count=vdev_count,
    )


def vdev_entry(info: cm.VdevInfo) -> VdevEntry:
    """The table's entry of a VDEV."""
    return VdevEntry(
        index=info.index,
        vdev_id=info.vdev_id,
        target=info.target,
        weight=info.weight,
        state=VdevState(info.state),
        open_count=info.open_count,
    )
