"""Flushes of a Vdev that its loop begins and ends, and whose turn it is: the loop's, or the commit thread's.

The commit thread never wakes by itself here. The test is the loop.
"""

from __future__ import annotations

import errno
import os
import queue
import random
import select
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import DIRECT_ABOVE_BYTES, ForgetfulDisk, LockableDisk, RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes, Segment
from replicast.target.store.engine import FLIGHT_BYTES
from replicast.target.store.errors import Outcome, RecordClass, VdevStatus
from replicast.target.store.flush_writer import FlushWriter
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk, ChunkDrop, Hold, Record, RowEntry
from replicast.target.store.vdev import PROBE_NS, Turn, Vdev

from .commit_threads import WAIT_SECONDS, settle, watch

CLUSTER = b"cluster-16-bytes"
CHUNK = Chunk(content_hash(1, b"payload"), 1, b"payload")
FREEING = RecordClass.FREEING


class HeldWriter(FlushWriter):
    """Does nothing of what it is given until let_go(), and then it may fail."""

    def __init__(self, notify_fd: int) -> None:
        super().__init__(notify_fd)
        self.held: Callable[[], None] | None = None
        self.error = 0

    def submit(self, fd: int, offset: int, data: bytes) -> None:
        assert self.held is None
        self.held = partial(super().submit, fd, offset, data)

    def submit_pieces(
        self, fd: int, direct_fd: int, offset: int, pieces: list[bytes | memoryview]
    ) -> None:
        assert self.held is None
        self.held = partial(super().submit_pieces, fd, direct_fd, offset, pieces)

    def let_go(self) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            held()

    def take(self) -> int | None:
        found = super().take()
        return self.error if found == 0 else found

    def stop(self) -> None:
        self.let_go()
        super().stop()


class Bench:
    """A Vdev that has a segment already, and the loop that it is attached to."""

    def __init__(self, path: Path, disk: LockableDisk, **options: Any) -> None:
        self.now_ns = 0
        self.vdev = Vdev.open(disk, path, CLUSTER, clock_ns=lambda: self.now_ns, **options)
        self.path = path
        self.told: dict[object, Outcome] = {}
        self.from_thread: queue.SimpleQueue[Outcomes] = queue.SimpleQueue()
        self.notify_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.vdev.attach(self.notify_fd)
        self.index = 0
        self.turns: queue.SimpleQueue[bool] = queue.SimpleQueue()  # did the commit thread have it?
        take_turn = self.vdev._take_turn

        def watched() -> bool:
            had = take_turn()
            self.turns.put(had)
            return had

        self.vdev._take_turn = watched  # type: ignore[method-assign]
        self.submit("first", self.row())
        self.hear()
        self.told.clear()
        settle(self.vdev)
        self.flights = 0

    @property
    def writer(self) -> HeldWriter:
        assert isinstance(self.vdev._writer, HeldWriter)
        return self.vdev._writer

    def row(self, size: int = 10) -> RowEntry:
        self.index += 1
        return RowEntry(7, 1, self.index, b"x" * size)

    def submit(self, token: object, *records: Record) -> None:
        """As a thread does."""
        self.vdev.submit(records, token, self.from_thread.put, FREEING)

    def append(self, token: object, *records: Record) -> None:
        """As the loop does."""
        self.vdev.queue(records or (self.row(),), token, self.in_loop, FREEING)

    def in_loop(self, outcomes: Outcomes) -> None:
        self.from_thread.put(outcomes)

    def take_off(self) -> bool:
        """Is a flight out then?"""
        self.vdev.take_off()
        return self.vdev._turn is Turn.LOOPS

    def land(self) -> bool:
        """What the loop does when the eventfd is readable; was there something?"""
        batches = self.vdev.land()
        if batches is None:
            return False
        for batch in batches.values():
            self.told.update(batch)
        self.flights += 1
        return True

    def await_flight(self) -> None:
        poll = select.poll()
        poll.register(self.notify_fd, select.POLLIN)
        assert poll.poll(WAIT_SECONDS * 1000)
        os.eventfd_read(self.notify_fd)
        assert self.land()

    def hear(self) -> None:
        """Wait until the commit thread tells."""
        self.told.update(self.from_thread.get(timeout=WAIT_SECONDS))

    def rows(self) -> list[int]:
        return [entry.index for entry in self.vdev.row_log(7, 0)]

    def wake_thread(self) -> bool:
        """Did it get the turn?"""
        while not self.turns.empty():
            self.turns.get()
        self.vdev._wakes.put(None)
        return self.turns.get(timeout=WAIT_SECONDS)

    def reopened_rows_and_chunks(self) -> tuple[list[int], dict[bytes, bytes]]:
        self.vdev.close()
        vdev = Vdev.open(RealDisk(), self.path, CLUSTER)
        rows = [entry.index for entry in vdev.row_log(7, 0)]
        chunks = {info.chid: vdev.read_chunk(info.chid) for info in vdev.iterate_chunks()}
        vdev.close()
        return rows, chunks

    def reopened_rows(self) -> list[int]:
        vdev = Vdev.open(RealDisk(), self.path, CLUSTER)
        found = [entry.index for entry in vdev.row_log(7, 0)]
        vdev.close()
        return found


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    watch(monkeypatch)
    format_vdev(RealDisk(), tmp_path / "vdev", CLUSTER, None, random.Random(1))
    return tmp_path / "vdev"


