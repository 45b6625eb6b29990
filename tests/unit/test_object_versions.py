"""The versions of an object: their names, conditions on the newest, delete markers, and what a bucket keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from replicast.errors import ConditionFailed, InvalidRequest, NotFound
from replicast.flexhash.versioning import Versioning
from replicast.gateway.conditions import condition
from replicast.gateway.objects import ObjectInfo
from replicast.gateway.version_text import parse_version, version_text
from replicast.wire.name_messages import (
    IF_ABSENT,
    IF_ETAG,
    IF_PRESENT,
    NO_VERSION,
    NULL_VERSION,
    VersionId,
)

from .object_memory import memory, noise, objects, read

__all__ = ["memory", "objects"]


@pytest.mark.parametrize(
    "text", ["xyz", "1.2", "1.2.-3", "8" * 16 + ".1.1", "1." + "1" * 17 + ".1"]
)
def test_parse_version__what_is_none(text):
    with pytest.raises(InvalidRequest, match="is not a version id"):
        parse_version(text)


def test_parse_version__reads_back_what_version_text_writes():
    for version in (
        VersionId(time_ns=0, segment_id=0, sequence=0),
        VersionId(time_ns=(1 << 63) - 1, segment_id=(1 << 64) - 1, sequence=(1 << 32) - 1),
    ):
        assert parse_version(version_text(version)) == version == parse_version(version)
    assert parse_version(None) == NO_VERSION


def test_versions__of_a_name_that_never_was(objects):
    with pytest.raises(NotFound, match="there is no object b/n"):
        asyncio.run(objects.versions("b", "n"))


def test_condition__forms():
    assert condition().kind == 0
    assert condition(if_none_match="*").kind == IF_ABSENT
    assert condition(if_none_match='"e"') == replace(condition(if_none_match="e"))
    assert (condition(if_match="*").kind, condition(if_match="e").kind) == (IF_PRESENT, IF_ETAG)
    with pytest.raises(InvalidRequest):
        condition(if_none_match="*", if_match="e")
    with pytest.raises(InvalidRequest):
        condition(if_match="e" * 129)


def test_put__on_a_condition(objects):
    async def run() -> None:
        first = await objects.put("b", "n", b"1", when=condition(if_none_match="*"))
        with pytest.raises(ConditionFailed):
            await objects.put("b", "n", b"2", when=condition(if_none_match="*"))
        await objects.put("b", "n", b"2", when=condition(if_match=first.etag))
        with pytest.raises(ConditionFailed):
            await objects.put("b", "n", b"3", when=condition(if_match=first.etag))
        assert await read(objects, "n") == b"2"

    asyncio.run(run())


def test_delete__then_nothing_is_there_until_it_is_put_again(objects):
    async def run() -> None:
        await objects.put("b", "n", b"1")
        marker = await objects.delete("b", "n")
        assert marker.delete_marker
        with pytest.raises(NotFound):
            await objects.head("b", "n")
        assert [e async for e in objects.list("b")] == []
        await objects.put("b", "n", b"2", when=condition(if_none_match="*"))
        assert await read(objects, "n") == b"2"
        assert [v.delete_marker for v in await objects.versions("b", "n")] == [False, True, False]

    asyncio.run(run())


def test_look__finds_delete_markers(objects):
    async def run() -> None:
        await objects.put("b", "k", b"x")
        marker = await objects.delete("b", "k")
        found, body = await objects.look("b", "k")
        assert found.delete_marker and found.version == marker.version and body is None
        with pytest.raises(NotFound):
            await objects.head("b", "k")

    asyncio.run(run())


def test_info__modified_is_the_row_leaders_time():
    version = VersionId(time_ns=7, segment_id=1, sequence=0)
    info = ObjectInfo("b", "n", version, 0, "", False)
    assert info.modified_ns == 7


def test_versioning_off__there_is_one_version_or_none(objects, memory):
    memory.versioning = Versioning.OFF

    async def run() -> None:
        for number in range(3):
            await objects.put("b", "n", noise(100, number))
        (only,) = await objects.versions("b", "n")
        assert only.null and await read(objects, "n") == noise(100, 2)
        await objects.copy("b", "n", "b", "m")
        assert [v.null for v in await objects.versions("b", "m")] == [True]
        assert not (await objects.delete("b", "n")).delete_marker
        with pytest.raises(NotFound):
            await objects.versions("b", "n")
        with pytest.raises(NotFound):
            await objects.delete("b", "n")

    asyncio.run(run())


def test_versioning_suspended__what_was_kept_stays_beside_one_null_version(objects, memory):
    async def run() -> None:
        memory.versioning = Versioning.OFF
        await objects.put("b", "n", noise(1))
        memory.versioning = Versioning.ENABLED
        kept = [await objects.put("b", "n", noise(2)), await objects.put("b", "n", noise(3))]
        memory.versioning = Versioning.SUSPENDED
        for size in (4, 5):
            null = await objects.put("b", "n", noise(size))
        found = await objects.versions("b", "n")
        assert [v.version for v in found] == [v.version for v in (null, *reversed(kept))]
        marker = await objects.delete("b", "n")
        found = await objects.versions("b", "n")
        assert marker.delete_marker and marker.null and len(found) == 3
        await objects.delete("b", "n", version=NULL_VERSION)
        assert (await objects.head("b", "n"))[0].version == kept[1].version

    asyncio.run(run())
