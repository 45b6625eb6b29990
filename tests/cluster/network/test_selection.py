"""Selection is real: slow and full VDEVs of a running cluster get fewer copies, equal ones share.

8 VDEVs on 4 hosts. One is slowed by 50 ms a write and one is filled to 80 % of a small capacity
before the cluster starts; then objects of 1 MiB are put through the embedded initiator, and the
VDEVs that acknowledged each chunk are counted. The quick variant is over within a few seconds, in which one
slow sync of the disk that all VDEVs share, or a target that a busy machine kept waiting, rightly keeps puts
from a VDEV: its limits for equal VDEVs only tell that each takes part and none takes over. The slow variant
has the real ones, and tests/property/test_select.py those of VDEVs that nothing disturbs.
"""

from __future__ import annotations

import asyncio
import queue
import random
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import replicast
from replicast.disks import RealDisk
from replicast.formation import load_formation, toml_pairs
from replicast.hashing import HashAlgorithm, content_hash
from replicast.target.store.errors import Outcome
from replicast.target.store.format import read_header
from replicast.target.store.record import Chunk
from replicast.target.store.vdev import open_vdev

MIB = 1 << 20
VDEVS, COPIES = 8, 3
IN_FLIGHT = 8
BATCH = 16
BATCH_SECONDS = 60
FILLED_PERCENT = 80


def _fill(folder: Path, cluster_id: bytes, size_bytes: int) -> None:
    """Put chunks of nobody into a VDEV that no daemon has open."""
    rng = random.Random(99)
    vdev = open_vdev(folder, cluster_id)
    outcomes: queue.Queue[list[tuple[object, Outcome]]] = queue.Queue()
    try:
        for _ in range(0, size_bytes, MIB * BATCH):
            blocks = [rng.randbytes(MIB) for _ in range(BATCH)]
            algorithm = HashAlgorithm.BLAKE3_256
            records = [Chunk(content_hash(algorithm, b), algorithm, b) for b in blocks]
            vdev.submit(records, None, outcomes.put)
            assert outcomes.get(timeout=BATCH_SECONDS) == [(None, Outcome.STORED)]
    finally:
        vdev.close()


def _set_vdevs(target: Path, vdevs: str) -> None:
    path = target / "target.toml"
    values = tomllib.loads(path.read_text())
    path.write_text("\n".join(toml_pairs(values | {"vdevs": vdevs})) + "\n")


async def _put_all(cluster, count: int, seed: int) -> tuple[Counter[int], dict[str, int]]:
    """Put `count` objects; copies by VDEV index, and the index of each VDEV folder's id."""
    rng, copies = random.Random(seed), Counter[int]()
    async with await replicast.connect(cluster.data) as client:
        initiator = client._opened.initiator
        put_chunk = initiator.put_chunk

        async def counting(data, **more):
            placed = await put_chunk(data, **more)
            copies.update(placed.vdevs)
            return placed

        initiator.put_chunk = counting
        await client.create_bucket("selection")
        room = asyncio.Semaphore(IN_FLIGHT)

        async def put(number: int, data: bytes) -> None:
            async with room:
                await client.put("selection", f"{number:06}", data)

        for first in range(0, count, BATCH):
            numbers = range(first, min(count, first + BATCH))
            await asyncio.gather(*(put(n, rng.randbytes(MIB)) for n in numbers))
        indexes = {e.vdev_id.hex(): i for i, e in initiator.table.vdevs.items()}
    return copies, indexes


def _vdev_id(folder: Path) -> str:
    return read_header(RealDisk(), folder).vdev_id.hex()


def _unequal(make_cluster, count: int, filled_bytes: int) -> None:
    cluster = make_cluster()
    cluster.down()
    slow, full = cluster.data / "t1" / "v1", cluster.data / "t2" / "v1"
    _fill(full, load_formation(cluster.data / "t2").cluster_id, filled_bytes)
    capacity = filled_bytes * 100 // FILLED_PERCENT
    _set_vdevs(cluster.data / "t1", "v1;write_delay_ms=50,v2")
    _set_vdevs(cluster.data / "t2", f"v1;capacity={capacity},v2")
    cluster.up()
    copies, indexes = asyncio.run(_put_all(cluster, count, 1))
    total, mean = copies.total(), copies.total() / VDEVS
    slow_share = copies[indexes[_vdev_id(slow)]] / total
    full_copies = copies[indexes[_vdev_id(full)]]
    print(f"\n{total} copies: slow {slow_share:.1%}, full {full_copies} of a mean of {mean:.0f}")
    print(sorted(copies.items()))
    assert total >= count * COPIES
    assert slow_share <= 0.05
    assert full_copies < mean


def _equal(make_cluster, count: int, low: float, high: float) -> None:
    copies, _ = asyncio.run(_put_all(make_cluster(), count, 2))
    shares = [number / copies.total() for _, number in sorted(copies.items())]
    print("\nequal VDEVs:", " ".join(f"{share:.1%}" for share in shares))
    assert len(shares) == VDEVS and copies.total() >= count * COPIES
    assert low <= min(shares) and max(shares) <= high


def test_selection__slow_and_full_get_less(make_cluster):
    _unequal(make_cluster, 240, 768 * MIB)


def test_selection__equal_ones_share(make_cluster):
    _equal(make_cluster, 240, 0.02, 0.25)


@pytest.mark.slow
def test_selection__slow_and_full_get_less_of_2000(make_cluster):
    _unequal(make_cluster, 2000, 3072 * MIB)


@pytest.mark.slow
def test_selection__equal_ones_share_2000(make_cluster):
    _equal(make_cluster, 2000, 0.08, 0.17)
