"""The VDEVs as the cores see them: bad copies are set aside once, before anybody hears of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from replicast import memory_disk
from replicast.hashing import HashAlgorithm, content_hash
from replicast.memory_disk import MemoryDisk, as_it_is
from replicast.target.store.errors import Outcome, VdevError
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import Chunk, ChunkDrop
from replicast.target.store.segment import segment_name
from replicast.target.store.vdev import Vdev
from replicast.target.vdevs import ChunkView, Vdevs
from replicast.wire.chunk_messages import VERIFIED, VERIFY_CORRUPT, VERIFY_ERROR, VERIFY_MISSING
from replicast.wire.reasons import Reason

CLUSTER = b"cluster-16-bytes"
PAYLOAD = b"payload" * 1000
CHID = content_hash(1, PAYLOAD)
FIRST = PATH / "log" / segment_name(1)


class Loop:
    """What Vdevs wants of an event loop; counts the wake-ups."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.wakeups = 0

    def call_soon_threadsafe(self, call: Callable[..., None], *args: object) -> None:
        self.wakeups += 1
        self.calls.append((call, args))

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        self.calls.append((call, args))

    def call_later(self, _seconds: float, call: Callable[..., None], *args: object) -> None:
        self.calls.append((call, args))

    def run(self) -> None:
        while self.calls:
            call, args = self.calls.pop(0)
            call(*args)


class Bench:
    def __init__(self) -> None:
        self.disk = MemoryDisk()
        MemoryVdev.format(self.disk, CLUSTER, random.Random(1))
        self.vdev = MemoryVdev.open(self.disk, MemoryCheckpoint(), CLUSTER)
        self.loop = Loop()
        self.vdevs = Vdevs([cast(Vdev, self.vdev)], cast(asyncio.AbstractEventLoop, self.loop))
        self.vdevs.by_index[3] = cast(Vdev, self.vdev)
        self.answers: list[tuple[Any, ...]] = []

    def answer(self, *what: object) -> None:
        self.answers.append(what)

    def put(self, token: object = "put") -> None:
        self.vdevs.store_chunk(3, CHID, 1, PAYLOAD, 9, token, self.answer)

    def settle(self) -> list[tuple[Any, ...]]:
        self.vdev.run_all()
        self.loop.run()
        answers, self.answers = self.answers, []
        return answers

    def rot(self, *, header: bool = False) -> None:
        info = self.vdev.chunk(CHID)
        assert info is not None
        self.disk.flip_bit(FIRST, info.header_offset if header else info.payload_offset)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.put()
    assert bench.settle() == [("put", Outcome.STORED)]
    return bench


def test_read__from_memory_at_once_and_without_a_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.vdev.read_chunk(CHID)  # opens the segment
    monkeypatch.setattr(memory_disk, "buggify", lambda name: name == "store/cached")
    monkeypatch.setattr(bench.vdev, "submit_read", None)
    wakeups = bench.loop.wakeups
    assert bench.vdevs.read_chunk(3, CHID, "read", bench.answer, True) == PAYLOAD
    assert bench.settle() == [], "who was given the bytes is not told of them again"
    assert bench.loop.wakeups == wakeups


def test_read__of_bytes_that_are_looked_at_here_by_a_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.vdev.read_chunk(CHID)  # opens the segment
    monkeypatch.setattr(memory_disk, "buggify", lambda name: name == "store/cached")
    assert bench.vdevs.read_chunk(3, CHID, "read", bench.answer, False) is None
    assert bench.settle() == [("read", PAYLOAD)]


def test_verify__good_missing_and_asked_under_another_algorithm(bench: Bench) -> None:
    bench.vdevs.verify_chunk(3, CHID, 1, "good", bench.answer)
    bench.vdevs.verify_chunk(3, b"x" * 32, 1, "missing", bench.answer)
    bench.vdevs.verify_chunk(3, CHID, HashAlgorithm.SHA256, "mistaken", bench.answer)
    found = {token: verdict for token, verdict, _ in bench.settle()}
    assert found == {"good": VERIFIED, "missing": VERIFY_MISSING, "mistaken": VERIFY_ERROR}
    assert bench.vdev.has(CHID)


