"""MD5 of several messages at a time: both twins alike, whatever the pieces, lanes and errors."""

from __future__ import annotations

import array
import hashlib
import importlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3 import md5_pure
from replicast.native import PURE

FAST: Any = md5_pure if PURE else importlib.import_module("replicast.native._md5")
# A block of 64 bytes is hashed, a shorter rest waits; beyond 2048 the lock is given up.
EDGES = [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 640, 2048, 2049, 5000]
PIECES = st.lists(st.sampled_from(EDGES) | st.integers(0, 300), max_size=5)
ROUNDS = st.lists(st.lists(PIECES, max_size=40), max_size=3)
# RFC 1321, A.5.
KNOWN = [
    (b"", "d41d8cd98f00b204e9800998ecf8427e"),
    (b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    (b"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
    (b"1234567890" * 8, "57edf4a22be3c955ac49da2e2107b67a"),
]
BAD: list[Any] = ["text", None, 5, memoryview(bytes(200))[::2]]


@pytest.fixture(scope="module", params=[1] if PURE else [16, 8, 4, 1])
def twin(request: pytest.FixtureRequest) -> Iterator[Any]:
    if not PURE:
        FAST.use_lanes(request.param)
        assert FAST.lanes() <= request.param
    yield FAST
    if not PURE:
        FAST.use_lanes(16)


@pytest.mark.parametrize(("message", "digest"), KNOWN)
def test_known_values(twin: Any, message: bytes, digest: str) -> None:
    for module in (twin, md5_pure):
        alone = module.Md5()
        alone.update(message)
        assert alone.digest().hex() == digest


@given(ROUNDS, st.integers(0, 1000))
def test_any_messages_in_any_pieces(twin: Any, rounds: list[list[list[int]]], seed: int) -> None:
    rng = random.Random(seed)
    count = max(map(len, rounds), default=0)
    fast, pure = [twin.Md5() for _ in range(count)], [md5_pure.Md5() for _ in range(count)]
    bodies = [b""] * count
    for sizes in rounds:
        pieces = [[rng.randbytes(size) for size in each] for each in sizes]
        for at, each in enumerate(pieces):
            bodies[at] += b"".join(each)
        twin.update_together(zip(fast, pieces, strict=False))
        md5_pure.update_together(zip(pure, pieces, strict=False))
        expected = [hashlib.md5(body).digest() for body in bodies]
        assert [each.digest() for each in fast] == expected
        assert [each.digest() for each in pure] == expected


@pytest.mark.parametrize("length", [55, 56, 64, 1000])
def test_more_messages_than_lanes__of_very_different_lengths(twin: Any, length: int) -> None:
    bodies = [random.Random(n).randbytes(length * (1 + n * 7 % 23)) for n in range(50)]
    messages = [twin.Md5() for _ in bodies]
    twin.update_together([(each, [body]) for each, body in zip(messages, bodies, strict=True)])
    for each, body in zip(messages, bodies, strict=True):
        assert each.digest() == hashlib.md5(body).digest()


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: type(bad).__name__)
def test_errors__are_those_of_hashlib_and_nothing_was_hashed(twin: Any, bad: Any) -> None:
    with pytest.raises((TypeError, BufferError)) as expected:
        hashlib.md5(bad)
    for module in (twin, md5_pure):
        first, second = module.Md5(), module.Md5()
        with pytest.raises(expected.type):
            module.update_together([(first, [b"x"]), (second, [b"y", bad])])
        assert first.digest() == second.digest() == hashlib.md5(b"").digest()
        second.update(b"z")
        assert second.digest() == hashlib.md5(b"z").digest()


def test_one_message_twice__is_refused(twin: Any) -> None:
    for module in (twin, md5_pure):
        one = module.Md5()
        with pytest.raises(ValueError):
            module.update_together([(one, [b"x"]), (one, [b"y"])])
        with pytest.raises(TypeError):
            module.update_together([(hashlib.md5(), [b"x"])])
        one.update(array.array("I", [1, 2]))
        assert one.digest() == hashlib.md5(array.array("I", [1, 2])).digest()
