"""Opening a log that is long, damaged, newer, or whose opening is cut short itself."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from replicast.disk import File
from replicast.hashing import HashAlgorithm, content_hash
from replicast.memory_disk import MemoryDisk, no_fault
from replicast.target.store import core as core_module
from replicast.target.store import engine as engine_module
from replicast.target.store import flush_pure
from replicast.target.store import recovery as recovery_module
from replicast.target.store import segment as segment_module
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import (
    BadVersion,
    Outcome,
    RecordClass,
    VdevError,
    VdevStatus,
)
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import Changes, CheckpointFull, MemoryCheckpoint, Page
from replicast.target.store.record import Chunk, Record, RowCut, RowEntry, RowUnstage
from replicast.target.store.segment import BLOCK_BYTES, segment_name

CLUSTER = b"cluster-16-bytes"
FIRST = PATH / "log" / segment_name(1)


class Bench:
    """A VDEV on a disk; reopen() is a power loss with the index kept or lost."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.rng = random.Random(1)
        self.disk = disk or MemoryDisk()
        self.checkpoint = MemoryCheckpoint()
        MemoryVdev.format(self.disk, CLUSTER, self.rng)
        self.open()

    def open(self) -> None:
        self.vdev = MemoryVdev.open(self.disk, self.checkpoint, CLUSTER)

    def reopen(self, *, index_lost: bool = False) -> None:
        self.vdev.crash()
        if index_lost:
            self.checkpoint = MemoryCheckpoint()
        self.open()

    def status(self) -> VdevStatus:
        return self.vdev.status

    def chunk(self, size: int = 5000, algorithm: int = 1) -> Chunk:
        payload = self.rng.randbytes(size)
        return Chunk(content_hash(algorithm, payload), algorithm, payload)

    def run(self, *records: Record, kind: RecordClass | None = None) -> Outcome:
        ended: Outcomes = []
        self.vdev.submit(records, 1, ended.extend, kind)
        self.vdev.run_all()
        return ended[0][1]

    def flip_payload(self, chunk: Chunk) -> None:
        info = self.vdev.chunk(chunk.chid)
        assert info is not None
        self.disk.flip_bit(FIRST, info.payload_offset + 10)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fail(operation: str, number: int, name: str = "") -> Callable[[str, Path], None]:
    def fault(what: str, path: Path) -> None:
        if what == operation and name in str(path):
            raise OSError(number, "injected")

    return fault


# -- after a failed sync ----------------------------------------------------------------


def test_failed_sync__is_not_read_back_from_the_page_cache(bench: Bench) -> None:
    """The process starts again, the kernel does not: its cache still shows the flush."""
    kept, lost = bench.chunk(), bench.chunk()
    bench.run(kept)
    bench.disk.fault = fail("sync", errno.EIO, "seg")
    assert bench.run(lost) == Outcome.FAULTED
    bench.disk.fault = no_fault
    bench.vdev.close()
    bench.open()
    assert not bench.vdev.has(lost.chid)
    assert bench.status() == VdevStatus.OK
    assert bench.run(lost) == Outcome.STORED
    bench.reopen()
    for chunk in (kept, lost):
        assert bench.vdev.read_chunk(chunk.chid) == chunk.payload


def test_fault__is_never_talked_down_and_says_why(bench: Bench) -> None:
    core = bench.vdev._core
    core.fail(OSError(errno.ENOSPC, "first the disk is full"))
    assert core.status == VdevStatus.READ_ONLY and "full" in core.failure
    core.fail(OSError(errno.EIO, "then it breaks"))
    assert core.status == VdevStatus.FAULTED and "breaks" in core.failure
    core.fail(OSError(errno.ENOSPC, "a checkpoint was under way"))
    assert bench.status() == VdevStatus.FAULTED and "breaks" in core.failure


def test_abandoned_flush__everybody_is_told(bench: Bench) -> None:
    ended: Outcomes = []
    for token in (1, 2):
        bench.vdev.submit([RowUnstage(token)], token, ended.extend)
    bench.vdev._core.take()
    told = bench.vdev._core.abandon(OSError(errno.EIO, "unexpected"))
    assert [outcome for _, outcome in told] == [Outcome.FAULTED] * 2
    assert bench.vdev.status == VdevStatus.FAULTED


