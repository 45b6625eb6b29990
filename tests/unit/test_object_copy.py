"""Copies of objects: every chunk held, the content the same, nothing sent."""

from __future__ import annotations

import asyncio

import pytest

from replicast.errors import ConditionFailed, InvalidRequest, NotFound, Unavailable
from replicast.gateway.conditions import condition
from replicast.gateway.put_stream import PutReport

from .object_memory import CHUNK, INLINE, memory, noise, objects, read

__all__ = ["memory", "objects"]
FANOUT = 1024  # references of one manifest (docs/formats.md)


@pytest.mark.parametrize("size", [0, INLINE, INLINE + 1, 3 * CHUNK + 1, (FANOUT + 3) * CHUNK])
def test_copy__has_the_same_content_and_holds_every_chunk(objects, memory, size):
    async def run() -> None:
        data = noise(size)
        source = await objects.put("b", "n", data, metadata={"kind": "x"})
        stored = dict(memory.chunks)
        report = PutReport()
        copied = await objects.copy("b", "n", "b", "to", report=report)
        assert await read(objects, "to") == data
        assert (copied.etag, copied.size_bytes) == (source.etag, size)
        assert copied.version.time_ns > source.version.time_ns
        assert copied.metadata == {"kind": "x"}
        assert sorted(memory.holds) == sorted(stored) and memory.chunks == stored
        assert (report.logical_bytes, report.sent_bytes, report.stored_copies) == (size, 0, 0)
        assert report.inline == (size <= INLINE)
        assert report.chunks == report.chunks_deduplicated == len(stored)

    asyncio.run(run())


def test_copy__holds_a_few_chunks_at_a_time(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", noise(40 * CHUNK))
        memory.in_flight_most = 0
        await objects.copy("b", "n", "b", "to")
        assert memory.in_flight_most == 4

    asyncio.run(run())


def test_copy__of_an_older_version_under_other_metadata(objects):
    async def run() -> None:
        old = await objects.put("b", "n", noise(5 * CHUNK), metadata={"a": "1"})
        await objects.put("b", "n", noise(100, seed=2))
        copied = await objects.copy("b", "n", "b", "n", version=old.version, metadata={"b": "2"})
        assert await read(objects, "n") == noise(5 * CHUNK)
        assert copied.metadata == {"b": "2"} and copied.etag != old.etag
        assert (await objects.head("b", "n"))[0].metadata == {"b": "2"}

    asyncio.run(run())


def test_copy__says_which_chunks_are_short_of_copies(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", noise(3 * CHUNK))
        memory.copies = 2
        report = PutReport()
        copied = await objects.copy("b", "n", "b", "to", report=report)
        assert sorted(report.short_of_copies) == sorted(memory.chunks)
        assert copied.short_chunks == 3

    asyncio.run(run())


def test_copy__a_chunk_that_cannot_be_held_makes_no_version(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", noise(30 * CHUNK))
        memory.lost.add(sorted(memory.chunks)[7])
        with pytest.raises(Unavailable):
            await objects.copy("b", "n", "b", "to")
        assert memory.in_flight == 0
        with pytest.raises(NotFound):
            await objects.head("b", "to")

    asyncio.run(run())


def test_copy__conditions_are_about_the_new_name(objects):
    async def run() -> None:
        await objects.put("b", "n", noise(100))
        await objects.put("b", "to", noise(50))
        with pytest.raises(ConditionFailed):
            await objects.copy("b", "n", "b", "to", when=condition(if_none_match="*"))
        assert await read(objects, "to") == noise(50)
        await objects.copy("b", "n", "b", "new", when=condition(if_none_match="*"))
        assert await read(objects, "new") == noise(100)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (("b", "none", "b", "to"), NotFound),
        (("none", "n", "b", "to"), NotFound),
        (("b", "n", "none", "to"), NotFound),
        (("b", "n", "b", "x" * 1025), InvalidRequest),
        (("b", "", "b", "to"), InvalidRequest),
    ],
)
def test_copy__from_or_to_what_there_is_not(objects, memory, place, error):
    async def run() -> None:
        await objects.put("b", "n", noise(3 * CHUNK))
        with pytest.raises(error):
            await objects.copy(*place)
        assert not memory.holds

    asyncio.run(run())
