"""gateway/objects.py: what a name alone says of a version, without its body."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from replicast.errors import NotFound
from replicast.gateway.objects import ObjectLimits, Objects

from .object_memory import CHUNK, MemoryInitiator

LIMITS = ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4, get_read_ahead=3)


def test_summary__is_the_head_without_metadata_and_asks_for_no_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = MemoryInitiator()
    objects = Objects(memory, LIMITS)

    async def run() -> None:
        first = await objects.put("b", "k", b"x", metadata={"a": "b"})
        await objects.put("b", "k", b"inline")
        info, _ = await objects.head("b", "k")
        old, _ = await objects.head("b", "k", version=first.version)
        asked, named = [], memory.named

        async def spied(request, row, operation=b""):
            asked.append(request.want_body)
            return await named(request, row, operation)

        monkeypatch.setattr(memory, "named", spied)
        assert await objects.summary("b", "k") == replace(info, metadata=None)
        found = await objects.summary("b", "k", version=first.version)
        assert found == replace(old, metadata=None)
        assert asked == [False, False]

    asyncio.run(run())


def test_summary__of_a_name_that_is_deleted_or_never_was() -> None:
    objects = Objects(MemoryInitiator(), LIMITS)

    async def run() -> None:
        await objects.put("b", "k", b"x")
        await objects.delete("b", "k")
        for name in ("k", "other"):
            with pytest.raises(NotFound) as error:
                await objects.summary("b", name)
            assert error.value.reason == "NO_SUCH_NAME"

    asyncio.run(run())
