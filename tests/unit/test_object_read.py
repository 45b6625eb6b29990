"""gateway/objects.py: a whole object at once."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from replicast.errors import NotFound
from replicast.gateway.objects import ObjectLimits, Objects
from replicast.transport.result import Section
from replicast.wire.documents import Reference

from .object_memory import CHUNK, MemoryInitiator, noise


class Buffer(bytearray):
    """One that a test can look after."""


LIMITS = ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4, get_read_ahead=3)


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7]
)  # nothing, inline, one chunk, several, with a short end
def test_read__is_what_was_put(size: int) -> None:
    objects = Objects(MemoryInitiator(), LIMITS)

    async def run() -> None:
        data = noise(size)
        await objects.put("b", "k", data)
        found = await objects.read("b", "k")
        assert type(found) is bytes and found == data

    asyncio.run(run())


def test_read__of_a_version_and_of_a_deleted_name() -> None:
    objects = Objects(MemoryInitiator(), LIMITS)

    async def run() -> None:
        first = await objects.put("b", "k", noise(3 * CHUNK, 1))
        await objects.delete("b", "k")
        assert await objects.read("b", "k", version=first.version) == noise(3 * CHUNK, 1)
        with pytest.raises(NotFound):
            await objects.read("b", "k")

    asyncio.run(run())


def test_read__does_not_keep_the_buffers_of_chunks() -> None:
    """Their room is needed for those behind: what came has its place in the result."""
    memory = MemoryInitiator()
    objects = Objects(memory, LIMITS)
    buffers: list[weakref.ref[Buffer]] = []
    alive: list[int] = []

    async def run() -> None:
        await objects.put("b", "k", noise(20 * CHUNK))
        get = memory.get_chunk

        async def counted(reference: Reference, section: Section | None = None) -> memoryview:
            alive.append(sum(each() is not None for each in buffers))
            buffer = Buffer(await get(reference, section))
            buffers.append(weakref.ref(buffer))
            return memoryview(buffer)

        memory.get_chunk = counted  # type: ignore[method-assign]
        assert await objects.read("b", "k") == noise(20 * CHUNK)

    asyncio.run(run())
    assert len(alive) == 20 and max(alive) <= LIMITS.get_read_ahead + 2
