"""Planted bugs in how rows order, replicate and answer: C1 to C4 of names (canaries.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.table import Table
from replicast.target.names import operations
from replicast.target.names.context import RowContext
from replicast.target.names.fence import Fence
from replicast.target.names.leader import Leadership, Phase
from replicast.target.names.replica import RowReplica
from replicast.target.names.undecided import Undecided
from replicast.wire.name_messages import VersionId

NOTHING = 99  # a kind of operation that no state machine knows


def commit_alone(patch: pytest.MonkeyPatch) -> None:
    """C1: a leader commits what is durable on its own copy."""

    def own(self: RowContext, row: int) -> tuple[int, ...]:
        assert self.table is not None
        leader = self.table.row_leader(row)
        return () if leader is None else (leader,)

    patch.setattr(RowContext, "required", own)


def one_replica_short(patch: pytest.MonkeyPatch) -> None:
    """C1: an entry is committed when all replicas but one have it, and answered as if all had."""
    required = RowContext.required

    def fewer(self: RowContext, row: int) -> tuple[int, ...]:
        return required(self, row)[:-1]

    patch.setattr(RowContext, "required", fewer)


def catch_up_skips_an_entry(patch: pytest.MonkeyPatch) -> None:
    """Every seventh entry that a replica hears of is kept and not carried out."""

    def apply(self: RowReplica) -> None:
        target = min(self.committed_index, self.log.durable_index)
        while self.state.applied.index < target:
            entry = self.log.get(self.state.applied.index + 1)
            assert entry is not None
            operation = entry.operation
            if self.leader not in (None, self.vdev_index) and entry.position.index % 7 == 0:
                operation = replace(operation, kind=NOTHING)
            self.state.apply(entry.position, operation)
        self.log.trim(self.state.applied)

    patch.setattr(RowReplica, "apply", apply)


def no_fence_for_new_leaders(patch: pytest.MonkeyPatch) -> None:
    """A new leader does not wait until everybody who may still act has its table."""

    look_up = Fence._look_up

    def at_once(self: Fence, table: Table | None) -> None:
        look_up(self, table)
        self._since = 0

    patch.setattr(Fence, "_look_up", at_once)


def repeat_carried_out_again(patch: pytest.MonkeyPatch) -> None:
    """C4: a repeat that comes while the first is under way is carried out, too."""
    patch.setattr(Undecided, "of_operation", lambda self, operation_id: None)


def conditions_ignored(patch: pytest.MonkeyPatch) -> None:
    """C3: a write is carried out whether its condition holds or not."""
    patch.setattr(operations, "holds", lambda *_: True)


def reads_before_taken_over(patch: pytest.MonkeyPatch) -> None:
    """C3: a new leader answers reads before it knows what is committed."""
    patch.setattr(Leadership, "readable", property(lambda self: self.phase is not Phase.WAITING))


def versions_by_time_of_day(patch: pytest.MonkeyPatch) -> None:
    """A version gets the time of day, whatever the row's log holds already."""

    def next_version(self: Leadership, now_ns: int) -> VersionId:
        time_ns = self._context.wall_ns(now_ns)
        return VersionId(time_ns=time_ns, segment_id=self._context.segment_id, sequence=0)

    patch.setattr(Leadership, "next_version", next_version)


def promises_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A replica takes entries of any leader, also of one that was followed by another."""

    def promise(self: RowReplica, tenure: Any, leader: int, epoch_floor: int) -> bool:
        if tenure != self.promised:
            self.promised, self.leader = tenure, leader
            self._verified_index = self.committed_index
        return True

    patch.setattr(RowReplica, "_promise", promise)
