"""gateway/objects.py and put_stream.py over an initiator in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from replicast.errors import (
    ConditionFailed,
    InvalidRequest,
    NoSpace,
    NotFound,
    Unavailable,
)
from replicast.flexhash.versioning import Versioning
from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.conditions import condition
from replicast.gateway.limits import METADATA_BYTES_MAX, check_metadata
from replicast.gateway.manifest import ManifestBuilder, ManifestError
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.put_stream import PutReport
from replicast.gateway.version_text import parse_version, version_text
from replicast.hashing import content_hash
from replicast.wire.documents import INLINE_BYTES_MAX, MANIFEST
from replicast.wire.name_messages import (
    BODY_BYTES_MAX,
    IF_ABSENT,
    IF_ETAG,
    IF_PRESENT,
    NO_VERSION,
    NULL_VERSION,
    SHORT_CHUNKS_MAX,
    VersionId,
)

from .object_memory import ALGORITHM, CHUNK, INLINE, MemoryInitiator, blocks, noise, read


@pytest.fixture
def memory() -> MemoryInitiator:
    return MemoryInitiator()


@pytest.fixture
def objects(memory: MemoryInitiator) -> Objects:
    limits = ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4, get_read_ahead=3)
    return Objects(memory, limits)


# -- put and get ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, INLINE, INLINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK]
)
@pytest.mark.parametrize("block", [1, 7, CHUNK, 1000])
def test_put_get__every_size_in_every_cut(objects, memory, size, block):
    async def run() -> None:
        data = noise(size)
        report = PutReport()
        stored = await objects.put("b", "n", blocks(data, block), report=report)
        assert await read(objects, "n") == data == await objects.read("b", "n")
        assert stored.size_bytes == size == report.logical_bytes
        assert report.inline == (size <= INLINE)
        assert report.chunks == (0 if size <= INLINE else -(-size // CHUNK))

    asyncio.run(run())


def test_put__from_bytes_bytearray_and_memoryview(objects):
    async def run() -> None:
        data = noise(3 * CHUNK + 5)
        etags = set()
        for form in (data, bytearray(data), memoryview(data)):
            etags.add((await objects.put("b", "n", form)).etag)
        assert len(etags) == 1
        assert await read(objects, "n") == data

    asyncio.run(run())


def test_put__the_same_content_is_stored_once(objects, memory):
    async def run() -> None:
        data = noise(8 * CHUNK)
        await objects.put("b", "one", data)
        held, report = len(memory.chunks), PutReport()
        await objects.put("b", "two", data, report=report)
        assert len(memory.chunks) == held
        assert (report.sent_bytes, report.stored_copies) == (0, 0)
        assert report.chunks == report.chunks_deduplicated == 8

    asyncio.run(run())


def test_put__tells_which_chunks_are_short_of_copies(objects, memory):
    async def run() -> None:
        memory.copies = 2
        report = PutReport()
        stored = await objects.put("b", "n", noise(3 * CHUNK), report=report)
        assert sorted(report.short_of_copies) == sorted(memory.chunks)
        assert stored.short_chunks == 3

    asyncio.run(run())


def test_put__commits_however_many_chunks_are_short_of_copies(objects, memory):
    async def run() -> None:
        memory.copies = 2
        stored = await objects.put("b", "n", noise(5000 * CHUNK))
        assert len(memory.chunks) > SHORT_CHUNKS_MAX == stored.short_chunks

    asyncio.run(run())


def test_put__never_more_chunks_in_flight_than_allowed(objects, memory):
    async def run() -> None:
        await objects.put("b", "n", blocks(noise(40 * CHUNK), 3 * CHUNK))
        assert memory.in_flight_most == 4
        memory.in_flight_most = 0
        assert len(await read(objects, "n")) == 40 * CHUNK
        assert memory.in_flight_most == 4  # three ahead of the one that is waited for

    asyncio.run(run())


def test_put__a_tall_object_is_a_tree(objects, memory):
    """More references than a body holds: manifest chunks in between, read back by range."""

    async def run() -> None:
        count = 2600
        data = noise(count * CHUNK + 13)
        report = PutReport()
        await objects.put("b", "tall", data, report=report)
        _, body = await objects.head("b", "tall")
        kinds = {reference.kind for reference in body.references}
        assert kinds == {MANIFEST} and len(body.references) == 3
        assert report.chunks == count + 1 + 3
        assert await read(objects, "tall") == data
        every = [r async for r in objects.bodies.all_references(body.references)]
        assert len(every) == count + 1 + 3
        for first, last in [(0, 0), (CHUNK - 1, CHUNK), (1024 * CHUNK - 5, 1024 * CHUNK + 5)]:
            assert await read(objects, "tall", (first, last)) == data[first : last + 1]
        memory.reads.clear()
        end = len(data) - 1
        assert await read(objects, "tall", (end - 20, end + 1000)) == data[end - 20 :]
        assert len(memory.reads) == 3  # one manifest chunk, two leaves: not the whole tree

    asyncio.run(run())


def test_get__ranges(objects):
    async def run() -> None:
        data = noise(5 * CHUNK + 7)
        await objects.put("b", "n", data)
        rng = random.Random(3)
        for _ in range(200):
            first = rng.randrange(len(data))
            last = first + rng.randrange(3 * CHUNK)
            assert await read(objects, "n", (first, last)) == data[first : last + 1]
        for bad in [(-1, 5), (7, 6), (len(data), len(data) + 1)]:
            with pytest.raises(InvalidRequest):
                await read(objects, "n", bad)
        await objects.put("b", "inline", data[:10])
        assert await read(objects, "inline", (2, 4)) == data[2:5]
        await objects.put("b", "empty", b"")
        assert await read(objects, "empty") == b""
        with pytest.raises(InvalidRequest):
            await read(objects, "empty", (0, 0))

    asyncio.run(run())


def test_get__one_version_and_metadata(objects):
    async def run() -> None:
        first = await objects.put("b", "n", b"first", metadata={"color": "red", "a": "ä"})
        await objects.put("b", "n", noise(CHUNK + 1))
        got = [bytes(x) async for x in objects.get("b", "n", version=first.version)]
        assert b"".join(got) == b"first"
        info, _ = await objects.head("b", "n", version=first.version)
        assert info.metadata == {"color": "red", "a": "ä"}
        assert [v.version for v in await objects.versions("b", "n")][-1] == first.version

    asyncio.run(run())


# -- what goes wrong ------------------------------------------------------------------


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


# -- conditions, deletes --------------------------------------------------------------


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


# -- listing ----------------------------------------------------------------------------

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


def test_look__finds_delete_markers(objects):
    async def run() -> None:
        await objects.put("b", "k", b"x")
        marker = await objects.delete("b", "k")
        found, body = await objects.look("b", "k")
        assert found.delete_marker and found.version == marker.version and body is None
        with pytest.raises(NotFound):
            await objects.head("b", "k")

    asyncio.run(run())


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


def test_info__modified_is_the_row_leaders_time():
    version = VersionId(time_ns=7, segment_id=1, sequence=0)
    info = ObjectInfo("b", "n", version, 0, "", False)
    assert info.modified_ns == 7


# -- cutting ----------------------------------------------------------------------------


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
