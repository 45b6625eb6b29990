"""gateway/objects.py and put_stream.py when something goes wrong: nothing is committed, nothing left in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from replicast.errors import InvalidRequest, NoSpace, Unavailable
from replicast.gateway.limits import METADATA_BYTES_MAX, check_metadata
from replicast.gateway.manifest import ManifestBuilder, ManifestError
from replicast.hashing import content_hash
from replicast.wire.documents import INLINE_BYTES_MAX
from replicast.wire.name_messages import BODY_BYTES_MAX

from .object_memory import ALGORITHM, CHUNK, blocks, memory, noise, objects, read

__all__ = ["memory", "objects"]


def test_put__an_error_of_a_chunk_commits_nothing(objects, memory):
    async def run() -> None:
        memory.fail_at = 5
        with pytest.raises(NoSpace):
            await objects.put("b", "n", blocks(noise(20 * CHUNK), CHUNK))
        assert not memory.names.get("n") and memory.in_flight == 0

    asyncio.run(run())


def test_put__a_source_that_breaks_off_commits_nothing(objects, memory):
    async def broken() -> AsyncIterator[bytes]:
        yield noise(3 * CHUNK)
        raise OSError("unreadable")

    async def run() -> None:
        with pytest.raises(OSError):
            await objects.put("b", "n", broken())
        assert not memory.names.get("n") and memory.in_flight == 0

    asyncio.run(run())


def test_put__cancelled_in_the_middle_leaves_nothing(objects, memory):
    async def run() -> None:
        memory.gate = asyncio.Event()
        putting = asyncio.ensure_future(objects.put("b", "n", noise(20 * CHUNK)))
        while memory.in_flight < 4:
            await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert memory.in_flight == 0 and memory.cancelled == 4
        assert not memory.names.get("n")

    asyncio.run(run())


def test_get__left_early_cancels_the_read_ahead(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", noise(20 * CHUNK))
        reading = objects.get("b", "n")
        assert len(await anext(reading)) == CHUNK
        await reading.aclose()
        assert memory.in_flight == 0
        assert len(memory.reads) < 8

    asyncio.run(run())


def test_get__a_chunk_of_another_length_is_an_error(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", noise(2 * CHUNK))
        for chid, raw in memory.chunks.items():
            memory.chunks[chid] = raw[:-1]
        with pytest.raises(ManifestError):
            await read(objects, "n")

    asyncio.run(run())


def test_head__a_body_that_does_not_match_its_hash_is_an_error(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", b"inline")
        summary, body = memory.names["n"][0]
        memory.names["n"][0] = (summary, bytes([body[0] ^ 1]) + body[1:])
        with pytest.raises(Unavailable, match="hash"):
            await objects.head("b", "n")
        # A body that was damaged before it was hashed is told from one that is whole.
        wrong = body[:-3]
        whole = replace(summary, body_hash=content_hash(ALGORITHM, wrong))
        memory.names["n"][0] = (whole, wrong)
        with pytest.raises(ManifestError):
            await objects.head("b", "n")

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", "x" * 1025, "nul\0", "\ud800"])
def test_names__bad_ones_never_reach_the_cluster(objects, memory, name):
    async def run() -> None:
        for work in (
            objects.put("b", name, b""),
            objects.head("b", name),
            objects.delete("b", name),
            objects.versions("b", name),
        ):
            with pytest.raises(InvalidRequest):
                await work
        assert not memory.names

    asyncio.run(run())


@pytest.mark.parametrize(
    "metadata",
    [
        {"k": "v" * 8193},
        {"k" * 257: "v"},
        {f"k{number}": "v" for number in range(129)},
        {f"k{number}": "v" * 8000 for number in range(7)},
        {"k\ud800": "v"},
        {"k": 1},
    ],
    ids=["value", "key", "count", "sum", "not UTF-8", "not text"],
)
def test_put__metadata_that_the_wire_cannot_carry_is_refused_before_anything(
    objects, memory, metadata
):
    with pytest.raises(InvalidRequest) as error:
        asyncio.run(objects.put("b", "n", b"x" * 1000, metadata=metadata))
    assert error.value.reason == "INVALID_METADATA"
    assert not memory.names and not memory.chunks


def test_put__the_most_metadata_fits_beside_the_largest_inline_part():
    items = 128
    keys = [f"{number:03}" for number in range(items)]
    value = "v" * (METADATA_BYTES_MAX // items - 3)
    assert sum(len(key) + len(value) for key in keys) == METADATA_BYTES_MAX
    builder = ManifestBuilder(algorithm=ALGORITHM, copies=3)
    metadata = check_metadata(dict.fromkeys(keys, value))
    assert len(builder.finish(metadata, inline=bytes(INLINE_BYTES_MAX))) <= BODY_BYTES_MAX
