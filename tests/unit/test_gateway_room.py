"""Memory that puts and gets of one initiator share (gateway/room.py): bounded, and nobody starves."""

from __future__ import annotations

import asyncio
import random

import pytest

from replicast.gateway.objects import ObjectLimits, Objects
from replicast.gateway.room import Room, Turns

from .object_memory import CHUNK, MemoryInitiator, noise, read


def test_room__is_taken_while_there_is_some() -> None:
    room = Room(100)
    assert room.take(60) and not room.take(41) and room.take(40)
    room.give(60)
    assert room.take(50) and not room.take(11)


def test_turns__come_in_order_and_never_hold_more() -> None:
    async def run() -> None:
        turns, rng = Turns(100), random.Random(3)
        order: list[int] = []

        async def work(number: int) -> None:
            async with turns.turn(rng.randint(1, 60)):
                order.append(number)
                assert turns.held_bytes <= 100
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)

        await asyncio.gather(*(work(number) for number in range(200)))
        assert order == list(range(200)) and turns.held_bytes == 0

    asyncio.run(run())


def test_turns__one_that_is_larger_than_all_goes_alone() -> None:
    async def run() -> None:
        turns = Turns(100)
        most = 0

        async def work(size_bytes: int) -> None:
            nonlocal most
            async with turns.turn(size_bytes):
                most = max(most, turns.held_bytes)
                await asyncio.sleep(0)

        await asyncio.gather(*(work(size) for size in (50, 500, 50, 500)))
        assert most == 500 and turns.held_bytes == 0

    asyncio.run(run())


def test_turns__without_a_wait_nothing_else_runs_in_between() -> None:
    async def run() -> None:
        turns, ran = Turns(100), []
        asyncio.get_running_loop().call_soon(ran.append, True)
        async with turns.turn(100):
            assert not ran

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(20))
def test_turns__given_up_lets_the_others_go_on(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        turns, done = Turns(100), 0

        async def work() -> None:
            nonlocal done
            async with turns.turn(rng.randint(1, 100)):
                await asyncio.sleep(0)
                if rng.random() < 0.2:
                    raise RuntimeError
            done += 1

        tasks = [asyncio.ensure_future(work()) for _ in range(60)]
        for task in rng.sample(tasks, 20):
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks, timeout=60)
        assert all(task.done() for task in tasks) and done >= 10
        assert turns.held_bytes == 0 and not turns._waiting

    asyncio.run(run())


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
        assert objects._room.held_bytes == 0

    asyncio.run(run())


def test_objects__give_room_back_when_they_fail_or_are_cancelled(memory) -> None:
    objects = Objects(memory, ObjectLimits(chunk_size_bytes=CHUNK))

    async def run() -> None:
        await objects.put("b", "n", noise(40 * CHUNK))
        memory.gate = asyncio.Event()
        putting = asyncio.ensure_future(objects.put("b", "new", noise(40 * CHUNK, 2)))
        getting = asyncio.ensure_future(read(objects, "n"))
        while objects._room.held_bytes < 10 * CHUNK:
            await asyncio.sleep(0)
        for task in (putting, getting):
            task.cancel()
        await asyncio.wait((putting, getting))
        memory.gate = None
        assert objects._room.held_bytes == 0
        memory.fail_at = len(memory.chunks) + 5
        with pytest.raises(Exception, match="full"):
            await objects.put("b", "new", noise(40 * CHUNK, 3))
        assert objects._room.held_bytes == 0

    asyncio.run(run())
