"""What one VDEV does: group commit of small and large chunks, reads, recovery.

Figures are of the disk that holds pytest's temporary directory (--basetemp).
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import RealDisk
from replicast.hashing import content_hash
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk, Record, RowEntry
from replicast.target.store.vdev import Vdev

CLUSTER = b"cluster-16-bytes"
TINY = os.environ.get("REPLICAST_BENCH_TINY") == "1"


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


def report(benchmark: Any, count: int, size: int, cpu_seconds: float) -> None:
    """MB/s, op/s and CPU per round (making the test data included)."""
    if benchmark.stats is None:  # --benchmark-disable
        return
    seconds = benchmark.stats.stats.median
    print(
        f"\n{benchmark.name}: {size / seconds / 1e6:.0f} MB/s, {count / seconds:.0f} op/s, "
        f"{cpu_seconds:.4f} CPU s a round"
    )


def chunks_of(rng: random.Random, count: int, size: int) -> list[list[Record]]:
    payloads = [rng.randbytes(size) for _ in range(count)]
    return [[Chunk(content_hash(1, payload), 1, payload)] for payload in payloads]


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 4096), (32, 4096), (1000, 4096), (1, 1 << 20), (8, 1 << 20), (64, 1 << 20)],
)
def test_put_batch(benchmark: Any, vdev: Vdev, count: int, size: int) -> None:
    """`count` chunks submitted at once, until all are durable."""
    rng = random.Random(count)
    started = time.process_time()

    def setup() -> tuple[tuple[Vdev, list[list[Record]]], dict[str, object]]:
        return (vdev, chunks_of(rng, count, size)), {}

    rounds = 2 if TINY else 10
    benchmark.pedantic(submit_all, setup=setup, rounds=rounds)
    report(benchmark, count, count * size, (time.process_time() - started) / rounds)


@pytest.mark.parametrize("direct", [False, True])
def test_read_chunk(benchmark: Any, vdev: Vdev, direct: bool) -> None:
    """1 MiB chunks, from the page cache and past it."""
    batch = chunks_of(random.Random(2), 16, 1 << 20)
    submit_all(vdev, batch)
    chids = [info.chid for info in vdev.iterate_chunks()]
    started = time.process_time()
    rounds = 2 if TINY else 10
    benchmark.pedantic(
        lambda: [vdev.read_chunk(chid, direct=direct) for chid in chids],
        rounds=rounds,
    )
    report(benchmark, len(chids), len(chids) << 20, (time.process_time() - started) / rounds)


@pytest.mark.parametrize("what", ["index kept", "index lost"])
def test_recovery(benchmark: Any, path: Path, what: str) -> None:
    """Open after 200,000 small records: half empty chunks with a hold, half row entries."""
    count = 2_000 if TINY else 200_000
    vdev = Vdev.open(RealDisk(), path, CLUSTER)
    rng = random.Random(3)
    for start in range(0, count, 10_000):
        submit_all(
            vdev,
            [
                [
                    Chunk(rng.randbytes(32), 1, b"", hold_until_ns=start, verify=False),
                    RowEntry(index % 64, 1, start + index, b"x" * 100),
                ]
                for index in range(min(10_000, count) // 2)
            ],
        )
    vdev.close()
    opened: list[Vdev] = []

    def setup() -> None:
        while opened:
            opened.pop().close()
        if what == "index lost":
            shutil.rmtree(path / "index")

    benchmark.pedantic(
        lambda: opened.append(Vdev.open(RealDisk(), path, CLUSTER)),
        setup=setup,
        rounds=1 if TINY else 3,
    )
    if what == "index lost":
        assert opened[0]._engine.recovered.replayed_records == count
    opened.pop().close()
