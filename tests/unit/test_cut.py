"""put_stream.cut(): a source as chunks of exactly one size, with as few copies as its owners allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from replicast.gateway.put_stream import KEPT_BYTES_MIN, cut, whole

from .object_memory import CHUNK, noise


def test_cut__blocks_may_be_reused_by_their_owner():
    async def run() -> None:
        block = bytearray(noise(CHUNK))

        async def source() -> AsyncIterator[bytearray]:
            for number in range(3):
                block[0] = number
                yield block

        cuts = [bytes(c) async for c in cut(source(), CHUNK)]
        assert [c[0] for c in cuts] == [0, 1, 2]

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, 100, KEPT_BYTES_MIN, 3 * KEPT_BYTES_MIN + 7])
def test_cut__what_belongs_to_others_is_copied_whatever_comes_with_it(size):
    big, small = noise(KEPT_BYTES_MIN), noise(100)
    owned = [bytearray(big), bytearray(small)]
    blocks = [big, owned[0], small, owned[1], memoryview(big), memoryview(owned[0]), big]
    expected = b"".join(bytes(block) for block in blocks)

    async def run() -> None:
        async def source() -> AsyncIterator[Any]:
            for block in blocks:
                yield block
            for each in owned:
                each[:] = bytes(len(each))

        cuts = [c async for c in cut(source(), size)]
        assert [len(c) for c in cuts[:-1]] == [size] * (len(cuts) - 1)
        assert b"".join(cuts) == expected

    asyncio.run(run())


def test_cut__a_chunk_that_came_in_one_piece_is_not_copied():
    async def run() -> None:
        block = noise(3 * KEPT_BYTES_MIN)

        async def source() -> AsyncIterator[bytes]:
            yield block

        cuts = [c async for c in cut(source(), 2 * KEPT_BYTES_MIN)]
        assert all(isinstance(c, memoryview) and c.obj is block for c in cuts)

    asyncio.run(run())


def test_cut__empty_blocks_and_no_blocks():
    async def run() -> None:
        async def source() -> AsyncIterator[bytes]:
            for block in (b"", b"ab", b"", b"c", b""):
                yield block

        assert [bytes(c) async for c in cut(source(), 2)] == [b"ab", b"c"]
        assert [c async for c in cut(b"", 2)] == []

    asyncio.run(run())


# -- versioning ----------------------------------------------------------------------


def test_whole__is_what_is_at_hand_and_fits():
    block = noise(100)
    fits = whole(block, 100)
    assert fits is not None and fits.obj is block and fits == block
    assert whole(memoryview(block).cast("I"), 100) == block, "bytes, whatever they were"
    assert whole(block, 99) is None
    assert whole(source_of(block), 100) is None


async def source_of(block: bytes) -> AsyncIterator[bytes]:
    yield block
