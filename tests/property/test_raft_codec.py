"""Values of the Raft journal and messages: round trips, mutated bytes, both twins alike."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.flexhash.raft import codec_pure
from replicast.flexhash.raft.codec_pure import CodecError
from replicast.native import PURE

FAST: Any = codec_pure if PURE else importlib.import_module("replicast.native._raft_codec")
NUMBERS = st.integers(-(1 << 63) - 2, (1 << 63) + 2)
KEYS = st.none() | st.booleans() | NUMBERS | st.binary(max_size=9) | st.text(max_size=9)
FOREIGN = st.sampled_from([1.5, bytearray(b"x"), frozenset(), object, "\ud800"])
VALUES = st.recursive(
    KEYS | FOREIGN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


def typed(value: object) -> object:
    """The value with all its types: True == 1, and (1,) is no [1]."""
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    if isinstance(value, dict):
        return [(typed(key), typed(item)) for key, item in value.items()]
    return type(value), value


def outcome(call: Any, argument: object) -> object:
    try:
        return typed(call(argument))
    except (CodecError, UnicodeEncodeError) as error:
        return type(error), str(error)


@given(VALUES)
def test_dumps__both_twins(value: object) -> None:
    packed = outcome(codec_pure.dumps, value)
    assert outcome(FAST.dumps, value) == packed
    if isinstance(packed, tuple) and packed[0] is bytes:
        assert typed(FAST.loads(packed[1])) == typed(value) == typed(codec_pure.loads(packed[1]))


@given(st.binary(max_size=60))
def test_loads__any_bytes_both_twins(raw: bytes) -> None:
    assert outcome(FAST.loads, raw) == outcome(codec_pure.loads, raw)
    assert outcome(FAST.loads, memoryview(raw)) == outcome(codec_pure.loads, raw)


EXAMPLE = {
    "type": "append_entries",
    "term": 7,
    "serialized": None,
    "entries": [(b"\0command", 3, 2), ("\u00e4", -1, [{(1, b""): True}])],
    "deep": [[[[[[[1]]]]]]],
}


def test_loads__mutated_bytes_both_twins() -> None:
    rng = random.Random(1)
    packed = codec_pure.dumps(EXAMPLE)
    for _ in range(20000):
        raw = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            # Tags most often: that is what changes the shape.
            raw[rng.randrange(len(raw))] = rng.choice([*b"NTFibstld", rng.randrange(256), 0, 1])
        cut = bytes(raw[: rng.randrange(len(raw) + 1)]) if rng.random() < 0.2 else bytes(raw)
        assert outcome(FAST.loads, cut) == outcome(codec_pure.loads, cut)


@pytest.mark.parametrize("levels", [8, 9])
def test_depth__both_twins(levels: int) -> None:
    value: object = 1
    for _ in range(levels):
        value = [value]
    raw = b"l\1\0\0\0" * levels + b"N"
    assert outcome(FAST.dumps, value) == outcome(codec_pure.dumps, value)
    assert outcome(FAST.loads, raw) == outcome(codec_pure.loads, raw)
    assert ("nested too deep" in str(outcome(FAST.loads, raw))) == (levels == 9)


def test_large_values__both_twins() -> None:
    value = [bytes(100_000), "x" * 5000, list(range(3000))]
    assert FAST.dumps(value) == codec_pure.dumps(value)
    assert FAST.loads(FAST.dumps(value)) == value
