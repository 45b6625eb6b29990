"""target/names: logs that are cut and replicas that are installed, against one that never cut its log.

Three replicas apply the same entries: one keeps its whole log, one cuts it at drawn moments, one is
away and is installed from that one, while power goes at drawn steps, with or without the index. In
the end all have the same view, key by key: so each get, list and retry is answered the same; and
each version's entry can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.metrics import Counters
from replicast.target.names import base as bases
from replicast.target.names.give import Giver
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry, ranges, read_entry
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import tenure_number
from replicast.target.names.replica import RowReplica
from replicast.target.names.state import META
from replicast.wire.codec import decode, encode
from replicast.wire.name_messages import NO_VERSION, VersionId
from replicast.wire.row_messages import (
    MARK_DELETED,
    PUT,
    REFUSE,
    REMOVE_VERSION,
    RESTORED,
    AppendItem,
    InstallItem,
    RowOperation,
    RowVersion,
)

ROW, LEADER, ME = 3, 1, 2
TENURE = tenure_number(7, 1)
LIMITS = NameLimits(
    retry_window_ns=10, max_skew_ns=2, cut_entries_min=1, piece_bytes_max=900, rebuild_batch=2
)
KINDS = [PUT, PUT, PUT, MARK_DELETED, REMOVE_VERSION, REMOVE_VERSION, REFUSE, RESTORED]
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 20), st.integers(1, 9)),
    min_size=25,
    max_size=60,
)


class Healer:
    """Nobody can help."""

    def want(self, replica: RowReplica, index: int, summary: Any) -> None:
        raise AssertionError("all entries can be read")


class Row:
    """One replica and its disk."""

    def __init__(self, limits: NameLimits = LIMITS) -> None:
        self.store, self.limits = MemoryRowStore(), limits
        self.replica = RowReplica(ROW, ME, self.store, limits)

    def flush(self, count: int | None = None) -> None:
        """Make what it handed out durable, or only the first records, of which it hears nothing."""
        mark, records = self.replica.mark(), self.replica.log.records
        self.replica.log.records = []
        self.store.append(records)
        self.store.sync(count)
        if count is None:
            self.replica.stored(mark)

    def open(self, lose_index: bool = False) -> None:
        self.store.crash(lose_index)
        self.replica = RowReplica(ROW, ME, self.store, self.limits)
        self.flush()
        self.rebuild()

    def rebuild(self) -> None:
        while self.replica.rebuilding:
            assert self.replica.rebuild(self.limits.rebuild_batch) is None

    def commit(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            self.replica.log.append(entry)
        self.flush()
        self.replica.commit(self.replica.log.last.index)

    def view(self) -> dict[bytes, bytes]:
        """Less what the log may still drop, which is its own affair."""
        mine = ROW.to_bytes(4, "big") + META + b"D"
        return {k: v for k, v in self.store.values.items() if not k.startswith(mine)}

    def check_bodies(self) -> None:
        head = ROW.to_bytes(4, "big") + META
        for key, value in self.view().items():
            if not key.startswith(head):
                version = decode(RowVersion.TYPE, value)
                assert isinstance(version, RowVersion)
                entry = self.replica.log.get(version.index)
                assert entry is not None
                assert entry.operation.version == version.summary.version


def history(steps: list[tuple[int, int, int, int]]) -> list[LogEntry]:
    """Entries of a leader; a removal and a repair concern a version that is there, mostly."""
    entries: list[LogEntry] = []
    held: list[tuple[str, VersionId]] = []
    nulls: dict[str, VersionId] = {}
    time_ns = 100
    for index, (kind, name_number, passed_ns, choice) in enumerate(steps, 1):
        time_ns += 1 + passed_ns
        name, version = f"n{name_number}", VersionId(time_ns=time_ns, segment_id=1, sequence=0)
        if kind in (REMOVE_VERSION, RESTORED) and held:
            name, version = held[choice % len(held)]
            if kind == REMOVE_VERSION and choice > 2:
                held.remove((name, version))
                if nulls.get(name) == version:
                    del nulls[name]
        superseded, null = NO_VERSION, kind in (PUT, MARK_DELETED) and passed_ns % 2 == 1
        if null:
            superseded, nulls[name] = nulls.get(name, NO_VERSION), version
            if superseded != NO_VERSION:
                held.remove((name, superseded))
        if kind in (PUT, MARK_DELETED):
            held.append((name, version))
        operation = RowOperation(
            tenure=TENURE, kind=kind, reason=0, time_ns=time_ns,
            operation_id=index.to_bytes(16, "big"), tenant="t", bucket="b", bucket_incarnation=1,
            name=name, version=NO_VERSION if kind == REFUSE else version, replaces=NO_VERSION,
            null=null, superseded=superseded, logical_size=0, etag="", body_hash=b"\0",
            short_of_copies=(b"c" * 32,) if kind == PUT and choice % 2 else (),
            holders=(),
            body=bytes([index % 256]) * (50 * choice if kind == PUT else 0),
        )  # fmt: skip
        entries.append(read_entry(5, index, encode(operation)))
    return entries


def pieces(giver: RowReplica, taker: RowReplica, after_index: int) -> InstallItem:
    """The piece that a leader sends next."""
    found = Giver(LIMITS, Healer()).piece(giver, after_index)  # type: ignore[arg-type]
    assert found is not None
    entries, done = found
    return InstallItem(
        row=ROW, giver=LEADER, taker=ME, epoch=9, tenure=TENURE, open_count=taker.open_count,
        base=bases.to_wire(giver.log.base), after_index=after_index, done=done, entries=entries,
    )  # fmt: skip


def install(giver: Row, taker: Row, crash_at: int | None, lose_index: bool, torn: int) -> None:
    """Until it follows the giver's log; at one step its power goes."""
    step, after_index = 0, 0
    while taker.replica.log.last.index < giver.replica.log.base.index:
        item = pieces(giver.replica, taker.replica, after_index)
        status = taker.replica.on_install(item, 5)
        step += 1
        if step == crash_at:
            before = taker.replica.committed_index
            taker.flush(torn)
            taker.open(lose_index)
            assert lose_index or taker.replica.committed_index >= min(before, 1)
            after_index = 0
            continue
        if status is not None:
            after_index = status.acknowledged_index
            continue
        taker.flush()
        taker.replica.leader = LEADER
        told = taker.replica.take_status()
        assert told is not None
        after_index = told.acknowledged_index


