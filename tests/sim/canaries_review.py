"""Planted bugs after the interleavings that a review of the design found (docs/simulation.md)."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.flexhash.lease import LEASE_NS, LeaseGranter
from replicast.flexhash.steward import Steward
from replicast.machine import Incoming
from replicast.target.names.base import Base
from replicast.target.names.leader import Leadership
from replicast.target.names.replica import RowReplica
from replicast.target.names.requests import Judge
from replicast.target.names.state import RowState, summary_of
from replicast.target.names.undecided import Undecided
from replicast.target.store import index
from replicast.target.store.recovery import Recovery
from replicast.units import MS
from replicast.wire.name_messages import NO_VERSION
from replicast.wire.row_messages import MARK_DELETED, PUT, RowVersion

from .canaries_names import no_fence_for_new_leaders

SHORT_MEMORY_NS = 50 * MS


def prepared_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """A new leader does not complete what was prepared: it goes on from what it knows to be
    committed, and the others follow."""
    lead = Leadership._lead

    def start_over(self: Leadership, now_ns: int) -> None:
        log = self.replica.log
        if log.last.index > self.replica.committed_index:
            log.truncate(self.replica.committed_index + 1)
        lead(self, now_ns)

    patch.setattr(Leadership, "_lead", start_over)


def answers_lost_on_fail_over(patch: pytest.MonkeyPatch) -> None:
    """C4: only who ordered an operation remembers its answer, and only while it leads."""
    ordered: dict[bytes, Leadership] = {}
    asking: list[Leadership] = []
    order, write, outcome = Leadership.order, Judge._write, RowState.outcome

    def note(self: Leadership, operation: Any, incoming: Incoming) -> None:
        ordered[operation.operation_id] = self
        order(self, operation, incoming)

    def ask(self: Judge, lead: Leadership, incoming: Incoming, *more: Any) -> None:
        asking[:] = [lead]
        write(self, lead, incoming, *more)

    def remember(self: RowState, operation_id: bytes) -> Any:
        known = ordered.get(operation_id) is asking[0]
        return outcome(self, operation_id) if known else None

    patch.setattr(Leadership, "order", note)
    patch.setattr(Judge, "_write", ask)
    patch.setattr(RowState, "outcome", remember)


def answers_kept_too_short(patch: pytest.MonkeyPatch) -> None:
    """C4: an answer is forgotten while its operation may still be repeated."""
    make = RowState.__init__

    def forgetful(self: RowState, row: int, view: Any, retention_ns: int, base: Base) -> None:
        make(self, row, view, SHORT_MEMORY_NS, base)

    patch.setattr(RowState, "__init__", forgetful)


def reads_of_undecided(patch: pytest.MonkeyPatch) -> None:
    """C3: a read shows what was ordered and is not committed yet."""
    version, get = RowState.version, Judge._get
    reading: list[Undecided] = []

    def note(self: Judge, lead: Leadership, incoming: Incoming, request: Any) -> Any:
        reading[:] = [lead.undecided]
        return get(self, lead, incoming, request)

    def newest(self: RowState, prefix: bytes, wanted: Any) -> Any:
        indexes = reading[0]._names.get(prefix) if reading else None
        ordered = [(i, reading[0].entries[i].entry.operation) for i in indexes or ()]
        made = [pair for pair in ordered if pair[1].kind in (PUT, MARK_DELETED)]
        if made and wanted == NO_VERSION:
            index, operation = made[-1]
            return RowVersion(index=index, restored_index=0, summary=summary_of(operation))
        return version(self, prefix, wanted)

    patch.setattr(Judge, "_get", note)
    patch.setattr(RowState, "version", newest)


def conditions_on_committed_only(patch: pytest.MonkeyPatch) -> None:
    """C3: a condition is checked against what is committed, not what is ordered before it."""

    def newest(self: Undecided, prefix: bytes) -> Any:
        found = next(self._state.versions(prefix, 1), None)
        return None if found is None else found.summary

    patch.setattr(Undecided, "newest", newest)


def restarted_replica_keeps_its_place(patch: pytest.MonkeyPatch) -> None:
    """A replica that was restarted acknowledges what comes, whatever it lost on the way."""

    def accept(self: RowReplica, item: Any, epoch_floor: int) -> Any:
        self.open_count = item.open_count
        return on_append(self, item, epoch_floor)

    on_append = RowReplica.on_append
    patch.setattr(RowReplica, "on_append", accept)


def damage_passes_for_a_torn_tail(patch: pytest.MonkeyPatch) -> None:
    """C2: a log that cannot be read to its end is cut there, and nobody is told."""
    patch.setattr(Recovery, "_damaged", lambda self, what: None)
    patch.setattr(index, "note_damage", lambda kv, what: None)


def hole_passes_for_the_end(patch: pytest.MonkeyPatch) -> None:
    """C1: what stands behind an entry that cannot be read is nothing, says a new leader alone."""
    patch.setattr(Leadership, "_all_heard", True)


def grant_without_proof(patch: pytest.MonkeyPatch) -> None:
    """A Raft leader grants leases from when it is asked, not from when it was last known to lead."""
    renew = LeaseGranter.renew

    def generous(self: LeaseGranter, node_id: int, m: Any, now_ns: int, run_to_ns: int = 0) -> Any:
        return renew(self, node_id, m, now_ns, now_ns and LEASE_NS)

    patch.setattr(LeaseGranter, "renew", generous)


def no_fence_and_no_wait(patch: pytest.MonkeyPatch) -> None:
    """A table is current before everybody who may act has acknowledged it, and a new leader does
    not wait for them either: one of the two keeps a deaf old leader from answering beside it."""
    patch.setattr(Steward, "_all_acked", lambda self, now_ns: True)
    no_fence_for_new_leaders(patch)
