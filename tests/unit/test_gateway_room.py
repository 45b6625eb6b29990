"""Memory that puts and gets of one initiator share (gateway/room.py): bounded, and nobody starves."""

from __future__ import annotations

import asyncio

import pytest

from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.objects import Objects
from replicast.gateway.room import Room

from .object_memory import CHUNK, MemoryInitiator, noise, read


def test_room__is_taken_while_there_is_some() -> None:
    room = Room(100)
    assert room.take(60) and not room.take(41) and room.take(40)
    room.give(60)
    assert room.take(50) and not room.take(11)


@pytest.fixture
def memory() -> MemoryInitiator:
    return MemoryInitiator()


def test_objects__without_room_one_chunk_at_a_time_and_all_get_theirs(memory) -> None:
    """Twenty puts and gets whose clients do not all go on: what one holds, another does not need."""
    limits = ObjectLimits(chunk_size_bytes=CHUNK, pipeline_bytes=3 * CHUNK)
    objects = Objects(memory, limits)

    async def run() -> None:
        bodies = {f"n{number}": noise(12 * CHUNK, number) for number in range(20)}
        await asyncio.gather(*(objects.put("b", name, body) for name, body in bodies.items()))
        assert memory.in_flight_most <= 20 + 3
        stuck = [objects.get("b", name) for name in bodies]
        for reader in stuck:  # they take one block and stop
            assert bytes(await anext(reader)) == bodies[f"n{stuck.index(reader)}"][:CHUNK]
        for name, body in bodies.items():
            assert await read(objects, name) == body
        for reader in stuck:
            await reader.aclose()
        assert objects.bodies._room.held_bytes == 0

    asyncio.run(run())


def test_objects__give_room_back_when_they_fail_or_are_cancelled(memory) -> None:
    objects = Objects(memory, ObjectLimits(chunk_size_bytes=CHUNK))

    async def run() -> None:
        await objects.put("b", "n", noise(40 * CHUNK))
        memory.gate = asyncio.Event()
        putting = asyncio.ensure_future(objects.put("b", "new", noise(40 * CHUNK, 2)))
        getting = asyncio.ensure_future(read(objects, "n"))
        while objects.bodies._room.held_bytes < 10 * CHUNK:
            await asyncio.sleep(0)
        for task in (putting, getting):
            task.cancel()
        await asyncio.wait((putting, getting))
        memory.gate = None
        assert objects.bodies._room.held_bytes == 0
        memory.fail_at = len(memory.chunks) + 5
        with pytest.raises(Exception, match="full"):
            await objects.put("b", "new", noise(40 * CHUNK, 3))
        assert objects.bodies._room.held_bytes == 0

    asyncio.run(run())
