"""The Vdev of the daemons: threads, the operating system's disk, LMDB, kill and power loss."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicast.clocks import now_ns
from replicast.disks import ForgetfulDisk, LockableDisk, RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import (
    ChunkMissing,
    Outcome,
    ReadError,
    ReadFailed,
    VdevBusy,
    VdevError,
    VdevStatus,
)
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk, Record, RowCut, RowEntry, RowUnstage
from replicast.target.store.shell import VOUCH_NS
from replicast.target.store.vdev import READ_THREADS, Vdev, open_checkpoint

CLUSTER = b"cluster-16-bytes"
WAIT_SECONDS = 60


class Waiter:
    """Collects outcomes and waits for them."""

    def __init__(self) -> None:
        self.outcomes: dict[object, Outcome] = {}
        self.batches = 0
        self._changed = threading.Condition()

    def done(self, outcomes: Outcomes) -> None:
        with self._changed:
            self.batches += 1
            self.outcomes.update(outcomes)
            self._changed.notify()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, WAIT_SECONDS)


def run(vdev: Vdev, *records: Record) -> Outcome:
    waiter = Waiter()
    vdev.submit(records, 1, waiter.done)
    waiter.wait(1)
    return waiter.outcomes[1]


def chunks_of(seed: int, count: int, size: int) -> list[Chunk]:
    rng = random.Random(seed)
    payloads = [rng.randbytes(size) for _ in range(count)]
    return [Chunk(content_hash(1, payload), 1, payload) for payload in payloads]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    format_vdev(RealDisk(), tmp_path / "vdev", CLUSTER, None, random.Random(1))
    return tmp_path / "vdev"


@pytest.fixture
def vdev(path: Path) -> Iterator[Vdev]:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    yield vdev
    vdev.close()


def test_submit__one_callback_per_flush(vdev: Vdev) -> None:
    """What is queued while a flush runs goes with the next one: here the first waits for all."""
    waiter, all_queued = Waiter(), threading.Event()
    chunks = chunks_of(1, 500, 4096)

    def done(outcomes: Outcomes) -> None:
        assert all_queued.wait(WAIT_SECONDS)
        waiter.done(outcomes)

    for chunk in chunks:
        vdev.submit([chunk], chunk.chid, done)
    all_queued.set()
    waiter.wait(500)
    assert set(waiter.outcomes.values()) == {Outcome.STORED}
    assert waiter.batches == vdev.stat().flush_count < 20
    assert vdev.counters.get("flush_records", vdev.vdev_id.hex()) == 500
    for chunk in chunks:
        assert vdev.read_chunk(chunk.chid) == chunk.payload
        assert vdev.read_chunk(chunk.chid, direct=True) == chunk.payload


def test_submit_read__in_a_thread_with_errors(vdev: Vdev) -> None:
    (chunk,) = chunks_of(2, 1, 100_000)
    assert run(vdev, chunk) == Outcome.STORED
    results: dict[object, bytes | ReadError] = {}
    ready = threading.Semaphore(0)

    def done(batch: list[tuple[object, bytes | ReadError]]) -> None:
        results.update(batch)
        ready.release()

    assert vdev.submit_read(chunk.chid, "there", done)
    assert vdev.submit_read(b"x" * 32, "missing", done, direct=True)
    assert ready.acquire(timeout=WAIT_SECONDS) and ready.acquire(timeout=WAIT_SECONDS)
    assert results["there"] == chunk.payload
    assert isinstance(results["missing"], ChunkMissing)


def test_reopen__all_is_there(path: Path) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    chunks = chunks_of(3, 20, 70_000)
    assert run(vdev, *chunks) == Outcome.STORED
    assert run(vdev, RowEntry(5, 1, 1, b"one"), RowCut(6, 0, (), b"state")) == Outcome.STORED
    vdev.view_write([(b"k" * 1000, b"v"), (b"gone", None)])
    vdev.close()
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    assert vdev.open_count == 2 and vdev.status == VdevStatus.OK
    assert [info.chid for info in vdev.iterate_chunks()] == sorted(c.chid for c in chunks)
    assert vdev.read_entry(vdev.row_log(5)[0]) == b"one"
    assert list(vdev.rows()) == [5, 6] and vdev.row_base(6) == b"state"
    assert vdev.view_get(b"k" * 1000) == b"v"
    vdev.close()


@pytest.mark.parametrize("broken", ["removed", "overwritten"])
def test_lost_index__is_rebuilt_from_the_log(path: Path, broken: str) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    chunks = chunks_of(4, 20, 5000)
    assert run(vdev, *chunks) == Outcome.STORED
    vdev.close()
    data = path / "index" / "data.mdb"
    if broken == "removed":
        data.unlink()
    else:
        data.write_bytes(random.Random(1).randbytes(data.stat().st_size))
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    assert vdev.status == VdevStatus.OK
    assert all(vdev.read_chunk(chunk.chid) == chunk.payload for chunk in chunks)
    vdev.close()


def test_index__read_only_reads_and_refuses_commits(path: Path) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    vdev.view_put(b"k", b"v")
    vdev.close()
    before = sorted(file.stat().st_mtime_ns for file in (path / "index").iterdir())
    checkpoint = open_checkpoint(path / "index", read_only=True)
    assert checkpoint.get(b"vk") == b"v"
    with pytest.raises(OSError):
        checkpoint.commit({b"vk": None})
    checkpoint.close()
    assert sorted(file.stat().st_mtime_ns for file in (path / "index").iterdir()) == before


def test_index__that_cannot_be_opened_is_not_removed(path: Path) -> None:
    data = path / "index" / "data.mdb"
    data.mkdir(parents=True)
    with pytest.raises(VdevError):
        Vdev.open(RealDisk(), path, CLUSTER)
    assert data.is_dir()


def test_open__twice_is_refused(vdev: Vdev, path: Path) -> None:
    with pytest.raises(VdevBusy):
        Vdev.open(RealDisk(), path, CLUSTER)


def test_vouch__needs_a_recent_flush(path: Path) -> None:
    stopped_ns = [now_ns()]  # the VDEV's own clock stands still: it never probes
    vdev = Vdev.open(RealDisk(), path, CLUSTER, clock_ns=lambda: stopped_ns[0])
    assert vdev.vouch(stopped_ns[0] + VOUCH_NS)
    assert not vdev.vouch(stopped_ns[0] + VOUCH_NS + 1)
    stopped_ns[0] += 10
    assert run(vdev, RowUnstage(1)) == Outcome.STORED
    assert vdev.vouch(stopped_ns[0] + VOUCH_NS)
    vdev.close()


def test_folder_that_vanishes__is_a_fault_and_no_damage(path: Path) -> None:
    """No copy is given up for it: all are there when the folder is back."""
    (chunk,) = chunks_of(3, 1, 100_000)
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    assert run(vdev, chunk) == Outcome.STORED
    vdev.close()
    vdev = Vdev.open(RealDisk(), path, CLUSTER, clock_ns=lambda: 0)  # which never probes
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(ReadFailed):
        vdev.read_chunk(chunk.chid)
    assert vdev.status == VdevStatus.FAULTED and vdev.reads_refused == 1 and vdev.has(chunk.chid)
    vdev.close()
    path.with_name("elsewhere").rename(path)
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    assert vdev.read_chunk(chunk.chid) == chunk.payload and not vdev.damage
    vdev.close()


def test_empty_vdev__is_small(vdev: Vdev, path: Path) -> None:
    assert run(vdev, RowUnstage(1)) == Outcome.STORED
    vdev._engine.checkpoint()
    used = sum(file.stat().st_blocks * 512 for file in path.rglob("*"))
    assert used < 8 << 20


def test_submissions_from_many_threads(vdev: Vdev) -> None:
    waiters = [Waiter() for _ in range(4)]

    def submit(number: int) -> None:
        for chunk in chunks_of(10 + number, 50, 2000):
            vdev.submit([chunk], chunk.chid, waiters[number].done)

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for waiter in waiters:
        waiter.wait(50)
        assert set(waiter.outcomes.values()) == {Outcome.STORED}
    assert len(vdev.iterate_chunks(limit=1000)) == 200


def test_forgetful_disk__power_loss_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    format_vdev(disk, tmp_path / "vdev", CLUSTER, None, random.Random(1))
    kept: list[Chunk] = []
    for turn in range(3):
        vdev = Vdev.open(disk, tmp_path / "vdev", CLUSTER)
        assert vdev.status == VdevStatus.OK
        assert all(vdev.read_chunk(chunk.chid) == chunk.payload for chunk in kept)
        chunks = chunks_of(20 + turn, 30, 40_000)
        assert run(vdev, *chunks) == Outcome.STORED
        kept += chunks
        disk.power_loss()
        vdev.close()


# -- what nobody expects -------------------------------------------------------------------


def unexpected(*args: object, **kwargs: object) -> None:
    raise ValueError("a bug")


def test_unexpected_error_in_a_flush__everybody_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    monkeypatch.setattr(vdev._engine, "finish", unexpected)
    assert run(vdev, RowUnstage(1)) == Outcome.FAULTED
    assert vdev.status == VdevStatus.FAULTED
    assert run(vdev, RowUnstage(1)) == Outcome.FAULTED
    vdev.close()
    assert "the VDEV is FAULTED: [Errno 5] internal error" in caplog.text


def test_unexpected_error_in_reads__readers_go_on(
    vdev: Vdev, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = chunks_of(5, 1, 1000)
    assert run(vdev, chunk) == Outcome.STORED
    results: list[bytes | ReadError] = []
    ready = threading.Semaphore(0)

    def done(batch: list[tuple[object, bytes | ReadError]]) -> None:
        results.append(batch[0][1])
        ready.release()

    with monkeypatch.context() as broken:
        broken.setattr(vdev._engine, "find_and_read", unexpected)
        for _ in range(2 * READ_THREADS):
            assert vdev.submit_read(chunk.chid, 1, done)
        for _ in range(2 * READ_THREADS):
            assert ready.acquire(timeout=WAIT_SECONDS)
    assert all(isinstance(result, ReadFailed) for result in results)
    assert vdev.submit_read(chunk.chid, 1, done) and ready.acquire(timeout=WAIT_SECONDS)
    assert results[-1] == chunk.payload


def test_unexpected_error_in_a_checkpoint__faults_and_the_thread_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    tried = threading.Semaphore(0)

    def checkpoint() -> bool:
        tried.release()
        raise ValueError("a bug")

    monkeypatch.setattr(vdev._engine, "checkpoint", checkpoint)
    vdev._checkpoint_wake.set()
    assert tried.acquire(timeout=WAIT_SECONDS)
    vdev.close()  # joins the thread
    assert vdev.status == VdevStatus.FAULTED


def test_open__that_fails_lets_go_of_everything(path: Path) -> None:
    (path / "log").rename(path / "elsewhere")
    with pytest.raises(VdevError) as caught:
        Vdev.open(RealDisk(), path, CLUSTER)
    (path / "elsewhere").rename(path / "log")
    Vdev.open(RealDisk(), path, CLUSTER).close()
    assert "cannot be read" in str(caught.value)


def test_index__that_cannot_be_made_anew_is_a_vdev_error(path: Path) -> None:
    (path / "index" / "data.mdb").write_bytes(random.Random(1).randbytes(1 << 16))
    (path / "index" / "folder").mkdir()
    with pytest.raises(VdevError, match="made anew"):
        Vdev.open(RealDisk(), path, CLUSTER)
    (path / "index" / "folder").rmdir()
    Vdev.open(RealDisk(), path, CLUSTER).close()


CHILD = """
import random, sys
from pathlib import Path
from replicast.disks import disk_named
from replicast.hashing import content_hash
from replicast.target.store.record import Chunk
from replicast.target.store.vdev import Vdev

