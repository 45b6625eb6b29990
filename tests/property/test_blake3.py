"""BLAKE3 as native code has it: as the package, whatever the size, the pieces and the lanes."""

from __future__ import annotations

import array
import importlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE

pytestmark = pytest.mark.skipif(PURE, reason="the package is the definition")
FAST: Any = None if PURE else importlib.import_module("replicast.native._blake3")
KIB = 1024
BODY = random.Random(3).randbytes(4 * KIB * KIB + 5 * KIB)
# Blocks of 64 bytes, chunks of 1 KiB, 16 lanes of chunks, subtrees of any power of two of chunks.
UNITS = [64 * n for n in range(18)] + [KIB * n for n in range(1, 36)]
UNITS += [16 * KIB * n for n in range(3, 20)] + [KIB << n for n in range(13)]
SIZES = sorted({max(0, unit + off) for unit in UNITS for off in (-KIB, -1, 0, 1, KIB)})
KEY = bytes(range(200, 232))
KEYS: list[bytes | None] = [None, KEY]
STEPS = [1, 63, 64, 1000, KIB, KIB + 1, 3 * KIB, 17 * KIB, 61_440, 64 * KIB, 127 * KIB, 129 * KIB]
PIECES = st.lists(
    st.sampled_from([0, *STEPS])
    | st.integers(0, 5000)
    | st.integers(0, 300).map(lambda count: count * KIB),
    max_size=8,
)
BAD: list[Any] = ["text", None, 5, memoryview(BODY[:200])[::2], array.array("I", [1, 2])]
GOOD: list[Any] = [
    bytearray(b"one"),
    memoryview(BODY)[1:3000],
    array.array("b", [1, -2]),
    memoryview(BODY[:16]).cast("B", (4, 4)),
]


@pytest.fixture(scope="module", params=[16, 8, 4, 1])
def fast(request: pytest.FixtureRequest) -> Iterator[Any]:
    FAST.use_lanes(request.param)
    assert FAST.lanes() <= request.param
    yield FAST.Blake3
    FAST.use_lanes(16)


def test_a_known_value(fast: Any) -> None:
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert fast().digest().hex() == blake3().hexdigest() == empty


@pytest.mark.parametrize("key", KEYS, ids=["plain", "keyed"])
def test_all_sizes_in_one_piece(fast: Any, key: bytes | None) -> None:
    body = memoryview(BODY)
    wrong = [
        size
        for size in SIZES
        if fast(key=key).update(body[:size]).digest() != blake3(body[:size], key=key).digest()
    ]
    assert wrong == []


@pytest.mark.parametrize("key", KEYS, ids=["plain", "keyed"])
@pytest.mark.parametrize("step", STEPS)
def test_pieces_of_one_size(fast: Any, step: int, key: bytes | None) -> None:
    """With a digest after each of the first: it may be asked for, and more may come."""
    body = memoryview(BODY)[: min(len(BODY), 3000 * step)]
    ours, twin = fast(key=key), blake3(key=key)
    for at in range(0, len(body), step):
        ours.update(body[at : at + step])
        twin.update(body[at : at + step])
        if at < 40 * step:
            assert ours.digest() == twin.digest()
    assert ours.digest() == ours.digest() == twin.digest()


@given(PIECES, st.integers(0, 70), st.none() | st.binary(min_size=32, max_size=32))
def test_any_pieces(fast: Any, sizes: list[int], start: int, key: bytes | None) -> None:
    ours, twin, body = fast(key=key), blake3(key=key), memoryview(BODY)
    for size in sizes:
        piece = body[start : start + size]
        assert ours.update(piece) is ours
        twin.update(piece)
        assert ours.digest() == twin.digest()
        start += size


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size__is_refused_as_by_the_package(fast: Any, size: int) -> None:
    for what in (fast, blake3):
        with pytest.raises(ValueError, match=f"expected a 32-byte key, found {size}"):
            what(key=bytes(size))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: type(bad).__name__)
def test_errors__are_those_of_the_package_and_nothing_was_hashed(fast: Any, bad: Any) -> None:
    with pytest.raises((TypeError, BufferError)) as expected:
        blake3().update(bad)
    ours = fast().update(b"one")
    with pytest.raises(expected.type) as error:
        ours.update(bad)
    assert str(error.value) == str(expected.value) or expected.type is BufferError
    assert ours.digest() == blake3(b"one").digest()


@pytest.mark.parametrize("good", GOOD, ids=lambda good: type(good).__name__)
def test_any_buffer_of_bytes(fast: Any, good: Any) -> None:
    assert fast().update(good).digest() == blake3().update(good).digest()