def test_verify__answers_when_the_bad_copy_is_durably_set_aside(bench: Bench) -> None:
    bench.rot()
    bench.vdevs.verify_chunk(3, CHID, 1, "bad", bench.answer)
    bench.loop.run()
    assert bench.answers == []  # the drop is not durable: a put would find the bad copy here
    assert bench.settle() == [("bad", VERIFY_CORRUPT, "wrong hash")]
    assert not bench.vdev.has(CHID)


def test_verify__sets_aside_again_what_a_full_queue_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered without, a put that follows would count the bad copy."""
    bench.rot()
    submit, refusals = bench.vdev.submit, [Outcome.BUSY, Outcome.BUSY]

    def full(records: Any, token: object, done: Any, kind: Any = None) -> None:
        if refusals:
            done([(token, refusals.pop())])
        else:
            submit(records, token, done, kind)

    monkeypatch.setattr(bench.vdev, "submit", full)
    bench.vdevs.verify_chunk(3, CHID, 1, "bad", bench.answer)
    bench.vdev.run_all()
    bench.loop.run()
    assert bench.settle() == [("bad", VERIFY_CORRUPT, "wrong hash")]
    assert not refusals and not bench.vdev.has(CHID)


@pytest.mark.parametrize("where", ["header", "payload"])
def test_verify__and_read_spare_a_copy_that_is_right_when_read_again(
    bench: Bench, where: str
) -> None:
    bench.put()
    bench.settle()

    def spoil(data: bytes) -> bytes:
        if (len(data) < len(PAYLOAD)) != (where == "header"):
            return data
        bench.disk.spoil = as_it_is
        return bytes([data[0] ^ 1]) + data[1:]

    bench.disk.spoil = spoil
    bench.vdevs.verify_chunk(3, CHID, 1, "spoiled once", bench.answer)
    assert bench.settle() == [("spoiled once", VERIFIED, "")]
    bench.disk.spoil = spoil
    bench.vdevs.read_chunk(3, CHID, "read", bench.answer, True)
    ((_, found),) = bench.settle()
    assert len(found) == len(PAYLOAD) and bench.vdev.has(CHID)  # its hash is the reader's business


def test_read__says_missing_when_the_bad_copy_is_durably_set_aside(bench: Bench) -> None:
    bench.rot(header=True)
    bench.vdevs.read_chunk(3, CHID, "bad", bench.answer, True)
    bench.loop.run()
    assert bench.answers == []
    assert bench.settle() == [("bad", Reason.NOT_FOUND_HERE)]
    assert not bench.vdev.has(CHID)


@pytest.mark.parametrize("same_flush", [True, False])
def test_drop__of_a_copy_spares_one_stored_since(bench: Bench, same_flush: bool) -> None:
    """Two readers find the same bad copy; repair stores the chunk between their drops."""
    info = bench.vdev.chunk(CHID)
    assert info is not None
    drop = ChunkDrop(CHID, info.sequence)
    bench.vdev.submit([drop], "first", bench.answer)
    if not same_flush:
        bench.vdev.run_all()
    bench.put("repair")
    if not same_flush:
        bench.vdev.run_all()
    bench.vdev.submit([drop], "late", bench.answer)
    assert ("repair", Outcome.STORED) in bench.settle()
    assert bench.vdev.read_chunk(CHID) == PAYLOAD


def test_drop__put_of_the_same_flush_is_written_anew(bench: Bench) -> None:
    """The put found the chunk here; its payload must not go with the bad copy."""
    info = bench.vdev.chunk(CHID)
    assert info is not None
    bench.put("again")
    bench.vdev.submit([ChunkDrop(CHID, info.sequence)], "drop", lambda outcomes: None)
    assert bench.settle() == [("again", Outcome.STORED)]
    assert bench.vdev.read_chunk(CHID) == PAYLOAD


def test_hold__of_a_chunk_that_is_being_dropped_is_refused(bench: Bench) -> None:
    """has() said yes when the hold was asked for; the drop was queued before it."""
    bench.vdev.submit([ChunkDrop(CHID)], "drop", lambda outcomes: None)
    assert bench.vdev.has(CHID)
    bench.vdevs.store_hold(3, CHID, 20, "held", bench.answer)
    assert bench.settle() == [("held", Outcome.MISSING)]


def test_hold__of_a_chunk_in_the_same_flush_or_submission_stands(bench: Bench) -> None:
    bench.vdev.submit([ChunkDrop(CHID)], "drop", lambda outcomes: None)
    bench.put("again")
    bench.vdevs.store_hold(3, CHID, 20, "held", bench.answer)
    assert bench.settle() == [("again", Outcome.STORED), ("held", Outcome.STORED)]
    assert bench.vdev.hold_until(CHID) == 20


def test_flush__wakes_the_loop_once(bench: Bench) -> None:
    before = bench.loop.wakeups
    chids = [content_hash(1, bytes([n])) for n in range(50)]
    for n, chid in enumerate(chids):
        bench.vdevs.store_chunk(3, chid, 1, bytes([n]), 9, n, bench.answer)
    bench.vdev.run_all()
    assert bench.loop.wakeups == before + 1
    assert bench.settle() == [(n, Outcome.STORED) for n in range(50)]


def test_flush__of_which_all_were_told_is_followed_up_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    followed: list[int] = []
    bench.vdevs.after = lambda: followed.append(len(bench.answers))
    bench.put("first")
    bench.vdevs.store_hold(3, CHID, 20, "fails", lambda *_: bench.answers[9])
    bench.vdevs.store_hold(3, CHID, 20, "last", bench.answer)
    bench.settle()
    assert followed == [2] and "the outcome of a flush could not be taken" in caplog.text
    bench.put("another flush")
    bench.settle()
    assert followed == [2, 1]


def test_read__that_is_refused_is_not_answered_while_it_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is about to ask for more, and would be told in the midst of it."""
    monkeypatch.setattr(bench.vdev, "submit_read", lambda *_: False)
    bench.vdevs.read_chunk(3, CHID, "read", bench.answer, True)
    assert bench.answers == []
    assert bench.settle() == [("read", Reason.BUSY)]