# -- torn chunks ------------------------------------------------------------------------


def test_torn_chunk__is_dropped_although_the_first_flush_found_no_room(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk)
    bench.flip_payload(chunk)
    bench.reopen()
    core = bench.vdev._core
    core.segment = replace(core.segment, size_bytes=0)  # the next flush wants a new one
    bench.disk.fault = fail("allocate", errno.ENOSPC)
    assert bench.run(RowUnstage(3)) == Outcome.NO_SPACE
    bench.disk.fault = no_fault
    assert bench.run(RowUnstage(3)) == Outcome.STORED
    bench.reopen(index_lost=True)
    assert not bench.vdev.has(chunk.chid)


class CountingCommits(MemoryCheckpoint):
    commits = 0

    def commit(self, changes: Changes) -> None:
        super().commit(changes)
        self.commits += 1


@pytest.mark.parametrize("commits", [1, 2])
def test_torn_chunk__is_found_by_the_recovery_after_one_cut_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(recovery_module, "COMMIT_EVERY", 1)
    bench.run(bench.chunk(), RowUnstage(1))
    torn = bench.chunk()
    bench.run(torn, RowUnstage(1))
    bench.flip_payload(torn)
    bench.vdev.crash()
    bench.checkpoint = counted = CountingCommits()

    def cut_short(operation: str, path: Path) -> None:
        if counted.commits >= commits:
            raise OSError(errno.EIO, "power is about to be lost")

    bench.disk.fault = cut_short
    with contextlib.suppress(VdevError):
        bench.open()
    bench.disk.fault = no_fault
    bench.disk.power_loss()
    bench.open()
    assert not bench.vdev.has(torn.chid)


# -- payloads ---------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", HashAlgorithm)
@pytest.mark.parametrize("index_lost", [False, True])
def test_last_flush__its_payloads_are_proved_by_their_chids(
    bench: Bench, algorithm: HashAlgorithm, index_lost: bool
) -> None:
    bench.run(bench.chunk())
    chunks = [bench.chunk(size, algorithm) for size in (0, 100, 5000, 70_000, 40_000)]
    bench.run(*chunks)
    flipped, half_written = chunks[1], chunks[3]
    bench.flip_payload(flipped)
    info = bench.vdev.chunk(half_written.chid)
    assert info is not None
    file = bench.disk.open(FIRST)
    file.write(info.payload_offset + 8 * BLOCK_BYTES, [bytes(BLOCK_BYTES)])
    file.sync()
    bench.reopen(index_lost=index_lost)
    assert bench.status() == VdevStatus.OK
    for chunk in chunks:
        torn = chunk in (flipped, half_written)
        assert bench.vdev.has(chunk.chid) != torn
        assert torn or bench.vdev.read_chunk(chunk.chid) == chunk.payload


def test_earlier_flush__its_payloads_are_left_to_their_readers(bench: Bench) -> None:
    rotten = bench.chunk()
    bench.run(rotten)
    bench.run(bench.chunk())
    bench.flip_payload(rotten)
    bench.reopen(index_lost=True)
    assert bench.status() == VdevStatus.OK and bench.vdev.has(rotten.chid)
    assert content_hash(1, bench.vdev.read_chunk(rotten.chid)) != rotten.chid


NEWER = Chunk(b"a hash that nobody knows of yet.", 9, b"payload", verify=False)


def test_unknown_algorithm__in_the_last_flush_refuses_the_open_and_drops_nothing(
    bench: Bench,
) -> None:
    known = bench.chunk()
    bench.run(known, NEWER)
    bench.vdev.crash()
    for _ in range(2):
        with pytest.raises(BadVersion, match=f"{NEWER.chid.hex()}: unknown hash algorithm 9"):
            bench.open()

    def newer_hash(algorithm: int, data: bytes | bytearray | memoryview) -> bytes:
        return NEWER.chid if algorithm == NEWER.algorithm else content_hash(algorithm, data)

    vdev = MemoryVdev.open(bench.disk, bench.checkpoint, CLUSTER, content_hash=newer_hash)
    assert vdev.status == VdevStatus.OK
    for chunk in (known, NEWER):
        assert vdev.read_chunk(chunk.chid) == chunk.payload


