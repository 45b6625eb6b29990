"""Whose turn it is to flush a Vdev: the loop's, or the commit thread's.

The commit thread never wakes by itself here. The test is the loop.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from replicast.disks import DIRECT_ABOVE_BYTES, ForgetfulDisk, LockableDisk, RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes, Segment
from replicast.target.store.engine import FLIGHT_BYTES
from replicast.target.store.errors import Outcome
from replicast.target.store.record import Chunk, ChunkDrop, Hold, Record, RowEntry
from replicast.target.store.vdev import PROBE_NS, Vdev

from .commit_threads import WAIT_SECONDS
from .flight_bench import CHUNK, CLUSTER, FREEING, SMALL, Bench, held, path, proved

__all__ = ["held", "path"]


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
