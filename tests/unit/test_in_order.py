"""gateway/in_order.py: results in order, a bound on what runs, errors and leaving early."""

from __future__ import annotations

import asyncio

import pytest

from replicast.gateway.in_order import in_order


async def numbers(count):
    for number in range(count):
        yield number


def test_in_order__results_in_order_and_few_at_once():
    running, most = 0, 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range((number * 7) % 5):
            await asyncio.sleep(0)
        running -= 1
        return number * number

    async def test():
        return [result async for result in in_order(numbers(50), work, 4)]

    assert asyncio.run(test()) == [number * number for number in range(50)]
    assert most <= 4


def test_in_order__an_error_ends_all():
    started, finished = [], []

    async def work(number):
        started.append(number)
        if number == 2:
            raise ValueError("two")
        if number > 2:
            await asyncio.Event().wait()
        finished.append(number)
        return number

    async def test():
        got = []
        with pytest.raises(ValueError, match="two"):
            async for result in in_order(numbers(9), work, 3):
                got.append(result)
        assert len(asyncio.all_tasks()) == 1
        return got

    assert asyncio.run(test()) == [0, 1]
    assert finished == [0, 1] and max(started) <= 4


def test_in_order__nothing_goes_on_after_leaving_early():
    async def work(number):
        if number:
            await asyncio.Event().wait()
        return number

    async def test():
        results = in_order(numbers(9), work, 3)
        assert await anext(results) == 0
        await results.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(test())
