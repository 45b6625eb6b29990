"""Power losses at any moment: what was acknowledged is there, nothing else is made up.

The machine drives one VDEV on a disk that keeps, loses or tears every unsynced block,
with segments small enough to be left often, and compares with a model after each open.
Power is lost between any two operations of the disk (in a flush, while a segment is
made, in a checkpoint, in recovery), or the disk fails and only the process starts again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replicast.hashing import content_hash
from replicast.memory_disk import MemoryDisk, no_fault
from replicast.target.store import index, recovery
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome, VdevError, VdevStatus
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import Changes, MemoryCheckpoint
from replicast.target.store.record import (
    Chunk,
    ChunkDrop,
    Hold,
    Record,
    RowCut,
    RowEntry,
    RowStaged,
    RowTruncate,
    RowUnstage,
)

CLUSTER = b"cluster-16-bytes"
SEEDS = st.integers(0, 1 << 32)
SIZES = (0, 1, 100, 3000, 5000, 33_000, 70_000)
INDEX_MAX = index.INDEX_MAX
RowLog = dict[int, tuple[int, bytes]]
RowFacts = tuple[RowLog, bytes | None, RowLog]  # log, base, staged


class Failing:
    """A fault: from some operation on all (of a name) fail, so nothing later has happened."""

    def __init__(self, after: int, name: str = "") -> None:
        self.left, self.name = after, name

    def __call__(self, operation: str, path: Path) -> None:
        if self.name in operation:
            self.left -= 1
        if self.left < 0 and self.name in operation:
            raise OSError(errno.EIO, "injected")


class CutCheckpoint(MemoryCheckpoint):
    """Its commits can fail, before or after all of it became durable."""

    fails = ""

    def commit(self, changes: Changes) -> None:
        if self.fails != "before":
            super().commit(changes)
        if self.fails:
            raise OSError(errno.EIO, "injected")


class RowModel:
    """One row: what its acknowledged records made of it, and those in flight in order."""

    def __init__(self) -> None:
        self.durable: RowFacts = ({}, None, {})
        self.pending: list[Record] = []

    def possible(self) -> list[RowFacts]:
        """The durable state, and that with each prefix of what is in flight."""
        states = [self.durable]
        for record in self.pending:
            states.append(applied(states[-1], record))
        return states


def applied(state: RowFacts, record: Record) -> RowFacts:
    log, text, staged = dict(state[0]), state[1], dict(state[2])
    match record:
        case RowEntry(_, epoch, index, body):
            log[index] = (epoch, body)
        case RowTruncate(_, from_index):
            log = {i: entry for i, entry in log.items() if i < from_index}
        case RowCut(_, _, dropped, text, installs):
            log = {i: e for i, e in log.items() if not any(a <= i <= b for a, b in dropped)}
            if installs:
                log, staged = dict(sorted((log | staged).items())), {}
        case RowStaged(_, epoch, index, body):
            staged[index] = (epoch, body)
        case RowUnstage(_):
            staged = {}
    return log, text, staged


class StoreMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = MemoryDisk()
        self.checkpoint = CutCheckpoint()
        self.failing = False  # submissions may be told FAULTED
        self.commit_every = recovery.COMMIT_EVERY
        recovery.COMMIT_EVERY = 5
        self.now_ns = 0
        self.rows = {row: RowModel() for row in (0, 7, 0xFFFFFFFF)}
        self.chunks: dict[bytes, bytes] = {}  # acknowledged
        self.offered: dict[bytes, bytes] = {}  # ever submitted
        self.unsure: dict[bytes, bool] = {}  # a drop or a store of it is in flight
        self.holds: dict[bytes, int] = {}
        self.opens = 0
        MemoryVdev.format(self.disk, CLUSTER, self.rng)
        self.open()

    def teardown(self) -> None:
        recovery.COMMIT_EVERY = self.commit_every

    def open(self) -> None:
        self.vdev = MemoryVdev.open(self.disk, self.checkpoint, CLUSTER)
        self.vdev._core.segment_bytes_min = 128 << 10
        self.opens += 1
        assert self.vdev.status == VdevStatus.OK, self.vdev.damage
        assert self.vdev.open_count >= self.opens
        self.compare()

    def done(self, outcomes: Outcomes) -> None:
        for token, outcome in outcomes:
            if self.failing and outcome == Outcome.FAULTED:
                continue  # it may be there after the next open, or not
            assert outcome == Outcome.STORED
            assert isinstance(token, list)
            for record in token:
                self.acknowledge(record)

    def acknowledge(self, record: Record) -> None:
        match record:
            case Chunk(chid, _, payload, until_ns):
                self.chunks[chid] = bytes(payload)
                self.unsure.pop(chid, None)
                self.holds[chid] = max(until_ns, self.holds.get(chid, 0))
            case ChunkDrop(chid):
                self.chunks.pop(chid, None)
                self.unsure.pop(chid, None)
            case Hold(chid, until_ns):
                self.holds[chid] = max(until_ns, self.holds.get(chid, 0))
            case _:
                model = self.rows[record.row]
                assert model.pending.pop(0) is record
                model.durable = applied(model.durable, record)

    def submit(self, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, (Chunk, ChunkDrop)):
                self.unsure[record.chid] = True
            elif not isinstance(record, Hold):
                self.rows[record.row].pending.append(record)
        self.vdev.submit(records, records, self.done)

    @rule(sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=4), until=st.integers(0, 9))
    def put_chunks(self, sizes: list[int], until: int) -> None:
        for size in sizes:
            payload = self.rng.randbytes(size)
            chid = content_hash(1, payload)
            self.offered[chid] = payload
            self.submit([Chunk(chid, 1, payload, until)])

    @rule()
    def put_bytes_that_look_like_records(self) -> None:
        names = self.disk.list(PATH / "log")
        if not names:
            return
        file = self.disk.open(PATH / "log" / self.rng.choice(names))
        payload = file.read(self.rng.randrange(16) * 4096, 40_960)
        chid = content_hash(1, payload)
        self.offered[chid] = payload
        self.submit([Chunk(chid, 1, payload)])

    @rule()
    def drop_or_put_again(self) -> None:
        if self.chunks:
            chid = self.rng.choice(sorted(self.chunks))
            if self.rng.random() < 0.5:
                self.submit([ChunkDrop(chid)])
            else:
                self.submit([Chunk(chid, 1, self.offered[chid]), Hold(chid, 5)])

    @rule(row=st.sampled_from([0, 7, 0xFFFFFFFF]), size=st.sampled_from([0, 10, 5000]))
    def row_entries(self, row: int, size: int) -> None:
        first = self.rng.randrange(6)
        self.submit(
            [
                RowEntry(row, self.rng.randrange(9), first + i, self.rng.randbytes(size))
                for i in (0, 1)
            ]
        )

    @rule(row=st.sampled_from([0, 7, 0xFFFFFFFF]), at=st.integers(0, 7), what=st.integers(0, 5))
    def row_changes(self, row: int, at: int, what: int) -> None:
        kinds: list[Record] = [
            RowTruncate(row, at),
            RowCut(row, at, ((0, at), (at + 2, at + 2)), self.rng.randbytes(at)),
            RowCut(row, at, ((at, INDEX_MAX),), self.rng.randbytes(at), installs=True),
            RowStaged(row, self.rng.randrange(9), at, self.rng.randbytes(at * 700)),
            RowUnstage(row),
            RowStaged(row, self.rng.randrange(9), at + 8, self.rng.randbytes(at)),
        ]
        self.submit([kinds[what]])

    @rule()
    def flush(self) -> None:
        self.now_ns = self.vdev.run_all(self.now_ns)

    @rule()
    def step(self) -> None:
        """Begin a flush, or end one and begin the next: a crash may come in between."""
        self.now_ns = max(self.now_ns, self.vdev.deadline_ns() or 0)
        self.vdev.step(self.now_ns)

    @rule()
    def make_checkpoint(self) -> None:
        assert self.vdev._engine.checkpoint()

    @rule()
    def checkpoint_while_a_flush_ends(self) -> None:
        engine = self.vdev._engine
        with engine.kv.lock:
            engine.kv.put(index.POSITION, engine.core.position.pack())
            engine.kv.freeze()
        self.flush()
        engine.kv.commit()

    @rule(fails=st.sampled_from(["before", "after"]), seed=SEEDS)
    def power_loss_in_a_checkpoint(self, fails: str, seed: int) -> None:
        self.checkpoint.fails = fails
        self.vdev._engine.checkpoint()
        self.checkpoint.fails = ""
        self.power_loss(seed)

    @rule(seed=SEEDS)
    def power_loss(self, seed: int) -> None:
        self.vdev.crash(random.Random(seed))
        self.open()

    @rule(
        fault=st.builds(Failing, st.integers(0, 12)) | st.just("sync"),
        seed=SEEDS,
        power_lost=st.booleans(),
    )
    def disk_fails(self, fault: Failing | str, seed: int, power_lost: bool) -> None:
        """In a flush or in making a segment; the kernel and its cache may survive it."""
        self.disk.fault = Failing(0, fault) if isinstance(fault, str) else fault
        self.failing = True
        self.flush()
        self.disk.fault, self.failing = no_fault, False
        if power_lost:
            return self.power_loss(seed)
        self.vdev.close()
        return self.open()

    @rule(after=st.integers(0, 40), seed=SEEDS, index_lost=st.booleans())
    def open_cut_short(self, after: int, seed: int, index_lost: bool) -> None:
        rng = random.Random(seed)
        self.vdev.crash(rng)
        if index_lost:
            self.checkpoint = CutCheckpoint()
        self.disk.fault = Failing(after)
        with contextlib.suppress(VdevError):
            MemoryVdev.open(self.disk, self.checkpoint, CLUSTER)
        self.disk.fault = no_fault
        self.disk.power_loss(rng)
        self.open()

    @rule()
    def index_lost(self) -> None:
        self.vdev.close()
        self.checkpoint = CutCheckpoint()
        self.open()

    @rule()
    def close_and_open(self) -> None:
        self.vdev.close()
        self.open()

    @invariant()
    def reads_are_right(self) -> None:
        for chid, payload in list(self.chunks.items())[-3:]:
            if chid not in self.unsure:
                assert self.vdev.read_chunk(chid) == payload

    def compare(self) -> None:
        """After an open: the model takes over what survived of the things in flight."""
        stored = {info.chid: info for info in self.vdev.iterate_chunks(limit=1 << 20)}
        for chid in stored:
            assert chid in self.offered, "a chunk that nobody stored"
            assert chid in self.chunks or chid in self.unsure
            assert self.vdev.read_chunk(chid) == self.offered[chid]
        for chid in self.chunks:
            assert chid in stored or chid in self.unsure, "an acknowledged chunk is lost"
        self.chunks = {chid: self.offered[chid] for chid in stored}
        self.unsure.clear()
        for chid, until_ns in self.holds.items():
            assert self.vdev.hold_until(chid) >= until_ns
        for row, model in self.rows.items():
            entries = self.vdev.row_log(row)
            log = {e.index: (e.epoch, self.vdev.read_entry(e)) for e in entries}
            assert list(log) == sorted(log)
            beside = index.staged_entries(self.vdev._engine.kv, row)
            staged = {e.index: (e.epoch, self.vdev.read_entry(e)) for e in beside}
            state = (log, self.vdev.row_base(row), staged)
            assert state in model.possible()
            model.durable, model.pending = state, []
        touched = [r for r, m in self.rows.items() if m.durable[0] or m.durable[1] is not None]
        assert list(self.vdev.rows()) == sorted(touched)


TestStoreMachine = StoreMachine.TestCase
EXAMPLES = int(os.environ.get("STORE_EXAMPLES", "60"))
TestStoreMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
