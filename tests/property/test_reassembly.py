"""Reassembly: the twins agree under any order, duplication, loss and mutation."""

from __future__ import annotations

import random
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.native._reassembly import Reassembly as Fast
from replicast.transfer_header import HEADER_BYTES, PAYLOAD_MAGIC, datagram_count, header_for
from replicast.transport.reassembly import FeedCode
from replicast.transport.reassembly import Reassembly as Definition

IDS = [bytes([i]) * 16 for i in range(4)]
OPENED = [(False, True), (False, False), (True, True), (True, False)]  # authenticated, hashed
SIZES = st.sampled_from([1, 255, 256, 257, 4096, 5000, 70_000])
DATAGRAM_SIZES = st.sampled_from([256, 264, 1408, 8192, 61_440])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["open", "feed", "mutate", "cut", "place", "gaps", "digest", "take", "close", "done"]
        ),
        st.integers(0, 3),
        st.integers(0, 1 << 16),
    ),
    max_size=60,
)


def chunk_of(which: int, size_bytes: int) -> bytes:
    return random.Random(which).randbytes(size_bytes)


def datagram(which: int, index: int, size_bytes: int, datagram_bytes: int) -> bytes:
    header = header_for(IDS[which], index, size_bytes, datagram_bytes, 7)
    start = index * datagram_bytes
    return header.pack() + chunk_of(which, size_bytes)[start : start + header.length]


def outcome(reassembly: Any, name: str, *arguments: Any) -> Any:
    """The value, or the type and text of the error."""
    try:
        value = getattr(reassembly, name)(*arguments)
    except Exception as error:  # noqa: BLE001 - any difference between the twins counts
        return type(error).__name__, str(error)
    return bytes(value) if isinstance(value, memoryview) else value


def step(reassembly: Any, kind: str, which: int, draw: int, sizes: tuple[int, int]) -> Any:
    size_bytes, datagram_bytes = sizes
    count = datagram_count(size_bytes, datagram_bytes)
    one = datagram(which, draw % count, size_bytes, datagram_bytes)
    if kind == "open":
        return outcome(reassembly, "open", IDS[which], size_bytes, datagram_bytes, *OPENED[which])
    if kind == "feed":
        return outcome(reassembly, "feed", one)
    if kind == "mutate":
        mutated = bytearray(one)
        mutated[draw % min(len(one), HEADER_BYTES + 2)] ^= 1 + draw % 255
        return outcome(reassembly, "feed", bytes(mutated))
    if kind == "cut":
        return outcome(reassembly, "feed", one[: draw % (len(one) + 1)])
    if kind == "place":
        offset = draw % (size_bytes + 2) - 1
        data = chunk_of(which, size_bytes)[max(offset, 0) : max(offset, 0) + draw % 3000]
        return outcome(reassembly, "place", IDS[which], offset, data)
    if kind == "gaps":
        limit = draw % 5
        return outcome(reassembly, "gaps", IDS[which], limit), outcome(
            reassembly, "progress", IDS[which]
        )
    if kind == "done":
        return outcome(reassembly, "take_completed")
    return outcome(reassembly, kind, IDS[which])


@settings(max_examples=300)
@given(OPERATIONS, SIZES, DATAGRAM_SIZES, st.sampled_from([4096, 16_384, 1 << 20]))
def test_twins_agree(
    operations: list[tuple[str, int, int]], size_bytes: int, datagram_bytes: int, budget: int
) -> None:
    definition, fast = Definition(budget, 3), Fast(budget, 3)
    for kind, which, draw in operations:
        sizes = (size_bytes, datagram_bytes)
        assert step(definition, kind, which, draw, sizes) == step(fast, kind, which, draw, sizes)
        assert definition.stats() == fast.stats()


@settings(max_examples=60)
@given(
    st.randoms(use_true_random=False),
    st.integers(1, 40_000),
    DATAGRAM_SIZES,
    st.sampled_from([Definition, Fast]),
)
def test_any_order_with_loss_gives_the_bytes(
    rng: random.Random, size_bytes: int, datagram_bytes: int, kind: Any
) -> None:
    reassembly = kind(1 << 20, 4)
    reassembly.open(IDS[0], size_bytes, datagram_bytes)
    count = datagram_count(size_bytes, datagram_bytes)
    order = [i for i in range(count) for _ in range(rng.choice([0, 1, 2]))]
    rng.shuffle(order)
    codes = [reassembly.feed(datagram(0, i, size_bytes, datagram_bytes)) for i in order]
    for start, end in reassembly.gaps(IDS[0], 1 << 16):
        for index in range(start // datagram_bytes, datagram_count(end, datagram_bytes)):
            codes.append(reassembly.feed(datagram(0, index, size_bytes, datagram_bytes)))
    assert codes.count(FeedCode.COMPLETED) == 1
    assert reassembly.take_completed() == [IDS[0]]
    assert bytes(reassembly.take(IDS[0])) == chunk_of(0, size_bytes)
    assert reassembly.stats()["in_use_bytes"] == 0


@settings(max_examples=500)
@given(st.binary(max_size=200), st.booleans())
def test_noise_is_dropped_and_counted(noise: bytes, with_magic: bool) -> None:
    if with_magic:
        noise = PAYLOAD_MAGIC.to_bytes(4, "little") + noise
    for reassembly in (Definition(8192, 2), Fast(8192, 2)):
        reassembly.open(IDS[0], 5000, 256)
        code = reassembly.feed(noise)
        assert FeedCode.SHORT <= code <= FeedCode.DUPLICATE
        assert reassembly.stats()[FeedCode(code).name.lower()] == 1


@pytest.mark.parametrize(
    ("budget_bytes", "transfers_max"),
    [(-1, 4), (4095, 4), (1 << 80, 0), (8192, -1), (8192, (1 << 16) + 1), (8192, 1 << 80)],
)
def test_no_room_is_the_same_error(budget_bytes: int, transfers_max: int) -> None:
    texts = set()
    for kind in (Definition, Fast):
        with pytest.raises(ValueError, match="no room") as caught:
            kind(budget_bytes, transfers_max)
        texts.add(str(caught.value))
    assert len(texts) == 1


@settings(max_examples=30)
@given(
    st.integers(1, 600_000),
    st.sampled_from([256, 1408, 8192, 61_440]),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_digest__whatever_the_order(
    size_bytes: int, datagram_bytes: int, rng: random.Random, disorder: int
) -> None:
    """In order, nearly so, from behind, or anyhow; some of it by place()."""
    chunk = chunk_of(0, size_bytes)
    order = list(range(datagram_count(size_bytes, datagram_bytes)))
    if disorder == 1:
        order.sort(key=lambda index: index + rng.randrange(4))
    elif disorder == 2:
        order.reverse()
    elif disorder == 3:
        rng.shuffle(order)
    for reassembly in (Fast(1 << 20, 4), Definition(1 << 20, 4)):
        reassembly.open(IDS[0], size_bytes, datagram_bytes, False, True)
        for index in order:
            header = header_for(IDS[0], index, size_bytes, datagram_bytes, 7)
            start = index * datagram_bytes
            piece = chunk[start : start + header.length]
            if index % 5:
                reassembly.feed(header.pack() + piece)
            else:
                reassembly.place(IDS[0], start, piece)
        assert reassembly.digest(IDS[0]) == blake3(chunk).digest()
        assert reassembly.take(IDS[0]) == chunk