def test_chunk_view__says_what_stat_says(bench: Bench) -> None:
    view = ChunkView(cast(Vdev, bench.vdev))
    for queued in (False, True):
        if queued:
            bench.vdevs.store_chunk(3, content_hash(1, b"x"), 1, bytes(1 << 20), 9, 1, bench.answer)
        stat = bench.vdev.stat()
        assert (stat.queue_bytes > 0) is queued
        load = (stat.queue_bytes, stat.flush_ns, stat.free_ppm)
        assert view.appraise(CHID, 9) == (view.has(CHID), True, *load)
        assert view.appraise(bytes(32), 1 << 60) == (False, False, *load)
        assert view.free_ppm() == stat.free_ppm


def test_vdevs__refuse_a_clone(bench: Bench) -> None:
    twin = Bench()  # formatted from the same seed
    pair = [cast(Vdev, bench.vdev), cast(Vdev, twin.vdev)]
    with pytest.raises(VdevError, match="copies of one VDEV"):
        Vdevs(pair, cast(asyncio.AbstractEventLoop, bench.loop))


def test_drop__with_a_chid_of_a_wrong_size_is_a_programming_error(bench: Bench) -> None:
    with pytest.raises(ValueError):
        bench.vdev.submit([ChunkDrop(b"x" * 300)], 1, bench.answer)


def test_chunk__dropped_without_naming_a_copy_goes(bench: Bench) -> None:
    bench.vdev.submit([ChunkDrop(CHID)], "drop", lambda outcomes: None)
    bench.vdev.submit([Chunk(CHID, 1, PAYLOAD, verify=False)], "put", lambda outcomes: None)
    bench.vdev.submit([ChunkDrop(CHID)], "drop", lambda outcomes: None)
    bench.settle()
    assert bench.vdev.has(CHID)  # drops go first in a flush
