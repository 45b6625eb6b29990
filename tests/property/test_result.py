"""Results: the twins agree, and what was given out is never written again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.native._reassembly import Reassembly as FastReassembly
from replicast.native._result import Result as FastResult
from replicast.transfer_header import datagram_count, header_for
from replicast.transport.reassembly import FeedCode, Full
from replicast.transport.reassembly import Reassembly as PureReassembly
from replicast.transport.result_pure import Result as PureResult

SIZE, DATAGRAM = 1000, 256
COUNT = datagram_count(SIZE, DATAGRAM)
TWINS = [(FastReassembly, FastResult), (PureReassembly, PureResult)]
KINDS = [
    "open", "feed", "all", "foreign", "take", "drop", "close", "digest", "fill", "free", "result",
]  # fmt: skip


def transfer_id(which: int) -> bytes:
    return bytes([which]) * 16


def content(which: int) -> bytes:
    return random.Random(which).randbytes(SIZE)


def datagram(which: int, index: int) -> bytes:
    header = header_for(transfer_id(which), index, SIZE, DATAGRAM, 7)
    start = index * DATAGRAM
    return header.pack() + content(which)[start : start + header.length]


class Model:
    """One twin: a result of three sections, transfers that come and go, views of what was taken."""

    def __init__(self, twin: tuple[Any, Any], budget_bytes: int) -> None:
        self.reassembly = twin[0](budget_bytes, 8)
        self.result = twin[1](3 * SIZE)
        self.sections = [self.result.section(i * SIZE, SIZE) for i in range(3)]
        self.views: list[Any] = []
        self.taken: bytes | None = None

    def step(self, kind: str, which: int, draw: int) -> Any:
        """The value, or the type and text of the error."""
        try:
            return self._step(kind, which, self.sections[draw % 3], draw)
        except Exception as error:  # noqa: BLE001 - any difference between the twins counts
            return type(error).__name__, str(error)

    def _step(self, kind: str, which: int, section: Any, draw: int) -> Any:
        one, reassembly = transfer_id(which), self.reassembly
        if kind == "open":
            into = None if draw % 5 == 0 else section
            return reassembly.open(one, SIZE, DATAGRAM, draw % 7 == 0, bool(draw % 2), into)
        if kind == "feed":
            return reassembly.feed(datagram(which, draw % COUNT))
        if kind == "all":
            return [reassembly.place(one, 0, content(which)), reassembly.take_completed()]
        if kind == "foreign":
            return reassembly.open(one, SIZE + 1, DATAGRAM, False, False, section)
        if kind == "take":
            self.views.append(reassembly.take(one))
            return bytes(self.views[-1]) == content(which)
        if kind == "drop":
            return self.views.pop(draw % len(self.views)) is None if self.views else None
        if kind == "fill":
            return section.fill(content(which)[: SIZE - draw % 2])
        if kind == "free":
            return [each.free for each in self.sections]
        if kind == "result":
            self.taken = self.result.take()
            return len(self.taken)
        return getattr(reassembly, kind)(one)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 64)), max_size=60),
    st.sampled_from([4096, 3 * 4096, 1 << 20]),
)
def test_twins_agree__and_nothing_is_written_after_take(
    operations: list[tuple[str, int, int]], budget_bytes: int
) -> None:
    fast, pure = (Model(twin, budget_bytes) for twin in TWINS)
    given_out: list[tuple[bytes, bytes]] = []
    for kind, which, draw in operations:
        assert fast.step(kind, which, draw) == pure.step(kind, which, draw)
        assert fast.reassembly.stats() == pure.reassembly.stats()
        if kind == "result" and not given_out and fast.taken is not None:
            given_out.append((fast.taken, bytes(bytearray(fast.taken))))
        for now, then in given_out:
            assert now == then


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.sampled_from(TWINS))
def test_any_order_gives_the_bytes(rng: random.Random, twin: tuple[Any, Any]) -> None:
    """Sections of all lengths side by side; no byte beside its own is touched."""
    reassembly, lengths = twin[0](1 << 20, 16), [rng.randrange(1, 3000) for _ in range(6)]
    result = twin[1](sum(lengths))
    chunks = [rng.randbytes(length) for length in lengths]
    datagrams = []
    for number, chunk in enumerate(chunks):
        start, hashed = sum(lengths[:number]), bool(number % 2)
        section = result.section(start, len(chunk))
        reassembly.open(transfer_id(number), len(chunk), 256, False, hashed, section)
        for index in range(datagram_count(len(chunk), 256)):
            header = header_for(transfer_id(number), index, len(chunk), 256, 7)
            data = chunk[index * 256 : index * 256 + header.length]
            datagrams += [header.pack() + data] * rng.choice([1, 2])
    rng.shuffle(datagrams)
    for each in datagrams:
        reassembly.feed(each)
    for number, chunk in enumerate(chunks):
        digest = blake3(chunk).digest() if number % 2 else None
        assert reassembly.digest(transfer_id(number)) == digest
        assert reassembly.take(transfer_id(number)) == chunk
    assert result.take() == b"".join(chunks)
    assert reassembly.stats()["in_use_bytes"] == 0


@pytest.mark.parametrize("twin", TWINS)
def test_a_late_datagram_of_an_abandoned_transfer_writes_nothing(twin: tuple[Any, Any]) -> None:
    """A source is given up when half of its bytes have come, another one sends all, the result is
    given out, and then the rest of the first one comes."""
    reassembly, result = twin[0](1 << 20, 4), twin[1](SIZE)
    section = result.section(0, SIZE)
    reassembly.open(transfer_id(1), SIZE, DATAGRAM, False, True, section)
    for index in range(2):
        assert reassembly.feed(datagram(1, index)) == FeedCode.PLACED
    with pytest.raises(RuntimeError, match="in use"):
        reassembly.open(transfer_id(2), SIZE, DATAGRAM, False, True, section)
    with pytest.raises(RuntimeError, match="not to be written"):
        section.fill(content(2))
    with pytest.raises(RuntimeError, match="not to be taken"):
        result.take()
    reassembly.close(transfer_id(1))
    reassembly.open(transfer_id(2), SIZE, DATAGRAM, False, True, section)
    for index in range(COUNT):
        reassembly.feed(datagram(1, index))
        reassembly.feed(datagram(2, index))
    assert reassembly.digest(transfer_id(2)) == blake3(content(2)).digest()
    view = reassembly.take(transfer_id(2))
    assert not section.free  # somebody looks at it
    given_out = result.take()
    del view
    for index in range(COUNT):
        for which in (1, 2):
            assert reassembly.feed(datagram(which, index)) == FeedCode.UNKNOWN_TRANSFER
    with pytest.raises(RuntimeError, match="in use"):
        reassembly.open(transfer_id(3), SIZE, DATAGRAM, False, True, section)
    with pytest.raises(RuntimeError, match="not to be written"):
        section.fill(content(1))
    with pytest.raises(RuntimeError, match="not to be taken"):
        result.take()
    assert given_out == content(2)


@pytest.mark.parametrize("twin", TWINS)
def test_a_section_takes_of_the_budget_what_a_buffer_does(twin: tuple[Any, Any]) -> None:
    reassembly, result = twin[0](2 * 4096, 8), twin[1](4 * SIZE)
    sections = [result.section(i * SIZE, SIZE) for i in range(3)]
    for i in range(2):
        reassembly.open(transfer_id(i), SIZE, DATAGRAM, False, False, sections[i])
    with pytest.raises(Full):
        reassembly.open(transfer_id(2), SIZE, DATAGRAM, False, False, sections[2])
    assert sections[2].free
    reassembly.place(transfer_id(0), 0, content(0))
    view = reassembly.take(transfer_id(0))
    with pytest.raises(Full):
        reassembly.open(transfer_id(2), SIZE, DATAGRAM, False, False, sections[2])
    del view
    reassembly.open(transfer_id(2), SIZE, DATAGRAM, False, False, sections[2])


@pytest.mark.parametrize("twin", TWINS)
def test_a_transfer_outlives_whoever_wanted_it(twin: tuple[Any, Any]) -> None:
    """Its memory is there as long as it is open, and as somebody looks at it."""
    reassembly, result = twin[0](1 << 20, 8), twin[1](2 * SIZE)
    for i in range(2):
        section = result.section(i * SIZE, SIZE)
        reassembly.open(transfer_id(i), SIZE, DATAGRAM, False, True, section)
    del result, section
    reassembly.place(transfer_id(0), 0, content(0))
    view = reassembly.take(transfer_id(0))
    reassembly.feed(datagram(1, 0))
    del reassembly
    assert view == content(0)


@pytest.mark.parametrize("twin", TWINS)
def test_a_view_outlives_the_result_that_was_given_out(twin: tuple[Any, Any]) -> None:
    """Somebody still hashes what one source sent when the reader has its object and is done with it."""
    size_bytes = (
        400  # so small that Python's own allocator gives its memory to the next of that size
    )
    expected = random.Random(1).randbytes(size_bytes)
    reassembly, result = twin[0](1 << 20, 4), twin[1](size_bytes)
    reassembly.open(transfer_id(1), size_bytes, 512, False, False, result.section(0, size_bytes))
    reassembly.place(transfer_id(1), 0, expected)
    view = reassembly.take(transfer_id(1))
    assert result.take() == expected
    others = [bytes([number]) * size_bytes for number in range(100)]
    assert view == expected
    del others


@pytest.mark.parametrize(
    ("start", "size_bytes"), [(-1, 10), (0, 0), (0, -1), (0, 101), (100, 1), (1 << 70, 1)]
)
def test_what_is_no_section_is_the_same_error(start: int, size_bytes: int) -> None:
    texts = set()
    for _, kind in TWINS:
        with pytest.raises(ValueError, match="of a result") as caught:
            kind(100).section(start, size_bytes)
        texts.add(str(caught.value))
    assert len(texts) == 1
    for size in (0, -5):
        for _, kind in TWINS:
            with pytest.raises(ValueError, match=f"a result of {size} bytes"):
                kind(size)