def test_unknown_algorithm__in_an_earlier_flush_needs_no_proof(bench: Bench) -> None:
    bench.run(NEWER)
    bench.run(RowUnstage(1))
    bench.reopen(index_lost=True)
    assert bench.vdev.read_chunk(NEWER.chid) == NEWER.payload


# -- long logs --------------------------------------------------------------------------


def test_damage__is_remembered_when_the_rebuild_is_cut_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "COMMIT_EVERY", 1)
    for _ in range(4):
        bench.run(bench.chunk(), RowUnstage(1))
    bench.disk.flip_bit(FIRST, BLOCK_BYTES + 3)
    bench.vdev.crash()
    bench.checkpoint = MemoryCheckpoint()
    bench.disk.fault = fail("sync", errno.EIO, "seg")
    with pytest.raises(VdevError):
        bench.open()
    assert bench.checkpoint.get(b"mposition") is not None  # it got past the damage
    bench.disk.fault = no_fault
    bench.disk.power_loss()
    bench.open()
    assert bench.status() == VdevStatus.DAMAGED and "flushes 1 to 1" in bench.vdev.damage


class CountedFile:
    def __init__(self, file: File, disk: CountingDisk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        self._disk.files -= 1


class CountingDisk(MemoryDisk):
    """Knows how many files are open at a time."""

    files = most = 0

    def open(self, path: Path, *, create: bool = False) -> File:
        file = CountedFile(super().open(path, create=create), self)
        self.files += 1
        self.most = max(self.most, self.files)
        return cast(File, file)


def test_rebuild__opens_few_files_at_a_time() -> None:
    disk = CountingDisk()
    bench = Bench(disk)
    chunks = [bench.chunk() for _ in range(12)]
    for chunk in chunks:
        bench.run(chunk)
        core = bench.vdev._core
        core.segment = replace(core.segment, size_bytes=0)  # the next goes to a new one
    assert len(disk.list(PATH / "log")) == 12
    bench.vdev.crash()
    bench.checkpoint = MemoryCheckpoint()
    disk.files = disk.most = 0
    bench.open()
    assert disk.most <= 3
    assert all(bench.vdev.read_chunk(chunk.chid) == chunk.payload for chunk in chunks)


class NoRoom(MemoryCheckpoint):
    def commit(self, changes: Changes) -> None:
        raise CheckpointFull("full")


class ReadOnly(MemoryCheckpoint):
    def commit(self, changes: Changes) -> None:
        raise OSError(errno.EROFS, "read-only")


@pytest.mark.parametrize("read_only", [False, True])
def test_rebuild__without_room_for_the_index_goes_on_in_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    monkeypatch.setattr(recovery_module, "COMMIT_EVERY", 1)
    chunks = [bench.chunk() for _ in range(5)]
    for chunk in chunks:
        bench.run(chunk, RowUnstage(1))
    bench.vdev.crash()
    bench.checkpoint = ReadOnly() if read_only else NoRoom()
    if read_only:
        bench.disk.fault = fail("write", errno.EROFS)
    bench.open()
    assert bench.vdev.status == (VdevStatus.READ_ONLY if read_only else VdevStatus.OK)
    assert all(bench.vdev.read_chunk(chunk.chid) == chunk.payload for chunk in chunks)
    monkeypatch.setattr(recovery_module, "CHANGES_BYTES_MAX", 1)
    bench.vdev.crash()
    with pytest.raises(VdevError, match="index"):
        bench.open()


# -- headers ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["segment", "flush"])
def test_newer_format_in_the_log__is_refused_by_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "flush":
        bench.run(bench.chunk())
    with monkeypatch.context() as newer:
        newer.setattr(segment_module, "FORMAT_VERSION", 2)
        newer.setattr(core_module, "pack_flush", flush_pure.pack_flush)
        bench.run(bench.chunk())
    bench.vdev.crash()
    with pytest.raises(BadVersion, match=f"{what} format 2"):
        bench.open()


def test_header_one_open_behind_its_log__is_damage(bench: Bench) -> None:
    old = bench.disk.open(PATH / "vdev").read(0, 2 * BLOCK_BYTES)
    bench.reopen()
    bench.run(bench.chunk())
    bench.vdev.crash()
    bench.disk.open(PATH / "vdev").write(0, [old])
    bench.open()
    assert bench.vdev.open_count == 2  # once more
    assert bench.vdev.status == VdevStatus.DAMAGED


# -- space and time -----------------------------------------------------------------------


def test_last_percents__are_for_what_frees_space_down_to_the_gates() -> None:
    capacity = 48 << 20
    bench = Bench(MemoryDisk(capacity))
    used = {}
    for kind, size in (
        (RecordClass.PAYLOAD, 1_000_000),
        (RecordClass.NAME, 100_000),
        (RecordClass.FREEING, 20_000),
    ):
        while bench.run(bench.chunk(size), kind=kind) == Outcome.STORED:
            pass
        used[kind] = bench.vdev.stat().used_bytes * 100 // capacity
    assert bench.vdev.status == VdevStatus.OK
    assert used[RecordClass.PAYLOAD] >= 80
    assert used[RecordClass.NAME] >= 92
    assert used[RecordClass.FREEING] >= 96


class CountingCheckpoint(MemoryCheckpoint):
    scans = 0

    def scan(self, start: bytes, end: bytes, limit: int) -> Page:
        self.scans += 1
        return super().scan(start, end, limit)


def test_row_cut__looks_at_each_entry_once(bench: Bench) -> None:
    bench.checkpoint = counted = CountingCheckpoint()
    bench.reopen()
    count = 5000
    bench.run(*[RowEntry(1, 1, index, b"") for index in range(count)])
    assert bench.vdev._engine.checkpoint()
    counted.scans = 0
    bench.run(RowCut(1, count, ((0, count),), b"base"))
    assert bench.vdev.row_log(1) == []
    assert counted.scans <= 10


def test_failed_checkpoint__is_due_again_only_after_more_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt writes all that is pending: not again after every flush."""
    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1000)
    bench.checkpoint = NoRoom()
    bench.reopen()
    engine = bench.vdev._engine
    bench.vdev.view_put(b"k", bytes(2000))
    assert engine.checkpoint_due() and not engine.checkpoint()
    assert not engine.checkpoint_due()
    bench.vdev.view_put(b"more", bytes(2000))
    assert engine.checkpoint_due()


# -- the last flush ---------------------------------------------------------------------


@pytest.mark.parametrize("index_lost", [False, True])
def test_last_flush__that_a_probe_saw_is_damaged_and_no_torn_tail(
    bench: Bench, index_lost: bool
) -> None:
    """A replica that lost its newest entries without a word would answer for its row without them."""
    bench.run(RowEntry(1, 1, 1, b"first"))
    at = bench.vdev._core.position.offset
    bench.run(RowEntry(1, 1, 2, b"second"))
    assert bench.vdev.vouch(1)  # idle: it probes
    bench.disk.flip_bit(FIRST, at + 120)
    bench.reopen(index_lost=index_lost)
    assert bench.status() == VdevStatus.DAMAGED and "at the log's end" in bench.vdev.damage
    assert [location.index for location in bench.vdev.row_log(1)] == [1]
    bench.vdev.clear_damage()
    bench.run(RowEntry(1, 1, 2, b"other"))
    assert bench.vdev.vouch(2)
    bench.reopen()
    assert bench.status() == VdevStatus.OK


def test_last_flush__that_nothing_proves_is_a_torn_tail(bench: Bench) -> None:
    bench.run(RowEntry(1, 1, 1, b"first"))
    at = bench.vdev._core.position.offset
    assert bench.vdev.vouch(1)
    bench.run(RowEntry(1, 1, 2, b"second"))
    bench.disk.flip_bit(FIRST, at + 120)
    bench.reopen()
    assert bench.status() == VdevStatus.OK


def test_probe__that_is_damaged_or_of_an_older_release_says_nothing(bench: Bench) -> None:
    bench.run(RowEntry(1, 1, 1, b"first"))
    assert bench.vdev.vouch(1)
    bench.disk.flip_bit(PATH / "probe", 17)
    bench.reopen()
    assert bench.status() == VdevStatus.OK
    bench.disk.open(PATH / "probe").write(0, [(3).to_bytes(8, "little").ljust(BLOCK_BYTES)])
    bench.reopen()
    assert bench.status() == VdevStatus.OK
