"""The store on a disk that fails: damage against torn tails, full disks, stale bytes."""

from __future__ import annotations

import errno
import random
from dataclasses import replace

import pytest

from replicast.memory_disk import MemoryDisk
from replicast.target.store import core as core_module
from replicast.target.store.core import Space
from replicast.target.store.errors import (
    BadVersion,
    ChunkDamaged,
    ChunkMissing,
    NotAVdev,
    Outcome,
    ReadFailed,
    RecordClass,
    VdevBusy,
    VdevError,
    VdevStatus,
    WrongCluster,
)
from replicast.target.store.format import VERSION, format_vdev, read_header
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import Changes, CheckpointFull, MemoryCheckpoint
from replicast.target.store.record import ChunkDrop, Hold, RowEntry, RowUnstage
from replicast.target.store.segment import BLOCK_BYTES, segment_name

from .store_bench import CLUSTER, FIRST, Bench, fail


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- damage and torn tails ------------------------------------------------------------


def test_bit_flip_in_the_middle__is_damage_and_keeps_the_rest(bench: Bench) -> None:
    chunks = [bench.chunk() for _ in range(3)]
    for chunk in chunks:
        assert bench.run(chunk, RowEntry(1, 1, len(chunk.payload), b"x")) == Outcome.STORED
    bench.disk.flip_bit(FIRST, BLOCK_BYTES + 3)  # the first flush's header
    bench.reopen()
    assert bench.vdev.status == VdevStatus.DAMAGED
    assert "flushes 1 to 1" in bench.vdev.damage
    assert not bench.vdev.has(chunks[0].chid)
    for chunk in chunks[1:]:
        assert bench.vdev.read_chunk(chunk.chid) == chunk.payload
    assert bench.run(chunks[0]) == Outcome.STORED  # a damaged VDEV takes writes


def test_damage__is_remembered_until_the_cluster_knows(bench: Bench) -> None:
    for _ in range(2):
        bench.run(bench.chunk())
    bench.disk.flip_bit(FIRST, BLOCK_BYTES + 100)
    bench.reopen()
    bench.run(bench.chunk())
    bench.vdev.close()  # the checkpoint is past the damage now
    bench.open()
    assert bench.vdev.status == VdevStatus.DAMAGED
    bench.vdev.clear_damage()
    bench.vdev.close()
    bench.open()
    assert not bench.vdev.damage and bench.status() == VdevStatus.OK


def test_bit_flip_in_the_last_flush__is_a_torn_tail(bench: Bench) -> None:
    first, last = bench.chunk(), bench.chunk()
    bench.run(first)
    at = bench.vdev._core.position.offset
    bench.run(last)
    bench.disk.flip_bit(FIRST, at + 100)
    bench.reopen()
    assert bench.vdev.status == VdevStatus.OK
    assert not bench.vdev.has(last.chid)
    assert bench.run(last) == Outcome.STORED
    bench.reopen()  # the torn flush stays behind; what came after it is found
    assert bench.vdev.status == VdevStatus.OK
    assert bench.vdev.read_chunk(first.chid) == first.payload
    assert bench.vdev.read_chunk(last.chid) == last.payload


def test_rotten_payload_in_the_last_flush__keeps_its_row_entries(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk, RowEntry(3, 1, 1, b"entry"))
    info = bench.vdev.chunk(chunk.chid)
    assert info is not None
    bench.disk.flip_bit(FIRST, info.payload_offset + 10)
    bench.reopen()
    assert not bench.vdev.has(chunk.chid)
    assert len(bench.vdev.row_log(3)) == 1
    bench.run(RowUnstage(3))  # the first flush after it drops the chunk for good
    bench.vdev.crash()
    bench.checkpoint = MemoryCheckpoint()
    bench.open()
    assert not bench.vdev.has(chunk.chid)


