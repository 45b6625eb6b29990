"""A Vdev that is attached to a loop, which is the test; its commit thread never wakes by itself."""

from __future__ import annotations

import os
import queue
import random
import select
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import LockableDisk, RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome, RecordClass
from replicast.target.store.flush_writer import FlushWriter
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk, Record, RowEntry
from replicast.target.store.vdev import Turn, Vdev

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


def proved(size: int, seed: int) -> Chunk:
    payload = random.Random(seed).randbytes(size)
    return Chunk(content_hash(1, payload), 1, payload, verify=False)


SMALL = proved(100, 7)
