"""Flushes of a Vdev that its loop begins and ends: what they store, and what when they fail.

The test is the loop.
"""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import RealDisk
from replicast.target.store.errors import Outcome, VdevStatus
from replicast.target.store.vdev import Turn

from .commit_threads import WAIT_SECONDS
from .flight_bench import SMALL, Bench, HeldWriter, held, path, proved

__all__ = ["held", "path"]


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
    assert held.told == {"lost": Outcome.FAULTED}
    assert held.vdev.status == VdevStatus.FAULTED and held.vdev._turn is Turn.NOBODYS
