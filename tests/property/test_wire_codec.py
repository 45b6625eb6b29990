"""Every registered message: round trips, one value one body, and both twins alike.

REPLICAST_FUZZ_COUNT sets how many mutated bodies each decoder gets (20,000).
"""

from __future__ import annotations

import importlib
import os
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.wire import codec_pure
from replicast.wire.codec import WireError, decode, encode
from replicast.wire.messages import MESSAGES
from replicast.wire.schema import Kind, Message, Struct

FAST: Any = codec_pure if PURE else importlib.import_module("replicast.native._codec")
FUZZ_COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "20000"))
PURE_FUZZ_COUNT = FUZZ_COUNT // 50  # the definition is slow and only has to agree
REASONS = {"truncated", "trailing", "range"}
CLASSES = [MESSAGES[number] for number in sorted(MESSAGES)]
each_message = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)

Outcome = tuple[str, object]


def outcome(codec: Any, number: int, body: bytes, start: int = 0) -> Outcome:
    """The value, or the reason; anything else is a failure of the test."""
    try:
        return ("value", codec.decode(number, body, start))
    except WireError as error:
        return ("error", error.reason)


# -- hypothesis --------------------------------------------------------------------


def of_kind(kind: Any) -> st.SearchStrategy[Any]:
    if not isinstance(kind, Kind):
        return of_struct(kind)
    bits = 8 * kind.size
    match kind.code:
        case "uint":
            return st.integers(0, (1 << bits) - 1)
        case "int":
            return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
        case "flag":
            return st.booleans()
        case "fixed":
            return st.binary(min_size=kind.size, max_size=kind.size)
        case "hash":
            return st.binary(min_size=1, max_size=kind.size)
        case "bytes":
            return st.binary(max_size=min(kind.size, 200))
        case "text":
            return st.text(max_size=min(kind.size // 4, 40))
        case "struct":
            return of_struct(kind.item)
        case _:
            return st.lists(of_kind(kind.item), max_size=min(kind.size, 4)).map(tuple)


def of_struct(cls: type[Struct]) -> st.SearchStrategy[Any]:
    return st.builds(cls, **{name: of_kind(kind) for name, kind in cls.PLAN})


@each_message
def test_round_trip__both_twins(cls: type[Message]) -> None:
    @settings(max_examples=15)
    @given(of_struct(cls))
    def check(message: Any) -> None:
        body = codec_pure.encode(message)
        assert encode(message) == body
        assert decode(cls.TYPE, body) == message == codec_pure.decode(cls.TYPE, body)
        assert decode(cls.TYPE, memoryview(b"xx" + body)[2:]) == message
        assert decode(cls.TYPE, b"xx" + body, 2) == message
        for start in (1, len(body) // 2, len(body), len(body) + 1):
            found = outcome(FAST, cls.TYPE, body, start)
            assert found == outcome(codec_pure, cls.TYPE, body, start)
        for codec in (FAST, codec_pure):
            with pytest.raises(ValueError, match="begin"):
                codec.decode(cls.TYPE, body, -1)

    check()


def in_pieces(codec: Any, number: int, body: bytes, cuts: list[int], head: bytes) -> Outcome:
    """outcome() of the same body cut there."""
    ends = sorted(min(cut, len(body)) for cut in cuts)
    starts = [0, *ends]
    pieces = [head + body[start:end] for start, end in zip(starts, [*ends, None], strict=True)]
    try:
        return ("value", codec.decode_pieces(number, pieces, len(head)))
    except WireError as error:
        return ("error", error.reason)


@each_message
def test_decode_pieces__as_the_whole_body(cls: type[Message]) -> None:
    @settings(max_examples=15)
    @given(
        of_struct(cls).map(codec_pure.encode),
        st.lists(st.integers(0, 400), max_size=6),
        st.sampled_from([b"", b"head"]),
        st.randoms(use_true_random=False),
    )
    def check(body: bytes, cuts: list[int], head: bytes, rng: random.Random) -> None:
        for found in (body, body + b"x", body[:-1], mutated(body, rng)):
            whole = outcome(codec_pure, cls.TYPE, found)
            for codec in (FAST, codec_pure):
                assert in_pieces(codec, cls.TYPE, found, cuts, head) == whole
                assert in_pieces(codec, cls.TYPE, found, list(range(0, 30)), head) == whole

    check()


def test_decode_pieces__what_is_none() -> None:
    for codec in (FAST, codec_pure):
        assert in_pieces(codec, 250, b"", [], b"") == ("error", "unknown_type")
        with pytest.raises(ValueError, match="behind"):
            codec.decode_pieces(CLASSES[0].TYPE, [b"abc", b"ab"], 3)
        with pytest.raises(ValueError, match="behind"):
            codec.decode_pieces(CLASSES[0].TYPE, [b"abc"], -1)


class Index:
    """Something that stands for an integer and is none."""

    def __index__(self) -> int:
        return 3


WRONG = [
    Index(),
    -1,
    1 << 64,
    -(1 << 63) - 1,
    None,
    "text",
    "\ud800",
    b"",
    b"x" * 65,
    1.5,
    (),
    [1],
    object(),
]


def encoding(codec: Any, message: Any) -> object:
    """The body, or the type of the error."""
    try:
        return codec.encode(message)
    except (WireError, TypeError) as error:
        return type(error), str(error) if isinstance(error, WireError) else ""


@each_message
def test_encode__refuses_the_same_values(cls: type[Message]) -> None:
    rng = random.Random(cls.TYPE)
    for name, kind in cls.PLAN:
        for wrong in [*WRONG, *([] if kind.code != "list" else [(w,) for w in WRONG])]:
            values = {n: sample(k, rng) for n, k in cls.PLAN} | {name: wrong}
            message = cls(**values)
            assert encoding(FAST, message) == encoding(codec_pure, message), (name, wrong)


# -- mutated bodies ------------------------------------------------------------------


def sample(kind: Any, rng: random.Random) -> Any:
    """A random value, cheaper than hypothesis."""
    if not isinstance(kind, Kind):
        return kind(**{name: sample(k, rng) for name, k in kind.PLAN})
    match kind.code:
        case "uint":
            return rng.getrandbits(8 * kind.size)
        case "int":
            return rng.getrandbits(8 * kind.size) - (1 << 8 * kind.size - 1)
        case "flag":
            return rng.random() < 0.5
        case "fixed":
            return rng.randbytes(kind.size)
        case "hash":
            return rng.randbytes(rng.randint(1, kind.size))
        case "bytes":
            return rng.randbytes(rng.randint(0, min(kind.size, 40)))
        case "text":
            return "".join(rng.choices("aé/😀", k=rng.randint(0, min(kind.size // 4, 6))))
        case "struct":
            return sample(kind.item, rng)
        case _:
            return tuple(sample(kind.item, rng) for _ in range(rng.randint(0, min(kind.size, 3))))


def long(kind: Kind, length: int, rng: random.Random) -> Any:
    if kind.code == "list":
        return tuple(sample(kind.item, rng) for _ in range(min(kind.size, length, 300)))
    raw = rng.randbytes(min(kind.size, length))
    return raw.hex()[: len(raw)] if kind.code == "text" else raw


@each_message
def test_encode__long_fields(cls: type[Message]) -> None:
    """However often the twin's room grows, and at which field."""
    rng = random.Random(cls.TYPE)
    kinds = [(name, kind) for name, kind in cls.PLAN if kind.code in ("bytes", "text", "list")]
    for length in (*range(440, 513, 8), 1000, 5000, 70_000, 300_000):
        for name, kind in kinds:
            fields = {n: sample(k, rng) for n, k in cls.PLAN} | {name: long(kind, length, rng)}
            message = cls(**fields)
            assert encode(message) == codec_pure.encode(message)
        message = cls(
            **{n: sample(k, rng) for n, k in cls.PLAN} | {n: long(k, length, rng) for n, k in kinds}
        )
        assert encode(message) == codec_pure.encode(message)


def mutated(body: bytes, rng: random.Random) -> bytes:
    """One to three small harms."""
    out = bytearray(body)
    bits = rng.getrandbits(64)
    for _ in range(1 + bits % 3):
        bits >>= 2
        at = (bits >> 8) % (len(out) + 1)
        harm = bits & 7
        if harm < 4 and at < len(out):
            out[at] = (0, 0xFF, 0x80, bits >> 24 & 0xFF)[harm]
        elif harm == 4:
            del out[at:]
        elif harm == 5:
            out[at:at] = b"\xff\xff"
        else:
            del out[at : at + 1]
        bits >>= 18
    return bytes(out)


def bodies(cls: type[Message], count: int, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed * 1000 + cls.TYPE)
    whole = [codec_pure.encode(sample(cls, rng)) for _ in range(20)]
    return [mutated(whole[i % 20], rng) for i in range(count)]


@each_message
def test_mutated_bodies__are_refused_or_canonical(cls: type[Message]) -> None:
    for body in bodies(cls, PURE_FUZZ_COUNT if PURE else FUZZ_COUNT):
        kind, value = outcome(FAST, cls.TYPE, body)
        if kind == "value":
            assert encode(value) == body  # type: ignore[arg-type]
        else:
            assert value in REASONS


@each_message
def test_mutated_bodies__twins_agree(cls: type[Message]) -> None:
    for body in bodies(cls, PURE_FUZZ_COUNT, seed=2):
        assert outcome(FAST, cls.TYPE, body) == outcome(codec_pure, cls.TYPE, body)


@pytest.mark.parametrize("codec", ["native", "pure"])
def test_decode__allocates_in_proportion_to_the_body(codec: str) -> None:
    """Counts and lengths that promise much more than follows buy nothing."""
    module = codec_pure if codec == "pure" else FAST
    inputs = [
        (cls.TYPE, harmed)
        for cls in CLASSES
        for body in bodies(cls, 4, seed=3)
        for harmed in (body, body + b"\xff\xff\xff\x00" * 4, b"\xff\xff\x00\x00" + body)
    ]
    for number, body in inputs:
        outcome(module, number, body)
    tracemalloc.start()
    try:
        for number, body in inputs:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            outcome(module, number, body)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 16_384 + 256 * len(body)
    finally:
        tracemalloc.stop()