def catch_up(giver: Row, taker: Row) -> None:
    log = giver.replica.log
    first = min(taker.replica.committed_index, taker.replica.log.last.index)
    previous = log.position_at(first)
    assert previous is not None
    entries = tuple(entry.wire() for entry in giver.replica.entries_after(first, 1 << 30))
    item = AppendItem(
        row=ROW, leader=LEADER, replica=ME, epoch=9, tenure=TENURE,
        open_count=taker.replica.open_count, committed_index=giver.replica.committed_index,
        previous=previous, entries=entries,
    )  # fmt: skip
    taker.replica.on_append(item, 5)
    taker.flush()
    taker.replica.on_append(replace(item, entries=()), 5)
    taker.rebuild()


@given(
    STEPS, st.integers(1, 9), st.integers(0, 12),
    st.one_of(st.none(), st.integers(1, 6)), st.booleans(), st.integers(0, 9), st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_installed__the_same_view_as_who_never_cut_its_log(
    steps: list[tuple[int, int, int, int]],
    cut_every: int,
    away_from: int,
    crash_at: int | None,
    lose_index: bool,
    torn: int,
    giver_restarts: bool,
) -> None:
    whole, cutter, away = Row(), Row(), Row()
    entries = history(steps)
    for at, entry in enumerate(entries, 1):
        whole.commit([entry])
        cutter.commit([entry])
        if at <= away_from:
            away.commit([entry])
        if at % cut_every == 0 and cutter.replica.cut(1, 1000):
            cutter.flush()
    away.store.checkpoint()
    if giver_restarts:
        cutter.open(lose_index=True)
        cutter.replica.commit(cutter.replica.log.last.index)
    assert cutter.view() == whole.view()
    cutter.check_bodies()
    install(cutter, away, crash_at, lose_index, torn)
    away.rebuild()
    catch_up(cutter, away)
    assert away.view() == whole.view()
    away.check_bodies()
    for entry in entries:
        operation_id = entry.operation.operation_id
        expected = whole.replica.state.outcome(operation_id)
        assert away.replica.state.outcome(operation_id) == expected
    again = Row()
    again.store = away.store
    again.open(lose_index=True)
    again.replica.commit(again.replica.log.last.index)
    assert again.view() == whole.view(), "made again from what it kept"


@given(STEPS, st.integers(0, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_cut__power_goes_before_or_after_it_is_durable(
    steps: list[tuple[int, int, int, int]], torn: int, lose_index: bool
) -> None:
    whole, cutter = Row(), Row()
    for entry in history(steps):
        whole.commit([entry])
        cutter.commit([entry])
        if torn % 2:
            cutter.store.checkpoint()
    cutter.replica.cut(1, 4)
    cutter.flush(torn)
    cutter.open(lose_index)
    cutter.replica.commit(cutter.replica.log.last.index)
    assert cutter.view() == whole.view()
    cutter.check_bodies()
    while cutter.replica.cut(1, 3):
        cutter.flush()
        assert cutter.view() == whole.view()
    cutter.open(lose_index=True)
    cutter.replica.commit(cutter.replica.log.last.index)
    assert cutter.view() == whole.view()
    cutter.check_bodies()


@given(st.sets(st.integers(0, 40)))
def test_ranges__say_the_same(indices: set[int]) -> None:
    made = ranges(tuple(sorted(indices)))
    assert {i for first, last in made for i in range(first, last + 1)} == indices
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(made))


@pytest.mark.parametrize("name", ["row_cuts", "row_installs"])
def test_metrics__are_declared(name: str) -> None:
    assert Counters().get(name) == 0
