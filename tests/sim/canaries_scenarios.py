"""Planted bugs after the other scenarios of the review: replicas that are added, disks that hang or
are full, holders that are down, answers to another put (docs/simulation.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash import inputs, state
from replicast.flexhash.commands import EditKind
from replicast.flexhash.entries import RowChange, RowChangeKind
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.gateway import get
from replicast.gateway.chunks import ChunkExchange
from replicast.gateway.get import GetChunk
from replicast.gateway.query_round import QueryRound
from replicast.gateway.small_put import SmallPut
from replicast.machine import Incoming
from replicast.sim.vdev import SimVdev
from replicast.target.names import vdev_store
from replicast.target.put import PutResponder
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import Outcome
from replicast.target.vdevs import ChunkView
from replicast.wire import control_messages as cm
from replicast.wire.chunk_messages import HELD, ChunkStored

from .canaries_names import promises_forgotten
from .canaries_review import no_fence_and_no_wait


def stale_addition_counts(patch: pytest.MonkeyPatch) -> None:
    """C1: a replica joins a row whoever leads it by now, and whichever life asked for it."""
    judge, change = inputs.row_changes, ControlState._rows_change

    def any_life(self: ControlState, m: cm.RowsChange) -> Any:
        by = self.vdevs.get(m.by)
        return change(self, m if by is None else replace(m, by_open_count=by.open_count))

    def any_leader(previous: Table | None, edits: tuple[cm.RowEdit, ...]) -> list[RowChange]:
        found = judge(previous, edits)
        judged = dict.fromkeys((each.row, each.vdev_index) for each in found)
        for edit in edits if previous is not None else ():
            assert previous is not None
            if edit.kind == EditKind.ADD and (edit.row, edit.vdev) not in judged:
                since = previous.names_since(edit.row)
                found.append(RowChange(edit.row, edit.vdev, RowChangeKind.ADD, since))
        return found

    patch.setitem(state.HANDLERS, cm.RowsChange, any_life)
    patch.setattr(inputs, "row_changes", any_leader)


def promises_and_fences_forgotten(patch: pytest.MonkeyPatch) -> None:
    """C3: a replica takes entries of any leader, and a deaf old leader is not waited for: the fence
    alone keeps it from sending what a forgotten promise would let pass."""
    promises_forgotten(patch)
    no_fence_and_no_wait(patch)


def hung_disk_vouched_for(patch: pytest.MonkeyPatch) -> None:
    """A target goes on vouching for a VDEV whose flush hangs."""
    patch.setattr(SimVdev, "vouch", lambda self, now_ns: self._core.writable)


def vouched_for_no_more(patch: pytest.MonkeyPatch) -> None:
    """A VDEV that hung is not vouched for any more when its disk goes on."""
    vouch = SimVdev.vouch
    hung: list[SimVdev] = []

    def remember(self: SimVdev, now_ns: int) -> bool:
        if not vouch(self, now_ns):
            hung.append(self)
        return not any(each is self for each in hung)

    patch.setattr(SimVdev, "vouch", remember)


def full_for_good(patch: pytest.MonkeyPatch) -> None:
    """A VDEV that was full does not see that there is room again."""
    measure = StoreEngine.measure

    def only_less(self: StoreEngine) -> None:
        before_bytes = self.core.space.free_bytes
        measure(self)
        self.core.space.change(free_bytes=min(before_bytes, self.core.space.free_bytes))

    patch.setattr(StoreEngine, "measure", only_less)


def full_taken_for_failed(patch: pytest.MonkeyPatch) -> None:
    """A VDEV that has no room for an entry is given up, as if its disk had failed."""
    patch.setattr(vdev_store, "AGAIN", (Outcome.BUSY,))


def miss_without_proof(patch: pytest.MonkeyPatch) -> None:
    """C5: a chunk is lost as soon as nobody has it of those who answered, whoever else is down."""
    choose = GetChunk._choose

    def conclude(self: GetChunk, now_ns: int) -> None:
        choose(self, now_ns)
        asked = self._round
        if self._ended or self._on_time() or self._hits or asked is None:
            return
        if asked.all_in(self._table, self._context.stats, now_ns):
            self._conclude_round(asked, now_ns)

    patch.setattr(GetChunk, "_choose", conclude)
    patch.setattr(QueryRound, "lost", lambda self, table: any(self.answers.values()))
    patch.setattr(get, "MISS_ROUNDS", 1)


def stored_of_another_put(patch: pytest.MonkeyPatch) -> None:
    """C1: a CHUNK_STORED counts for every put that waits for that VDEV, whichever it answers."""
    receive = ChunkExchange.receive

    def count(self: ChunkExchange, incoming: Incoming, now_ns: int) -> None:
        m = incoming.message
        if not isinstance(m, ChunkStored):
            return receive(self, incoming, now_ns)
        for core in list(self._cores.values()):
            if not isinstance(core, GetChunk):
                put = core._negotiation or core if isinstance(core, SmallPut) else core
                attempt: bytes = getattr(put, "_attempt_id", b"")
                told = replace(m, chid=core._job.chid)
                receive(self, replace(incoming, operation_id=attempt, message=told), now_ns)
        return None

    patch.setattr(ChunkExchange, "receive", count)


def hit_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """C1: a chunk that another put is bringing counts as held, before it has come and is durable."""
    look, bids = ChunkView.__init__, PutResponder._bids
    sort, hold = PutResponder._sort_vdevs, PutResponder._hold
    coming: list[object] = []  # VDEVs to which the chunk in question is on its way

    def note(self: PutResponder, chid: bytes) -> None:
        puts = [put for put in self._puts.values() if put.chid == chid]
        vdevs: Iterable[int] = (v for put in puts for v in (*put.vdevs, *put.pending))
        coming[:] = [self._admission.vdevs[v] for v in vdevs]

    def bid(self: PutResponder, incoming: Incoming, mine: Any, m: Any, now_ns: int) -> Any:
        note(self, m.chid)
        made = bids(self, incoming, mine, m, now_ns)
        coming.clear()
        return made

    def sort_early(self: PutResponder, put: Any, named: Any, mine: Any, holders: Any) -> None:
        note(self, put.chid)
        sort(self, put, named, mine, holders)
        coming.clear()

    def hold_at_once(self: PutResponder, put: Any, vdev_index: int) -> None:
        view = self._admission.vdevs[vdev_index]
        assert isinstance(view, ChunkView)
        if view.vdev.has(put.chid):
            hold(self, put, vdev_index)
        else:
            self._count_stored(put, vdev_index, HELD, put.started_ns)

    def look_ahead(self: ChunkView, vdev: Any) -> None:
        look(self, vdev)
        self.has = lambda chid: vdev.has(chid) or self in coming

    patch.setattr(ChunkView, "__init__", look_ahead)
    patch.setattr(PutResponder, "_bids", bid)
    patch.setattr(PutResponder, "_sort_vdevs", sort_early)
    patch.setattr(PutResponder, "_hold", hold_at_once)