@pytest.fixture
def held(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its flights stay out until the writer lets go."""
    monkeypatch.setattr("replicast.target.store.vdev.FlushWriter", HeldWriter)
    bench = Bench(path, RealDisk())
    yield bench
    bench.vdev.close()
    os.close(bench.notify_fd)


def test_flight__is_stored_only_when_it_was_written(held: Bench) -> None:
    held.append("a")
    held.append("b")
    assert held.take_off() and not held.land()
    assert held.rows() == [1] and held.told == {}
    assert held.vdev.stat().queue_bytes > 0 and held.vdev.stat().queue_count == 0
    before = held.vdev.stat().flush_count
    held.now_ns += 5_000_000
    held.writer.let_go()
    held.await_flight()
    assert held.told == {"a": Outcome.STORED, "b": Outcome.STORED} and held.rows() == [1, 2, 3]
    stat, counters = held.vdev.stat(), held.vdev.counters
    assert (stat.flush_count, stat.queue_bytes) == (before + 1, 0)
    assert counters.get("flush_records", held.vdev.vdev_id.hex()) == 3
    assert held.vdev.vouch(held.now_ns + 1) and held.vdev._durable_ns == held.now_ns
    assert held.vdev._turn is Turn.NOBODYS and held.vdev._wakes.empty()


def test_rows__that_come_during_a_flight_go_with_the_next(held: Bench) -> None:
    held.append(1)
    assert held.take_off()
    for token in (2, 3):
        held.append(token)
        assert held.take_off()  # the one that is out
    held.writer.let_go()
    held.await_flight()
    assert held.told == {1: Outcome.STORED}
    assert held.take_off()
    held.writer.let_go()
    held.await_flight()
    assert set(held.told) == {1, 2, 3} and not held.take_off()


def test_commit_thread__neither_flushes_nor_probes_during_a_flight(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicast.target.store.vdev.PROBE_NS", PROBE_NS)
    probes: list[int] = []
    monkeypatch.setattr(held.vdev._engine, "probe", lambda: probes.append(1) is not None)
    held.append(1)
    assert held.take_off()
    held.now_ns += 100 * PROBE_NS
    held.submit("chunk", CHUNK)
    assert held.vdev._wakes.empty()  # in vain, now
    for _ in range(3):
        assert not held.wake_thread()
    assert not probes and not held.vdev.has(CHUNK.chid) and held.from_thread.empty()
    held.writer.let_go()
    held.await_flight()
    assert not held.take_off()  # the thread's
    held.hear()
    assert held.told == {1: Outcome.STORED, "chunk": Outcome.STORED}


def test_idle_vdev__is_probed_by_the_commit_thread(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = threading.Event()
    monkeypatch.setattr(held.vdev._engine, "probe", probed.set)
    held.append(1)
    assert held.take_off()
    held.writer.let_go()
    held.await_flight()
    held.now_ns += 3600 * 10**9
    assert held.wake_thread()
    assert probed.wait(WAIT_SECONDS)


def test_drop__by_another_thread_during_a_flight_is_not_left_lying(held: Bench) -> None:
    held.append(1)
    assert held.take_off()
    reader = threading.Thread(target=held.submit, args=("drop", ChunkDrop(CHUNK.chid)))
    reader.start()
    reader.join()
    held.writer.let_go()
    held.await_flight()
    assert held.from_thread.empty()
    held.take_off()
    held.hear()
    assert held.told == {1: Outcome.STORED, "drop": Outcome.STORED}


def proved(size: int, seed: int) -> Chunk:
    payload = random.Random(seed).randbytes(size)
    return Chunk(content_hash(1, payload), 1, payload, verify=False)


@pytest.mark.parametrize("sizes", [[1], [40_000, 5000], [1 << 20, 300_000, 7]])
def test_proved_chunks__fly_with_rows(held: Bench, sizes: list[int]) -> None:
    chunks = [proved(size, seed) for seed, size in enumerate(sizes)]
    for chunk in chunks:
        held.append(chunk.chid, chunk)
    held.append("row")
    assert held.take_off() and not any(held.vdev.has(chunk.chid) for chunk in chunks)
    held.writer.let_go()
    held.await_flight()
    assert set(held.told.values()) == {Outcome.STORED} and held.rows() == [1, 2]
    for chunk in chunks:
        assert held.vdev.read_chunk(chunk.chid, direct=True) == chunk.payload
    held.append("row")  # and the next flush lies right behind
    assert held.take_off()
    held.writer.let_go()
    held.await_flight()
    assert held.reopened_rows_and_chunks() == ([1, 2, 3], {c.chid: c.payload for c in chunks})


SMALL = proved(100, 7)


@pytest.mark.parametrize(
    "records",
    [
        [CHUNK],
        [SMALL, SMALL],
        [SMALL, Hold(SMALL.chid, 9)],
        [proved(FLIGHT_BYTES, 8)],
        [ChunkDrop(SMALL.chid), SMALL],
    ],
    ids=["not proved", "twice", "a hold", "large", "a drop"],
)
def test_unusual_chunks__are_left_to_the_commit_thread(held: Bench, records: list[Record]) -> None:
    for number, record in enumerate(records):
        held.append(number, record)
    assert not held.take_off()
    while len(held.told) < len(records):
        held.hear()
    assert set(held.told.values()) == {Outcome.STORED}


def test_chunk__that_is_stored_is_not_written_again(held: Bench) -> None:
    for token in (1, 2):
        held.append(token, SMALL)
        if held.take_off():
            assert token == 1
            held.writer.let_go()
            held.await_flight()
    held.hear()
    assert held.told == {1: Outcome.STORED, 2: Outcome.STORED}
    assert held.vdev.stat().flush_count == 2


def test_chunk__whose_flight_failed_is_not_there(held: Bench) -> None:
    held.append("lost", SMALL)
    assert held.take_off()
    held.writer.error = errno.EIO
    held.writer.let_go()
    held.await_flight()
    assert held.told == {"lost": Outcome.FAULTED} and not held.vdev.has(SMALL.chid)


@pytest.mark.parametrize(
    ("number", "outcome", "status"),
    [
        (errno.EIO, Outcome.FAULTED, VdevStatus.FAULTED),
        (errno.ENOSPC, Outcome.NO_SPACE, VdevStatus.READ_ONLY),
        (errno.EBADF, Outcome.READ_ONLY, VdevStatus.READ_ONLY),
    ],
)
def test_flight_that_failed__stores_nothing_and_ends_writing(
    held: Bench, number: int, outcome: Outcome, status: VdevStatus, caplog: Any
) -> None:
    held.append("lost", held.row())
    assert held.take_off()
    held.append("behind")
    held.writer.error = number
    held.writer.let_go()
    held.await_flight()
    assert held.told == {"lost": outcome}
    assert held.vdev.status == status and held.rows() == [1]
    assert f"the VDEV is {status.name}: " in caplog.text
    assert not held.take_off()
    held.hear()
    assert held.told["behind"] in (Outcome.FAULTED, Outcome.READ_ONLY)
    assert held.vdev.stat().flush_count == 1


def test_flight__into_a_disk_that_became_read_only(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held.vdev._engine._disk, "takes_no_writes", lambda _: True)
    held.append("lost")
    assert held.take_off()
    held.writer.error = errno.EIO
    held.writer.let_go()
    held.await_flight()
    assert (held.told, held.vdev.status) == ({"lost": Outcome.READ_ONLY}, VdevStatus.READ_ONLY)


def test_close__during_a_flight_ends_it_and_what_is_queued(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicast.target.store.vdev.FlushWriter", HeldWriter)
    bench = Bench(path, RealDisk())
    bench.append("out")
    assert bench.take_off()
    bench.append("queued")
    closing = threading.Thread(target=bench.vdev.close)  # as the daemon does
    closing.start()
    closing.join(WAIT_SECONDS)
    for _ in range(2):
        bench.hear()
    assert bench.told == {"out": Outcome.STORED, "queued": Outcome.STORED}
    assert bench.reopened_rows() == [1, 2, 3]


def test_flush__that_fails_before_it_takes_off_is_told(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(_self: object, *_: object) -> None:
        raise KeyError

    held.append("lost")
    monkeypatch.setattr(type(held.vdev._core), "plan", unexpected)
    assert not held.take_off()
    held.hear()
    assert (held.told, held.vdev.status) == ({"lost": Outcome.FAULTED}, VdevStatus.FAULTED)


def test_flight__that_cannot_be_published_ends_writing(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise KeyError

    held.append("lost")
    assert held.take_off()
    monkeypatch.setattr("replicast.target.store.index.apply_all", unexpected)
    held.writer.let_go()
    held.await_flight()
    assert held.vdev.status == VdevStatus.FAULTED and held.vdev._turn is Turn.NOBODYS


def nothing(_: Bench) -> None: ...


def a_chunk(bench: Bench) -> None:
    bench.append("more", CHUNK)


def a_hold(bench: Bench) -> None:
    bench.append("more", CHUNK)
    bench.append("held", Hold(CHUNK.chid, 9))


def a_full_segment(bench: Bench) -> None:
    core = bench.vdev._core
    core.segment = Segment(core.segment.incarnation, core.position.offset + 4096)


def a_large_one(bench: Bench) -> None:
    bench.append("more", bench.row(DIRECT_ABOVE_BYTES))


def a_refusal(bench: Bench) -> None:
    bench.vdev._core._refused.append(((bench.in_loop, "refused"), Outcome.BUSY))


def an_owed_one(bench: Bench) -> None:
    bench.vdev._core.owe([ChunkDrop(CHUNK.chid)])


@pytest.mark.parametrize(
    "what", [a_chunk, a_hold, a_full_segment, a_large_one, a_refusal, an_owed_one]
)
def test_other_flushes__are_the_commit_threads(held: Bench, what: Callable[[Bench], None]) -> None:
    held.append("row")
    what(held)
    assert not held.take_off() and held.writer.held is None
    held.hear()
    assert held.told["row"] == Outcome.STORED
    assert held.rows()[:2] == [1, 2]


@pytest.mark.parametrize(
    ("disk", "options"), [(ForgetfulDisk, {}), (RealDisk, {"write_delay_ns": 1})]
)
def test_other_vdevs__are_the_commit_threads(
    path: Path, disk: Callable[[], LockableDisk], options: dict[str, int]
) -> None:
    bench = Bench(path, disk(), **options)
    bench.append("row")
    bench.take_off()
    bench.hear()
    assert bench.told == {"row": Outcome.STORED} and not bench.flights
    bench.vdev.close()


def test_unattached__is_as_if_there_were_no_loop(path: Path) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    told: queue.SimpleQueue[Outcomes] = queue.SimpleQueue()
    vdev.queue([RowEntry(7, 1, 1, b"")], 1, told.put, FREEING)
    vdev.take_off()
    assert told.get(timeout=WAIT_SECONDS) == [(1, Outcome.STORED)]
    assert vdev.land() is None
    vdev.close()


def test_loop_and_threads__leave_nothing_lying(path: Path) -> None:
    """The loop appends rows, threads put chunks: each waits for an outcome before the next."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    bench = Bench(path, RealDisk())
    rows_count, chunks_count = 300, 100
    missing: list[int] = []

    def client(number: int) -> None:
        for turn in range(chunks_count):
            told = threading.Event()
            payload = b"%d %d" % (number, turn)
            chunk = Chunk(content_hash(1, payload), 1, payload)
            bench.vdev.submit([chunk], turn, lambda _, told=told: told.set())  # type: ignore[misc]
            if not told.wait(WAIT_SECONDS):
                missing.append(turn)
                return

    clients = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(2)]
    try:
        for each in clients:
            each.start()
        loop_side(bench, rows_count)
        for each in clients:
            each.join()
    finally:
        sys.setswitchinterval(before)
    assert not missing and set(bench.told.values()) == {Outcome.STORED}
    bench.vdev.close()
    assert bench.reopened_rows() == list(range(1, rows_count + 2))


def loop_side(bench: Bench, count: int) -> None:
    """Append, take off, and wait for the eventfd or for the commit thread, whichever tells."""
    poll = select.poll()
    poll.register(bench.notify_fd, select.POLLIN)
    heard = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    poll.register(heard, select.POLLIN)

    def done(outcomes: Outcomes) -> None:
        bench.from_thread.put(outcomes)
        os.eventfd_write(heard, 1)

    for token in range(count):
        bench.vdev.queue([bench.row()], token, done, FREEING)
        bench.vdev.take_off()
        while token not in bench.told:
            ready = poll.poll(WAIT_SECONDS * 1000)
            assert ready
            for fd, _ in ready:
                os.eventfd_read(fd)
            if bench.land():
                bench.vdev.take_off()
            while not bench.from_thread.empty():
                bench.told.update(bench.from_thread.get())
