"""The in-sync sets of name replicas: what changes them, and nothing else does.

    gone      VDEVs that are OUT leave every set, but a set never loses its last replica so
    damaged   VDEVs that lost their log leave every set, even as the last
    stopping  VDEVs whose target is about to stop leave every set that keeps min_copies and one
              that is UP: so no write has to wait for them, neither before they go nor after.
              Rows that they lead go to the first candidate that can lead: who came back lately is
              last in each set, and would lead nothing while one of the others leads everything
    changes   a leader's ADD appends, REMOVE takes out, while the row is where the leader
              thought (names_since) and never below min_copies; LEAD moves one that is UP to
              the front
    trim      once every candidate of a row is in sync and UP, the others leave

Order is order of addition, so leadership never jumps because somebody joined:
the first UP replica leads, and one that returns from DOWN leads again. Planned moves
(balance.py) bring one that was removed and added again back to the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replicast.flexhash.entries import (
    NO_VDEV,
    Policy,
    RowChange,
    RowChangeKind,
    VdevEntry,
    VdevState,
)
from replicast.flexhash.table import Cells, Generations

# STOPPING: who asked for an addition waits until a table shows it. The next one undoes it.
SERVING = (VdevState.UP, VdevState.DOWN, VdevState.STOPPING)


@dataclass(frozen=True, slots=True)
class NameInputs:
    """What decides the next sets: the new candidates, VDEVs and policy, and the requests."""

    candidates: Cells
    vdevs: Mapping[int, VdevEntry]
    policy: Policy
    changes: Sequence[RowChange]
    damaged: Sequence[int]


def first_name_sets(inputs: NameInputs, width: int) -> Cells:
    """The sets of a new cluster: no row has a record yet, so its candidates are in sync."""
    names = np.full((len(inputs.candidates), width), NO_VDEV, dtype=np.uint16)
    names[:, : inputs.candidates.shape[1]] = inputs.candidates
    return names


def next_name_sets(names: Cells, names_since: Generations, inputs: NameInputs) -> Cells:
    """The sets after `inputs`; `names` and `names_since` are those of the previous table."""
    changed = names.copy()
    gone = [
        index
        for index in np.unique(names).tolist()
        if index != NO_VDEV
        and (index not in inputs.vdevs or inputs.vdevs[index].state == VdevState.OUT)
    ]
    _remove_everywhere(changed, gone, spare_last=True)
    unknown = [index for index in gone if index not in inputs.vdevs]
    _remove_everywhere(changed, [*unknown, *inputs.damaged], spare_last=False)
    _remove_stopping(changed, inputs)
    for change in inputs.changes:
        if 0 <= change.row < len(names) and change.names_since == names_since[change.row]:
            _apply(changed, change, inputs)
    _trim(changed, inputs)
    return changed


def _remove_everywhere(names: Cells, indexes: Sequence[int], *, spare_last: bool) -> None:
    if not indexes:
        return
    leaving = np.zeros(NO_VDEV + 1, dtype=np.bool_)
    leaving[list(indexes)] = True
    for row in np.flatnonzero(leaving[names].any(axis=1)).tolist():
        left = [index for index in _set(names, row) if not leaving[index]]
        if left or not spare_last:
            _write(names, row, left)


def _remove_stopping(names: Cells, inputs: NameInputs) -> None:
    leaving = np.zeros(NO_VDEV + 1, dtype=np.bool_)
    leaving[[i for i, vdev in inputs.vdevs.items() if vdev.state == VdevState.STOPPING]] = True
    for row in np.flatnonzero(leaving[names].any(axis=1)).tolist():
        replicas = _set(names, row)
        leads = next((i for i in replicas if leaving[i] or _is_up(inputs, i)), NO_VDEV)
        for index in [index for index in replicas if leaving[index]]:
            left = [other for other in replicas if other != index]
            if len(left) >= inputs.policy.min_copies and any(_is_up(inputs, i) for i in left):
                replicas = left
        if leaving[leads]:
            first = _first_able(inputs, row, replicas)
            replicas = [*first, *(index for index in replicas if index not in first)]
        _write(names, row, replicas)


def _first_able(inputs: NameInputs, row: int, replicas: Sequence[int]) -> list[int]:
    """The first candidate that can lead; empty when none can."""
    able = [i for i in inputs.candidates[row].tolist() if i in replicas and _is_up(inputs, i)]
    return able[:1]


def _apply(names: Cells, change: RowChange, inputs: NameInputs) -> None:
    replicas = _set(names, change.row)
    index = change.vdev_index
    if change.kind == RowChangeKind.ADD:
        vdev = inputs.vdevs.get(index)
        may_serve = vdev is not None and vdev.state in SERVING
        if may_serve and index not in replicas and len(replicas) < names.shape[1]:
            _write(names, change.row, [*replicas, index])
    elif change.kind == RowChangeKind.LEAD:
        if index in replicas and _is_up(inputs, index):
            _write(names, change.row, [index, *(other for other in replicas if other != index)])
    elif index in replicas and len(replicas) > inputs.policy.min_copies:
        _write(names, change.row, [other for other in replicas if other != index])


def _trim(names: Cells, inputs: NameInputs) -> None:
    wanted = inputs.candidates.shape[1]
    if not inputs.policy.min_copies <= wanted < names.shape[1]:
        return
    for row in np.flatnonzero(names[:, wanted] != NO_VDEV).tolist():
        replicas = _set(names, row)
        candidates = inputs.candidates[row].tolist()
        if all(index in replicas and _is_up(inputs, index) for index in candidates):
            _write(names, row, [index for index in replicas if index in candidates])


def _is_up(inputs: NameInputs, index: int) -> bool:
    return inputs.vdevs[index].state == VdevState.UP


def _set(names: Cells, row: int) -> list[int]:
    return [index for index in names[row].tolist() if index != NO_VDEV]


def _write(names: Cells, row: int, replicas: Sequence[int]) -> None:
    names[row] = NO_VDEV
    names[row, : len(replicas)] = replicas
