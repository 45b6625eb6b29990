"""gateway/objects.py when a bucket was removed and made anew through another gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.errors import NotFound
from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.objects import Objects

from .object_memory import CHUNK, MemoryInitiator, noise


class Anew(MemoryInitiator):
    """This gateway knows incarnation 1; the rows know 2, and the Raft leader says `truth`."""

    def __init__(self) -> None:
        super().__init__()
        self.known, self.truth = 1, 2
        self.lookups = 0

    async def bucket(self, tenant: str, bucket: str, gone: int = 0) -> Any:
        if self.known == gone:
            self.lookups += 1
            self.known = self.truth
        if self.known == gone:
            raise NotFound("no bucket", reason="NO_SUCH_BUCKET")
        record = vars(await super().bucket(tenant, bucket)) | {"incarnation": self.known}
        return SimpleNamespace(**record)

    def _judge_bucket(self, incarnation: int) -> None:
        if incarnation != 2:
            raise NotFound("no bucket", reason="NO_SUCH_BUCKET")

    async def named(self, request: Any, row: int, operation: bytes = b"") -> Any:
        self._judge_bucket(request.key.bucket_incarnation)
        return await super().named(request, row, operation)

    async def list_page(self, request: Any) -> Any:
        self._judge_bucket(request.bucket_incarnation)
        return await super().list_page(request)


def anew_calls(objects: Objects) -> list[Callable[[], Any]]:
    async def listing() -> list[Any]:
        return [entry async for entry in objects.list("b")]

    return [
        lambda: objects.put("b", "x", noise(CHUNK * 3)),
        lambda: objects.head("b", "x"),
        lambda: objects.versions("b", "x"),
        listing,
        lambda: objects.delete("b", "x"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_bucket__made_anew_elsewhere_is_asked_once_more(number):
    memory = Anew()
    objects = Objects(memory, ObjectLimits(chunk_size_bytes=CHUNK))

    async def run() -> None:
        await objects.put("b", "x", noise(CHUNK * 2))
        assert memory.lookups == 1
        memory.known = 1
        done = await anew_calls(objects)[number]()
        assert done and memory.lookups == 2 and memory.known == 2

    asyncio.run(run())


@pytest.mark.parametrize("number", range(5))
def test_bucket__gone_for_good_is_not_found(number):
    memory = Anew()
    memory.truth = 1  # nothing newer: removed, or being deleted
    objects = Objects(memory, ObjectLimits(chunk_size_bytes=CHUNK))

    async def run() -> None:
        with pytest.raises(NotFound) as caught:
            await anew_calls(objects)[number]()
        assert caught.value.reason == "NO_SUCH_BUCKET" and memory.lookups == 1

    asyncio.run(run())
