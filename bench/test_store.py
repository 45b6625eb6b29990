"""What one VDEV does: group commit of small and large chunks, reads, recovery.

Figures are of the disk that holds pytest's temporary directory (--basetemp).
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from meter import TINY, Case, measure
from results import digest_of, size_text

from replicast.disks import RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk, Record, RowEntry
from replicast.target.store.vdev import Vdev

CLUSTER = b"cluster-16-bytes"
RECORDS = 2_000 if TINY else 200_000
RECOVERIES = 1 if TINY else 3
ROWS = 64
BATCH_CHUNKS = 32  # at least, in a run


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    format_vdev(RealDisk(), tmp_path / "vdev", CLUSTER, None, random.Random(1))
    yield tmp_path / "vdev"
    shutil.rmtree(tmp_path)


@pytest.fixture
def vdev(path: Path) -> Iterator[Vdev]:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    yield vdev
    vdev.close()


def submit_all(vdev: Vdev, batch: list[list[Record]]) -> None:
    """Submit each as its own, wait for all."""
    left = [len(batch)]
    ended = threading.Event()

    def done(outcomes: Outcomes) -> None:
        assert all(outcome == Outcome.STORED for _, outcome in outcomes)
        left[0] -= len(outcomes)
        if not left[0]:
            ended.set()

    for token, records in enumerate(batch):
        vdev.submit(records, token, done)
    assert ended.wait(300)


def chunks_of(rng: random.Random, count: int, size: int) -> list[list[Record]]:
    payloads = [rng.randbytes(size) for _ in range(count)]
    return [[Chunk(content_hash(1, payload), 1, payload)] for payload in payloads]


def digest_of_chunks(vdev: Vdev, chids: list[bytes]) -> str:
    """Of what is read back, which is what its names say."""
    payloads = [vdev.read_chunk(chid) for chid in chids]
    assert [content_hash(1, payload) for payload in payloads] == chids
    return digest_of(b"".join(payloads))


@pytest.mark.parametrize(
    ("count", "size_bytes"),
    [(1, 4096), (32, 4096), (1000, 4096), (1, 1 << 20), (8, 1 << 20), (64, 1 << 20)],
)
def test_put_batch(benchmark: Any, vdev: Vdev, count: int, size_bytes: int) -> None:
    """`count` chunks submitted at once, until all are durable. New ones each time: the store has the
    others already."""
    rng = random.Random(count)
    batches = 1 if TINY else max(1, BATCH_CHUNKS // count)
    last: list[list[Record]] = []

    def setup() -> tuple[list[list[list[Record]]]]:
        made = [chunks_of(rng, count, size_bytes) for _ in range(batches)]
        last[:] = made[-1]
        return (made,)

    def put(made: list[list[list[Record]]]) -> None:
        for batch in made:
            submit_all(vdev, batch)

    measure(
        benchmark,
        case_of(f"store put {count} x", batches * count, size_bytes),
        put,
        setup=setup,
        digest=lambda _: digest_of_chunks(vdev, [record.chid for (record,) in last]),
    )


@pytest.mark.parametrize("direct", [False, True])
def test_read_chunk(benchmark: Any, vdev: Vdev, direct: bool) -> None:
    """1 MiB chunks, from the page cache and past it."""
    batch = chunks_of(random.Random(2), 16, 1 << 20)
    submit_all(vdev, batch)
    chids = [info.chid for info in vdev.iterate_chunks()]
    assert chids == sorted(record.chid for (record,) in batch)
    measure(
        benchmark,
        case_of(f"store get {'direct' if direct else 'cached'}", len(chids), 1 << 20),
        lambda: [vdev.read_chunk(chid, direct=direct) for chid in chids],
        digest=lambda payloads: digest_of(b"".join(payloads)),
    )


def case_of(what: str, count: int, size_bytes: int) -> Case:
    name = f"{what} {size_text(size_bytes)}"
    return Case(name, operations=count, size_bytes=count * size_bytes)


@pytest.mark.parametrize("what", ["index kept", "index lost"])
def test_recovery(benchmark: Any, path: Path, what: str) -> None:
    """Open after 200,000 small records: half empty chunks with a hold, half row entries."""
    fill(path)
    opened: list[Vdev] = []

    def setup() -> tuple[()]:
        while opened:
            opened.pop().close()
        if what == "index lost":
            shutil.rmtree(path / "index")
        return ()

    def recover() -> Vdev:
        opened.append(Vdev.open(RealDisk(), path, CLUSTER))
        return opened[0]

    case = Case(f"store recovery of {RECORDS} keys, {what}", runs=RECOVERIES)
    vdev = measure(benchmark, case, recover, setup=setup, digest=digest_of_all)
    if what == "index lost":
        assert vdev._engine.recovered.replayed_records == RECORDS
    opened.pop().close()


def fill(path: Path) -> None:
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    rng = random.Random(3)
    for start in range(0, RECORDS, 10_000):
        submit_all(
            vdev,
            [
                [
                    chunk_of(rng.randbytes(8), hold_until_ns=start),
                    RowEntry(index % ROWS, 1, start + index, b"x" * 100),
                ]
                for index in range(min(10_000, RECORDS) // 2)
            ],
        )
    vdev.close()


def chunk_of(payload: bytes, *, hold_until_ns: int) -> Chunk:
    return Chunk(content_hash(1, payload), 1, payload, hold_until_ns, verify=False)


def digest_of_all(vdev: Vdev) -> str:
    """Of every key that was recovered."""
    chids = [info.chid for info in vdev.iterate_chunks(limit=RECORDS)]
    entries = [[each.index for each in vdev.row_log(row)] for row in range(ROWS)]
    assert len(chids) + sum(map(len, entries)) == RECORDS
    return digest_of((chids, entries))