vdev = Vdev.open(disk_named(sys.argv[2]), Path(sys.argv[1]), b"cluster-16-bytes")
rng = random.Random(int(sys.argv[3]))

def done(outcomes):
    for token, outcome in outcomes:
        assert outcome == 1
        sys.stdout.write(token.hex() + "\\n")
    sys.stdout.flush()

while True:
    payload = rng.randbytes(rng.randrange(1, 50_000))
    chid = content_hash(1, payload)
    while vdev.stat().queue_count > 64:
        pass
    vdev.submit([Chunk(chid, 1, payload)], chid, done)
"""


@pytest.mark.parametrize("disk", ["real", "forgetful"])
def test_kill_9__keeps_what_was_acknowledged(path: Path, disk: str) -> None:
    command = [sys.executable, "-c", CHILD, str(path), disk, "1"]
    acknowledged = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(200):
            acknowledged.append(bytes.fromhex(child.stdout.readline().decode()))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().decode().splitlines(keepends=True)
    acknowledged += [bytes.fromhex(line) for line in rest if line.endswith("\n")]
    real: LockableDisk = RealDisk()
    vdev = Vdev.open(real, path, CLUSTER)
    assert vdev.status == VdevStatus.OK, vdev.damage
    for chid in acknowledged:
        assert content_hash(1, vdev.read_chunk(chid)) == chid
    vdev.close()
