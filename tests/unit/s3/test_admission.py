"""gateway/s3/admission.py: who has his turn, who waits, who is sent away; nothing is held for nobody."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3.admission import (
    INCOMING_BYTES_MAX,
    OUTGOING_BYTES_MAX,
    SMALL_BODY_BYTES,
    Admission,
    Quota,
)
from replicast.gateway.s3.errors import S3Error

LONG = 600.0


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_quota__in_order_of_coming() -> None:
    async def run() -> None:
        quota, order = Quota(4, 10, LONG), []

        async def ask(name: str, units: int) -> None:
            await quota.take(units)
            order.append(name)

        await quota.take(3)
        tasks = [asyncio.create_task(ask(*each)) for each in (("big", 4), ("small", 1))]
        await turns()
        assert order == [] and quota.waiting == 2
        quota.give(3)
        await turns()
        assert order == ["big"] and quota.held == 4
        quota.give(4)
        await asyncio.gather(*tasks)
        assert order == ["big", "small"] and quota.held == 1

    asyncio.run(run())


def test_quota__too_many_wait() -> None:
    async def run() -> None:
        quota = Quota(1, 1, LONG)
        await quota.take(1)
        waiter = asyncio.create_task(quota.take(1))
        await turns()
        with pytest.raises(S3Error, match="reduce"):
            await quota.take(1)
        quota.give(1)
        await waiter
        assert (quota.held, quota.waiting) == (1, 0)

    asyncio.run(run())


def test_quota__who_waits_too_long_or_goes_leaves_his_place() -> None:
    async def run() -> None:
        quota = Quota(2, 9, 0.0)
        await quota.take(1)
        with pytest.raises(S3Error, match="reduce"):
            await quota.take(2)
        patient = Quota(2, 9, LONG)
        await patient.take(1)
        gone = asyncio.create_task(patient.take(2))
        behind = asyncio.create_task(patient.take(1))
        await turns()
        gone.cancel()
        await behind
        assert (patient.held, patient.waiting) == (2, 0)

    asyncio.run(run())


def test_quota__cancelled_in_the_moment_of_its_turn() -> None:
    async def run() -> None:
        quota = Quota(1, 9, LONG)
        await quota.take(1)
        waiter = asyncio.create_task(quota.take(1))
        await turns()
        quota.give(1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert (quota.held, quota.waiting) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("cancelled_first", [False, True])
def test_quota__cancelled_and_due_at_once(cancelled_first: bool) -> None:
    async def run() -> None:
        quota = Quota(1, 9, LONG)
        await quota.take(1)
        waiter, behind = (asyncio.create_task(quota.take(1)) for _ in range(2))
        await turns()
        if cancelled_first:
            waiter.cancel()
            quota.give(1)
        else:
            quota.give(1)
            waiter.cancel()
        await behind
        assert waiter.cancelled() and (quota.held, quota.waiting) == (1, 0)

    asyncio.run(run())


@given(st.integers(), st.sampled_from((0.0, LONG)))
def test_quota__never_more_than_there_is_and_all_is_given_back(seed: int, wait: float) -> None:
    """Whatever comes, waits too long, and goes, in whatever order."""
    rng = random.Random(seed)

    async def run() -> None:
        quota = Quota(5, 4, wait)

        async def hold(units: int) -> None:
            try:
                await quota.take(units)
            except S3Error:
                return
            try:
                assert quota.held <= 5
                await turns(rng.randrange(4))
            finally:
                quota.give(units)

        tasks = []
        for _ in range(30):
            tasks.append(asyncio.create_task(hold(rng.randrange(1, 6))))
            await turns(rng.randrange(3))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (quota.held, quota.waiting) == (0, 0)
        assert not [t for t in tasks if not t.cancelled() and t.exception()]

    asyncio.run(run())


def test_share__is_given_back_whatever_happens() -> None:
    async def run() -> None:
        admission = Admission(2, INCOMING_BYTES_MAX + OUTGOING_BYTES_MAX, 0, LONG)
        with pytest.raises(KeyError):
            async with admission.request() as share:
                await share.incoming(1 << 40)
                await share.outgoing(1 << 40)
                assert admission.requests.held == 1
                assert admission.body_bytes.held == INCOMING_BYTES_MAX + OUTGOING_BYTES_MAX
                async with admission.request() as other:
                    await other.incoming(SMALL_BODY_BYTES)
                    with pytest.raises(S3Error, match="reduce"):
                        await other.incoming(SMALL_BODY_BYTES + 1)
                raise KeyError
        assert (admission.requests.held, admission.body_bytes.held) == (0, 0)

    asyncio.run(run())
