"""Listings of objects: prefixes, delimiters and pages, as S3 says they are."""

from __future__ import annotations

import asyncio

import pytest

from replicast.errors import InvalidRequest, NotFound
from replicast.gateway.objects import Objects

from .object_memory import MemoryInitiator, memory, objects

__all__ = ["memory", "objects"]
NAMES = [
    "a",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/c",
    "ab",
    "b/1",
    "b/2",
    "z",
    "ä/1",
    "日本/語",
    "\U0010ffff",
]


def listed(objects: Objects, **how: str) -> list[str]:
    async def run() -> list[str]:
        return [e if isinstance(e, str) else e.name async for e in objects.list("b", **how)]

    return asyncio.run(run())


def expected(prefix: str = "", after: str = "", delimiter: str = "") -> list[str]:
    """What S3 says a listing is."""
    found: dict[str, None] = {}
    for name in sorted(NAMES, key=str.encode):
        if not name.startswith(prefix) or name.encode() <= after.encode():
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        found[name if at < 0 else name[: at + len(delimiter)]] = None
    return list(found)


@pytest.fixture
def full(objects: Objects, memory: MemoryInitiator) -> Objects:
    async def run() -> None:
        for name in NAMES:
            await objects.put("b", name, b"x")

    asyncio.run(run())
    return objects


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("delimiter", ["", "/", "b", "/b"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "b/", "none", "日"])
def test_list__prefix_and_delimiter_at_any_page_size(full, memory, page, delimiter, prefix):
    memory.page_entries = page
    assert listed(full, prefix=prefix, delimiter=delimiter) == expected(
        prefix=prefix, delimiter=delimiter
    )


@pytest.mark.parametrize("after", ["", "a", "a/b", "a/b/c", "b", "zz", "\U0010ffff"])
def test_list__after_a_name(full, memory, after):
    memory.page_entries = 2
    assert listed(full, after=after) == expected(after=after)


def test_list__a_long_common_prefix_costs_one_page(objects, memory):
    async def run() -> None:
        for number in range(50):
            await objects.put("b", f"p/{number:03}", b"x")
        await objects.put("b", "q", b"x")

    asyncio.run(run())
    memory.page_entries = 10
    memory.pages = 0
    assert listed(objects, delimiter="/") == ["p/", "q"]
    assert memory.pages == 2


@pytest.mark.parametrize("page", [1, 2, 10])
def test_list__names_behind_the_bound_of_a_common_prefix(objects, memory, page):
    names = ["p/a", "p/\U0010ffff", "p/\U0010ffff\U0010ffff", "q\U0010ffff", "q\U0010ffffx"]

    async def run() -> None:
        for name in names:
            await objects.put("b", name, b"x")

    asyncio.run(run())
    memory.page_entries = page
    assert listed(objects, delimiter="/") == ["p/", *names[3:]]
    assert listed(objects, delimiter="/", after="p/\U0010ffff") == names[3:]
    assert listed(objects, after="q\U0010ffff") == names[4:]


def test_list__many_common_prefixes_cost_no_pages_of_their_own(objects, memory):
    async def run() -> None:
        for number in range(30):
            await objects.put("b", f"{number:03}/x", b"x")

    asyncio.run(run())
    memory.page_entries, memory.pages = 10, 0
    assert len(listed(objects, delimiter="/")) == 30
    assert memory.pages <= 4


def test_list__bad_prefix_and_missing_bucket(objects):
    async def run() -> None:
        with pytest.raises(InvalidRequest):
            [e async for e in objects.list("b", "x" * 1025)]
        for after in ("x" * 1033, "\ud800"):
            with pytest.raises(InvalidRequest):
                [e async for e in objects.list("b", after=after)]
        with pytest.raises(NotFound):
            [e async for e in objects.list("other")]

    asyncio.run(run())
