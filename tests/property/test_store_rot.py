"""One flipped bit or one lost block anywhere in the log: told as damage, never wrong data."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.hashing import content_hash
from replicast.memory_disk import MemoryDisk
from replicast.target.store.errors import Outcome, ReadError, VdevStatus
from replicast.target.store.memory import PATH, MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import Chunk, RowEntry
from replicast.target.store.segment import BLOCK_BYTES

CLUSTER = b"cluster-16-bytes"
FLUSHES = 8
SIZES = (50, 3000, 40_000)


def filled(rng: random.Random) -> tuple[MemoryDisk, MemoryCheckpoint, dict[bytes, bytes]]:
    """A VDEV without power, with one chunk and one row entry in each flush, over several segments."""
    disk, checkpoint, chunks = MemoryDisk(), MemoryCheckpoint(), dict[bytes, bytes]()
    MemoryVdev.format(disk, CLUSTER, rng)
    vdev = MemoryVdev.open(disk, checkpoint, CLUSTER)
    vdev._core.segment_bytes_min = 64 << 10
    outcomes: list[tuple[object, Outcome]] = []
    for number in range(FLUSHES):
        payload = rng.randbytes(rng.choice(SIZES))
        chid = content_hash(1, payload)
        chunks[chid] = payload
        entry = RowEntry(1, 1, number + 1, chid)
        vdev.submit([Chunk(chid, 1, payload), entry], number, outcomes.extend)
        vdev.run_all()
        if number == FLUSHES // 2:
            assert vdev._engine.checkpoint()
    assert [outcome for _, outcome in outcomes] == [Outcome.STORED] * FLUSHES
    vdev.crash()
    return disk, checkpoint, chunks


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.booleans(), st.booleans())
def test_rot__is_reported_and_never_read_as_data(
    seed: int, whole_block: bool, index_lost: bool
) -> None:
    rng = random.Random(seed)
    disk, checkpoint, chunks = filled(rng)
    path = PATH / "log" / rng.choice(disk.list(PATH / "log"))
    size = disk.open(path).size()
    if whole_block:
        at = rng.randrange(size // BLOCK_BYTES) * BLOCK_BYTES
        disk.open(path).write(at, [bytes(BLOCK_BYTES)])
        disk.open(path).sync()
    else:
        disk.flip_bit(path, rng.randrange(size), rng.randrange(8))
    # Kept, the index knows half of the log; lost, all of it is read again.
    vdev = MemoryVdev.open(disk, MemoryCheckpoint() if index_lost else checkpoint, CLUSTER)
    check(vdev, chunks, index_lost)
    vdev.close()


def check(vdev: MemoryVdev, chunks: dict[bytes, bytes], index_lost: bool) -> None:
    found = {entry.index: entry for entry in vdev.row_log(1)}
    order = list(chunks)
    unreadable = 0
    for index, entry in found.items():
        try:
            assert vdev.read_entry(entry) == order[index - 1]
        except ReadError:
            unreadable += 1
    # What the index knows already is not read again by an open: a read tells.
    assert unreadable <= (0 if index_lost else 1)
    acknowledged = set(range(1, FLUSHES))  # the last flush may pass for a torn tail
    if not acknowledged <= set(found):
        assert vdev.status == VdevStatus.DAMAGED
    assert len(acknowledged - set(found)) <= 1, "one bad place costs one flush"
    wrong = 0
    for info in vdev.iterate_chunks():
        try:
            wrong += vdev.read_chunk(info.chid) != chunks[info.chid]
        except ReadError:
            wrong += 1
    assert wrong <= 1, "only the rotten payload itself reads wrong; its hash tells"
