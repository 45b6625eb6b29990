"""gateway/objects.py and put_stream.py over an initiator in memory: what is put is got back."""

from __future__ import annotations

import asyncio
import random

import pytest

from replicast.errors import InvalidRequest
from replicast.gateway.put_stream import PutReport
from replicast.wire.documents import MANIFEST
from replicast.wire.name_messages import SHORT_CHUNKS_MAX

from .object_memory import CHUNK, INLINE, blocks, memory, noise, objects, read

__all__ = ["memory", "objects"]


@pytest.mark.parametrize(
    "size", [0, 1, INLINE, INLINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK]
)
@pytest.mark.parametrize("block", [1, 7, CHUNK, 1000])
def test_put_get__every_size_in_every_cut(objects, memory, size, block):
    async def run() -> None:
        data = noise(size)
        report = PutReport()
        stored = await objects.put("b", "n", blocks(data, block), report=report)
        assert await read(objects, "n") == data == await objects.read("b", "n")
        assert stored.size_bytes == size == report.logical_bytes
        assert report.inline == (size <= INLINE)
        assert report.chunks == (0 if size <= INLINE else -(-size // CHUNK))

    asyncio.run(run())


def test_put__from_bytes_bytearray_and_memoryview(objects):
    async def run() -> None:
        data = noise(3 * CHUNK + 5)
        etags = set()
        for form in (data, bytearray(data), memoryview(data)):
            etags.add((await objects.put("b", "n", form)).etag)
        assert len(etags) == 1
        assert await read(objects, "n") == data

    asyncio.run(run())


def test_put__the_same_content_is_stored_once(objects, memory):
    async def run() -> None:
        data = noise(8 * CHUNK)
        await objects.put("b", "one", data)
        held, report = len(memory.chunks), PutReport()
        await objects.put("b", "two", data, report=report)
        assert len(memory.chunks) == held
        assert (report.sent_bytes, report.stored_copies) == (0, 0)
        assert report.chunks == report.chunks_deduplicated == 8

    asyncio.run(run())


def test_put__tells_which_chunks_are_short_of_copies(objects, memory):
    async def run() -> None:
        memory.copies = 2
        report = PutReport()
        stored = await objects.put("b", "n", noise(3 * CHUNK), report=report)
        assert sorted(report.short_of_copies) == sorted(memory.chunks)
        assert stored.short_chunks == 3

    asyncio.run(run())


def test_put__commits_however_many_chunks_are_short_of_copies(objects, memory):
    async def run() -> None:
        memory.copies = 2
        stored = await objects.put("b", "n", noise(5000 * CHUNK))
        assert len(memory.chunks) > SHORT_CHUNKS_MAX == stored.short_chunks

    asyncio.run(run())


def test_put__never_more_chunks_in_flight_than_allowed(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", blocks(noise(40 * CHUNK), 3 * CHUNK))
        assert memory.in_flight_most == 4
        memory.in_flight_most = 0
        assert len(await read(objects, "n")) == 40 * CHUNK
        assert memory.in_flight_most == 4  # three ahead of the one that is waited for

    asyncio.run(run())


def test_put__a_tall_object_is_a_tree(objects, memory):
    """More references than a body holds: manifest chunks in between, read back by range."""

    async def run() -> None:
        count = 2600
        data = noise(count * CHUNK + 13)
        report = PutReport()
        await objects.put("b", "tall", data, report=report)
        _, body = await objects.head("b", "tall")
        kinds = {reference.kind for reference in body.references}
        assert kinds == {MANIFEST} and len(body.references) == 3
        assert report.chunks == count + 1 + 3
        assert await read(objects, "tall") == data
        every = [r async for r in objects.bodies.all_references(body.references)]
        assert len(every) == count + 1 + 3
        for first, last in [(0, 0), (CHUNK - 1, CHUNK), (1024 * CHUNK - 5, 1024 * CHUNK + 5)]:
            assert await read(objects, "tall", (first, last)) == data[first : last + 1]
        memory.reads.clear()
        end = len(data) - 1
        assert await read(objects, "tall", (end - 20, end + 1000)) == data[end - 20 :]
        assert len(memory.reads) == 3  # one manifest chunk, two leaves: not the whole tree

    asyncio.run(run())


def test_get__ranges(objects):
    async def run() -> None:
        data = noise(5 * CHUNK + 7)
        await objects.put("b", "n", data)
        rng = random.Random(3)
        for _ in range(200):
            first = rng.randrange(len(data))
            last = first + rng.randrange(3 * CHUNK)
            assert await read(objects, "n", (first, last)) == data[first : last + 1]
        for bad in [(-1, 5), (7, 6), (len(data), len(data) + 1)]:
            with pytest.raises(InvalidRequest):
                await read(objects, "n", bad)
        await objects.put("b", "inline", data[:10])
        assert await read(objects, "inline", (2, 4)) == data[2:5]
        await objects.put("b", "empty", b"")
        assert await read(objects, "empty") == b""
        with pytest.raises(InvalidRequest):
            await read(objects, "empty", (0, 0))

    asyncio.run(run())


def test_get__one_version_and_metadata(objects):
    async def run() -> None:
        first = await objects.put("b", "n", b"first", metadata={"color": "red", "a": "ä"})
        await objects.put("b", "n", noise(CHUNK + 1))
        got = [bytes(x) async for x in objects.get("b", "n", version=first.version)]
        assert b"".join(got) == b"first"
        info, _ = await objects.head("b", "n", version=first.version)
        assert info.metadata == {"color": "red", "a": "ä"}
        assert [v.version for v in await objects.versions("b", "n")][-1] == first.version

    asyncio.run(run())
