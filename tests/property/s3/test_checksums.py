"""The CRCs of S3: both twins alike, known values, splits, and values of two blocks made one."""

from __future__ import annotations

import array
import importlib
import os
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from awscrt import checksums as awscrt
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3 import checksums_pure
from replicast.native import PURE

FAST: Any = checksums_pure if PURE else importlib.import_module("replicast.native._checksums")
PAIRS_COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "20000")) // 100
WIDTHS = {"crc32": 32, "crc32c": 32, "crc64nvme": 64}
NAMES = sorted(WIDTHS)
# A block of 64 bytes is folded, a shorter one goes by table; beyond 2048 the lock is given up.
EDGES = [0, 1, 7, 8, 9, 15, 16, 63, 64, 65, 127, 128, 129, 191, 192, 2047, 2048, 2049, 4096]
BLOCKS = st.one_of(st.binary(max_size=300), st.sampled_from(EDGES).map(lambda n: fill(n, n)))

# What the catalogue of parametrised CRC algorithms calls "check", and RFC 3720, B.4.
KNOWN = [
    ("crc32", b"123456789", 0xCBF43926),
    ("crc32c", b"123456789", 0xE3069283),
    ("crc64nvme", b"123456789", 0xAE8B14860A799888),
    ("crc32c", bytes(32), 0x8A9136AA),
    ("crc32c", b"\xff" * 32, 0x62A8AB43),
    ("crc32c", bytes(range(32)), 0x46DD794E),
    ("crc64nvme", bytes(4096), 0x6482D367EB22B64E),
    ("crc64nvme", b"\xff" * 4096, 0xC0DDBA7302ECA3AC),
]


def fill(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def outcome(call: Callable[..., int], *arguments: object) -> object:
    try:
        return call(*arguments)
    except (ValueError, TypeError, BufferError) as error:
        return type(error)


def both(name: str, *arguments: object) -> object:
    """What both twins answer, or the type of error that both raise."""
    answer = outcome(getattr(checksums_pure, name), *arguments)
    assert outcome(getattr(FAST, name), *arguments) == answer
    return answer


@pytest.mark.parametrize(("name", "block", "value"), KNOWN)
def test_known_values(name: str, block: bytes, value: int) -> None:
    assert both(name, 0, block) == value


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_update__twins_and_a_stranger_agree(name: str, data: st.DataObject) -> None:
    crc, block = data.draw(st.integers(0, (1 << WIDTHS[name]) - 1)), data.draw(BLOCKS)
    assert both(name, crc, block) == getattr(awscrt, name)(block, crc)


@given(st.integers(0, (1 << 32) - 1), BLOCKS)
def test_crc32__is_zlibs(crc: int, block: bytes) -> None:
    assert both("crc32", crc, block) == zlib.crc32(block, crc)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 100, 1000, 5000])
def test_update__piece_by_piece_and_at_any_address(name: str, size: int) -> None:
    rng = random.Random(size)
    whole = fill(size + 16, size)
    for offset in range(16):
        block = memoryview(whole)[offset : offset + size]
        crc, done = 0, 0
        while done < size:
            step = rng.randrange(1, 200)
            crc = getattr(FAST, name)(crc, block[done : done + step])
            done += step
        assert crc == getattr(FAST, name)(0, block)


@pytest.mark.parametrize("name", NAMES)
@given(a=BLOCKS, b=BLOCKS)
def test_combine__is_the_value_of_both(name: str, a: bytes, b: bytes) -> None:
    update = getattr(FAST, name)
    assert both(f"combine_{name}", update(0, a), update(0, b), len(b)) == update(0, a + b)


@pytest.mark.parametrize("name", NAMES)
def test_combine__of_lengths_nobody_has_at_hand(name: str) -> None:
    rng = random.Random(7)
    for _ in range(PAIRS_COUNT):
        a, b = rng.getrandbits(WIDTHS[name]), rng.getrandbits(WIDTHS[name])
        # Beyond 5 TiB, and not 0: there the stranger forgets what B left.
        length = rng.randrange(1, 1 << rng.randrange(1, 44))
        expected = getattr(awscrt, f"combine_{name}")(a, b, length)
        assert getattr(FAST, f"combine_{name}")(a, b, length) == expected
    # The plain one is slow: once, for the longest that it takes.
    assert isinstance(both(f"combine_{name}", a, b, (1 << 61) - 1), int)


@pytest.mark.parametrize("name", NAMES)
def test_errors__are_alike(name: str) -> None:
    width = WIDTHS[name]
    for crc in (-1, 1 << width, 1 << 70):
        assert both(name, crc, b"x") is ValueError
        assert both(f"combine_{name}", crc, 0, 1) is ValueError
        assert both(f"combine_{name}", 0, crc, 1) is ValueError
    for length in (-1, 1 << 61, 1 << 64):
        assert both(f"combine_{name}", 0, 0, length) is ValueError
    for no_number in (1.0, "1", None):
        assert both(name, no_number, b"x") is TypeError
        assert both(f"combine_{name}", 0, 0, no_number) is TypeError
    for no_block in ("x", 1, None, [1]):
        assert both(name, 0, no_block) is TypeError
    assert both(name, 0, memoryview(b"abcdef")[::2]) is BufferError


@pytest.mark.parametrize("name", NAMES)
def test_update__takes_what_has_bytes(name: str) -> None:
    words = array.array("I", [1, 2, 3, 0xFFFFFFFF])
    plain = words.tobytes()
    for block in (plain, bytearray(plain), memoryview(plain), words, memoryview(words)):
        assert both(name, 0, block) == both(name, 0, plain)
    for nothing in (b"", bytearray(), memoryview(b""), array.array("I")):
        assert both(name, 5, nothing) == 5