def test_torn_chunk__is_dropped_even_when_a_checkpoint_comes_first(bench: Bench) -> None:
    """The checkpoint moves past the torn flush, power is lost before the drop is written."""
    chunk = bench.chunk()
    bench.run(chunk)
    info = bench.vdev.chunk(chunk.chid)
    assert info is not None
    bench.disk.flip_bit(FIRST, info.payload_offset + 10)
    bench.reopen()
    assert bench.vdev._engine.checkpoint()
    bench.reopen()
    bench.run(RowUnstage(3))
    bench.vdev.crash()
    bench.checkpoint = MemoryCheckpoint()
    bench.open()
    assert not bench.vdev.has(chunk.chid)


def test_lost_segment__is_damage(bench: Bench) -> None:
    bench.vdev._core.segment_bytes_min = 64 << 10
    chunks = [bench.chunk(50_000) for _ in range(6)]
    for chunk in chunks:
        bench.run(chunk)
    infos = [bench.vdev.chunk(chunk.chid) for chunk in chunks]
    survive = [info is not None and info.incarnation != 2 for info in infos]
    assert 0 < sum(survive) < 6 and len(bench.disk.list(PATH / "log")) == 3
    bench.vdev.close()
    bench.disk.remove(PATH / "log" / segment_name(2))
    bench.checkpoint = MemoryCheckpoint()
    bench.open()
    assert bench.vdev.status == VdevStatus.DAMAGED
    assert [bench.vdev.has(c.chid) for c in chunks] == survive


def test_log_behind_its_checkpoint__is_damage(bench: Bench) -> None:
    bench.run(bench.chunk())
    bench.vdev.close()
    bench.disk.remove(FIRST)
    bench.open()
    assert bench.vdev.status == VdevStatus.DAMAGED
    assert bench.run(bench.chunk()) == Outcome.STORED


def test_header_restored_from_an_old_copy__is_damage(bench: Bench) -> None:
    old = bench.disk.open(PATH / "vdev").read(0, 2 * BLOCK_BYTES)
    for _ in range(3):
        bench.vdev.close()
        bench.open()
    bench.run(bench.chunk())
    bench.vdev.crash()
    bench.disk.open(PATH / "vdev").write(0, [old])
    bench.open()
    assert bench.vdev.status == VdevStatus.DAMAGED
    assert "old copy" in bench.vdev.damage


def test_stale_flushes_of_another_incarnation__are_never_read(bench: Bench) -> None:
    """A recycled segment: whole valid flushes of its former life lie behind the tail."""
    old = bench.chunk()
    bench.run(old)
    bench.run(RowEntry(9, 1, 1, b"stale"))
    former = bench.disk.open(FIRST).read(BLOCK_BYTES, 1 << 20)
    bench.vdev._core.segment = replace(bench.vdev._core.segment, size_bytes=0)  # leave it
    bench.run(ChunkDrop(old.chid))
    second = PATH / "log" / segment_name(2)
    bench.disk.open(second).write(2 * BLOCK_BYTES, [former])
    bench.disk.open(second).sync()
    bench.reopen()
    assert bench.vdev.status == VdevStatus.OK
    assert not bench.vdev.has(old.chid)
    assert bench.run(bench.chunk()) == Outcome.STORED
    bench.reopen()
    assert bench.vdev.status == VdevStatus.OK


def test_records_of_another_vdev__are_never_read(bench: Bench) -> None:
    other = Bench()
    other.rng.seed(99)
    other.disk = MemoryDisk()
    MemoryVdev.format(other.disk, CLUSTER, random.Random(99))
    other.checkpoint = MemoryCheckpoint()
    other.open()
    other.run(other.chunk())
    foreign = other.disk.open(FIRST).read(0, 1 << 20)
    bench.run(RowUnstage(1))
    bench.disk.open(FIRST).write(bench.vdev._core.position.offset, [foreign])
    bench.disk.open(FIRST).sync()
    bench.reopen()
    assert bench.vdev.iterate_chunks() == []
    assert bench.vdev.status == VdevStatus.OK


# -- reading --------------------------------------------------------------------------


