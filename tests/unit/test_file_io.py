"""What O_DIRECT is given: the same bytes, in whole blocks of aligned memory, copied only where needed."""

from __future__ import annotations

import mmap
import random
from threading import Thread

import pytest

from replicast.file_io import BLOCK_BYTES, COPY_BELOW_BYTES, aligned_pieces, is_aligned

Pieces = list[bytes | memoryview]


def aligned(size_bytes: int, seed: int) -> memoryview:
    memory = memoryview(mmap.mmap(-1, max(1, size_bytes)))[:size_bytes]
    memory[:] = random.Random(seed).randbytes(size_bytes)
    return memory


def in_new_thread(pieces: Pieces) -> Pieces:
    """By a thread that has no scratch memory yet."""
    found: list[Pieces] = []
    thread = Thread(target=lambda: found.append(aligned_pieces(pieces)))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(
    "sizes",
    [
        [COPY_BELOW_BYTES],
        [1 << 20, 1 << 20],
        [4096, 1 << 20],
        [(1 << 20) + 100, 3996],
        [100, 3996, 0, COPY_BELOW_BYTES],
    ],
)
def test_pieces__are_the_same_bytes_in_memory_that_the_device_takes(sizes: list[int]) -> None:
    pieces: Pieces = [aligned(size, seed) for seed, size in enumerate(sizes)]
    wanted = b"".join(pieces)
    made = in_new_thread(pieces)
    assert b"".join(made) == wanted
    for piece in made:
        assert is_aligned(memoryview(piece)) and len(piece) % BLOCK_BYTES == 0


def test_pieces__that_lie_right_are_not_copied() -> None:
    large = aligned(1 << 20, 1)
    (made,) = in_new_thread([large])
    assert isinstance(made, memoryview) and made.obj is large.obj