def test_read_chunk__errors_by_kind(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk)
    with pytest.raises(ChunkMissing):
        bench.vdev.read_chunk(b"x" * 32)
    bench.disk.fault = fail("read", errno.EIO)
    with pytest.raises(ReadFailed):
        bench.vdev.read_chunk(chunk.chid)
    bench.disk.fault = lambda operation, path: None
    assert bench.vdev.status == VdevStatus.OK  # a failed read is no reason to stop writing
    info = bench.vdev.chunk(chunk.chid)
    assert info is not None
    bench.disk.flip_bit(FIRST, info.header_offset)
    with pytest.raises(ChunkDamaged):
        bench.vdev.read_chunk(chunk.chid)


def test_read_chunk__returns_flipped_payload_as_it_is(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk)
    info = bench.vdev.chunk(chunk.chid)
    assert info is not None
    bench.disk.flip_bit(FIRST, info.payload_offset)
    data = bench.vdev.read_chunk(chunk.chid, direct=True)
    assert len(data) == len(chunk.payload) and data != chunk.payload


def test_read_entry__flipped_body_is_refused(bench: Bench) -> None:
    bench.run(RowEntry(1, 2, 3, b"body of the entry"))
    (location,) = bench.vdev.row_log(1)
    assert (location.row, location.epoch, location.index) == (1, 2, 3)
    assert bench.vdev.read_entry(location) == b"body of the entry"
    bench.disk.flip_bit(FIRST, location.offset + 70)
    with pytest.raises(ChunkDamaged):
        bench.vdev.read_entry(location)


# -- writing --------------------------------------------------------------------------


def test_wrong_hash__fails_that_submission_only(bench: Bench) -> None:
    good, bad = bench.chunk(), bench.chunk()
    wrong = replace(bad, payload=bytes(bad.payload) + b"!")
    for token, chunk in (("good", good), ("wrong", wrong)):
        bench.vdev.submit([chunk], token, bench.done)
    bench.vdev.run_all()
    assert bench.outcomes == {"good": Outcome.STORED, "wrong": Outcome.HASH_MISMATCH}
    assert not bench.vdev.has(bad.chid)


def test_unknown_hash_algorithm__is_a_mismatch(bench: Bench) -> None:
    assert bench.run(replace(bench.chunk(), algorithm=99)) == Outcome.HASH_MISMATCH


def test_same_chunk_twice__is_written_once_and_held_longest(bench: Bench) -> None:
    chunk = bench.chunk(100_000, hold_until_ns=5)
    for token, until in ((1, 5), (2, 9), (3, 7)):
        bench.vdev.submit([replace(chunk, hold_until_ns=until)], token, bench.done)
    bench.vdev.run_all()
    used = bench.vdev.stat().used_bytes
    assert bench.run(replace(chunk, hold_until_ns=20)) == Outcome.STORED
    assert bench.vdev.hold_until(chunk.chid) == 20
    assert bench.vdev.stat().used_bytes - used == BLOCK_BYTES
    assert used < 2 * 100_000
    bench.reopen()
    assert bench.vdev.hold_until(chunk.chid) == 20


def test_dropped_chunk__can_be_stored_again_in_the_same_flush(bench: Bench) -> None:
    chunk = bench.chunk()
    bench.run(chunk)
    bench.vdev.submit([ChunkDrop(chunk.chid)], 1, bench.done)
    bench.vdev.submit([chunk], 2, bench.done)
    bench.vdev.run_all()
    bench.reopen()
    assert bench.vdev.read_chunk(chunk.chid) == chunk.payload


def test_name_records__go_first_in_a_flush(bench: Bench) -> None:
    bench.vdev.submit([bench.chunk()], "chunk", bench.done)
    bench.vdev.submit([RowEntry(1, 1, 1, b"")], "name", bench.done)
    bench.vdev.run_all()
    assert list(bench.outcomes) == ["name", "chunk"]
    (location,) = bench.vdev.row_log(1)
    assert location.sequence == 1


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_failed_write_or_sync__faults_and_acknowledges_nothing(
    bench: Bench, operation: str
) -> None:
    kept, lost = bench.chunk(), bench.chunk()
    bench.run(kept)
    bench.disk.fault = fail(operation, errno.EIO, "seg")
    assert bench.run(lost) == Outcome.FAULTED
    bench.disk.fault = lambda operation, path: None
    assert bench.vdev.status == VdevStatus.FAULTED
    assert not bench.vdev.has(lost.chid)
    assert bench.run(lost) == Outcome.FAULTED  # until a new open
    assert bench.vdev.read_chunk(kept.chid) == kept.payload
    assert not bench.vdev.vouch(0)
    bench.reopen()
    assert bench.status() == VdevStatus.OK
    assert bench.run(lost) == Outcome.STORED


def test_failed_probe__faults(bench: Bench) -> None:
    assert bench.vdev.vouch(0)
    bench.disk.fault = fail("sync", errno.EIO, "probe")
    assert not bench.vdev.vouch(0)
    assert bench.vdev.status == VdevStatus.FAULTED


def test_no_room_for_a_segment__refuses_and_goes_on_when_there_is(bench: Bench) -> None:
    bench.disk.fault = fail("allocate", errno.ENOSPC)
    chunk = bench.chunk()
    assert bench.run(chunk) == Outcome.NO_SPACE
    assert bench.vdev.status == VdevStatus.OK
    bench.disk.fault = lambda operation, path: None
    assert bench.run(chunk) == Outcome.STORED


def test_full_disk_in_the_middle_of_a_write__turns_read_only(bench: Bench) -> None:
    bench.run(bench.chunk())
    bench.disk.fault = fail("write", errno.ENOSPC, "seg")
    assert bench.run(bench.chunk()) == Outcome.NO_SPACE
    assert bench.vdev.status == VdevStatus.READ_ONLY
    assert bench.run(bench.chunk()) == Outcome.READ_ONLY


def test_gates__payload_then_names_then_freeing(bench: Bench) -> None:
    store = bench.vdev._core
    store.space = Space(capacity_bytes=1000, log_bytes=890)
    assert store.fits(RecordClass.PAYLOAD, 10) and not store.fits(RecordClass.PAYLOAD, 11)
    assert store.fits(RecordClass.NAME, 60) and not store.fits(RecordClass.NAME, 61)
    assert store.fits(RecordClass.FREEING, 90) and not store.fits(RecordClass.FREEING, 91)


def test_gates__shared_file_system_counts_its_free_space(bench: Bench) -> None:
    store = bench.vdev._core
    store.space = Space(capacity_bytes=0, log_bytes=500, free_bytes=500)
    assert store.space.total_bytes == 1000
    assert store.fits(RecordClass.PAYLOAD, 400) and not store.fits(RecordClass.PAYLOAD, 401)
    assert Space(capacity_bytes=5000, log_bytes=500, free_bytes=500).total_bytes == 1000


def test_gates__sums_follow_each_change() -> None:
    space = Space(capacity_bytes=1000, free_bytes=2000)
    space.change(log_grown=300)
    space.change(index_bytes=50)
    space.change(log_grown=100, free_bytes=10)
    assert (space.log_bytes, space.index_bytes, space.free_bytes) == (400, 50, 10)
    assert (space.used_bytes, space.total_bytes) == (450, 460)
    space.change(index_bytes=0, free_bytes=5000)
    assert (space.used_bytes, space.total_bytes) == (400, 1000)


def test_filling_up__payload_stops_first_and_nothing_is_lost() -> None:
    bench = Bench(capacity_bytes=6 << 20)
    stored = []
    while bench.run(chunk := bench.chunk(200_000)) == Outcome.STORED:
        stored.append(chunk)
    assert bench.vdev.status == VdevStatus.OK and stored
    assert bench.run(RowEntry(1, 1, 1, b"name")) == Outcome.STORED
    bench.reopen()
    for chunk in stored:
        assert bench.vdev.read_chunk(chunk.chid) == chunk.payload


def test_full_queue__answers_busy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "QUEUE_COUNT_MAX", 3)
    for token in range(5):
        bench.vdev.submit([RowUnstage(1)], token, bench.done)
    bench.vdev.run_all()
    assert list(bench.outcomes.values()).count(Outcome.BUSY) == 2


def test_many_submissions__one_flush_and_larger_ones_go_on(bench: Bench) -> None:
    for token in range(300):
        bench.vdev.submit([bench.chunk(100)], token, bench.done)
    bench.vdev.run_all()
    assert bench.vdev.stat().flush_count == 1
    for token in range(20):
        bench.vdev.submit([bench.chunk(1 << 20)], token, bench.done)
    bench.vdev.run_all()
    assert 3 <= bench.vdev.stat().flush_count <= 5
    assert set(bench.outcomes.values()) == {Outcome.STORED}


def test_wrong_submissions__are_programming_errors(bench: Bench) -> None:
    with pytest.raises(ValueError):
        bench.vdev.submit([Hold(b"", 1)], 1, bench.done)
    with pytest.raises(ValueError):
        bench.vdev.submit([bench.chunk(40 << 20)], 1, bench.done)


# -- views and checkpoint --------------------------------------------------------------


def test_views__survive_with_the_checkpoint_only(bench: Bench) -> None:
    bench.vdev.view_put(b"a", b"1")
    bench.vdev._engine.checkpoint()
    bench.vdev.view_put(b"b", b"2")
    bench.vdev.view_delete(b"a")
    assert bench.vdev.view_scan(b"", b"", 10) == [(b"b", b"2")]
    bench.reopen()
    assert bench.vdev.view_scan(b"", b"", 10) == [(b"a", b"1")]


def test_failed_checkpoint__loses_nothing(bench: Bench) -> None:
    class Full(MemoryCheckpoint):
        def commit(self, changes: Changes) -> None:
            raise CheckpointFull("full")

    chunk = bench.chunk()
    bench.checkpoint = Full()
    bench.reopen()
    bench.run(chunk)
    bench.vdev.view_put(b"k", b"v")
    assert not bench.vdev._engine.checkpoint()
    assert bench.vdev.status == VdevStatus.OK
    assert bench.vdev.has(chunk.chid) and bench.vdev.view_get(b"k") == b"v"


# -- format and open -------------------------------------------------------------------


def test_open__refusals(bench: Bench) -> None:
    with pytest.raises(VdevBusy):
        bench.open()
    bench.vdev.close()
    with pytest.raises(WrongCluster):
        MemoryVdev.open(bench.disk, bench.checkpoint, b"another cluster!")
    with pytest.raises(VdevError, match="not empty"):
        MemoryVdev.format(bench.disk, CLUSTER, bench.rng)
    empty = MemoryDisk()
    empty.make_directory(PATH)
    with pytest.raises(NotAVdev, match="mounted"):
        MemoryVdev.open(empty, MemoryCheckpoint(), CLUSTER)


def test_open_count__rises_and_survives_one_bad_slot(bench: Bench) -> None:
    counts = [bench.vdev.open_count]
    for _ in range(3):
        bench.reopen()
        counts.append(bench.vdev.open_count)
    assert counts == [1, 2, 3, 4]
    bench.disk.flip_bit(PATH / "vdev", 20)  # slot of even counts: 4 is lost
    bench.reopen()
    assert bench.vdev.open_count == 4  # not greater than the known one: the cluster sees it


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_open__another_format_is_refused_by_name(bench: Bench, version: int) -> None:
    bench.vdev.close()
    import struct

    from xxhash import xxh3_64_intdigest

    slot = bytearray(bench.disk.open(PATH / "vdev").read(0, BLOCK_BYTES))
    slot[8:10] = version.to_bytes(2, "little")
    size = struct.calcsize("<8sHHI16s16sQQQ")
    slot[size : size + 8] = xxh3_64_intdigest(bytes(slot[:size])).to_bytes(8, "little")
    bench.disk.open(PATH / "vdev").write(0, [bytes(slot)])
    with pytest.raises(BadVersion, match=f"format {version}"):
        bench.open()


def test_format__cut_short_leaves_no_vdev() -> None:
    disk = MemoryDisk()
    disk.fault = fail("sync", errno.EIO, "/vdev/vdev")
    with pytest.raises(OSError):
        format_vdev(disk, PATH, CLUSTER, 12345, random.Random(1))
    disk.fault = lambda operation, path: None
    disk.power_loss()
    with pytest.raises(NotAVdev):
        read_header(disk, PATH)
