"""gateway/uploads.py over an initiator in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from replicast.errors import ConditionFailed, NotFound, Unavailable
from replicast.gateway.bodies import Description, ObjectLimits, known
from replicast.gateway.conditions import condition
from replicast.gateway.objects import Objects
from replicast.gateway.put_stream import PutReport
from replicast.gateway.uploads import COMPLETED_BY, SEPARATOR, PartInfo, UploadInfo, Uploads
from replicast.wire.name_messages import PARTS, UPLOADS

from .object_memory import CHUNK, INLINE, MemoryInitiator, blocks, noise, read

NAME = "big.bin"


class Rig:
    """Objects and uploads of one bucket in memory."""

    def __init__(self) -> None:
        self.memory = MemoryInitiator()
        self.objects = Objects(self.memory, ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4))
        ids = (f"{number:032}" for number in itertools.count(1))
        bodies, names = self.objects.bodies, self.objects.names
        self.uploads = Uploads(self.memory, bodies, names, lambda: next(ids))

    async def begin(self, name: str = NAME, **metadata: str) -> UploadInfo:
        upload_id = await self.uploads.create("b", name, metadata)
        return await self.uploads.find("b", name, upload_id)

    async def part(self, upload: UploadInfo, number: int, data: bytes) -> PartInfo:
        described = Description(etag=f"e{number}-{len(data)}")
        return await self.uploads.put_part(
            "b", upload.name, upload.upload_id, number, blocks(data, 50), known(described)
        )

    async def parts(self, upload: UploadInfo, after: int = 0) -> list[PartInfo]:
        found = self.uploads.parts("b", upload.name, upload.upload_id, after=after)
        return [part async for part in found]

    async def read(self, name: str = NAME) -> bytes:
        return await read(self.objects, name)

    def left(self) -> int:
        """Names of uploads and parts that are still there."""
        spaces = (self.memory.spaces.get(space, {}) for space in (UPLOADS, PARTS))
        return sum(bool(versions) for space in spaces for versions in space.values())


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("sizes", [[1], [CHUNK, 7], [3 * CHUNK + 5, CHUNK - 1, 0, INLINE, 200]])
def test_complete__the_parts_in_a_row(rig: Rig, sizes: list[int]) -> None:
    async def run() -> None:
        upload = await rig.begin()
        data = [noise(size, seed) for seed, size in enumerate(sizes)]
        for number, piece in enumerate(data, 1):
            await rig.part(upload, number, piece)
        chunks = dict(rig.memory.chunks)
        described = Description({"mode": "0644"}, etag="whole-3")
        done = await rig.uploads.complete(upload, await rig.parts(upload), described)
        assert rig.memory.chunks == chunks, "no payload moves"
        assert await rig.read() == b"".join(data)
        info, _ = await rig.objects.head("b", NAME)
        assert (info.size_bytes, info.etag) == (sum(sizes), "whole-3")
        assert info.metadata == {"mode": "0644", COMPLETED_BY: upload.upload_id}
        assert done.summary.version == info.version and rig.left() == 0

    asyncio.run(run())


def test_complete__only_the_parts_that_are_named(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        made = [await rig.part(upload, number, noise(100, number)) for number in (1, 5, 9)]
        await rig.uploads.complete(upload, [made[0], made[2]], Description())
        assert await rig.read() == noise(100, 1) + noise(100, 9)
        assert rig.left() == 0

    asyncio.run(run())


def test_complete__more_parts_than_a_manifest_has_room_for(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        made = [await rig.part(upload, n, noise(70, n)) for n in range(1, 800)]
        await rig.uploads.complete(upload, made, Description())
        assert await rig.read() == b"".join(noise(70, n) for n in range(1, 800))

    asyncio.run(run())


def test_part__the_last_one_of_a_number_counts(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        first = await rig.part(upload, 2, noise(90, 1))
        second = await rig.part(upload, 2, noise(80, 2))
        assert await rig.parts(upload) == [second]
        with pytest.raises(NotFound):
            await rig.uploads.complete(upload, [first], Description())
        await rig.uploads.complete(upload, [second], Description())
        assert await rig.read() == noise(80, 2)

    asyncio.run(run())


def test_parts__in_pages_from_any_number(rig: Rig) -> None:
    async def run() -> None:
        rig.memory.page_entries = 3
        uploads = [await rig.begin(), await rig.begin(), await rig.begin(NAME + "x")]
        for upload in uploads:
            for number in (10_000, 2, 700, 31, 1, 30):
                await rig.part(upload, number, noise(number % 90 + 1, number))
        for upload in uploads:
            assert [p.number for p in await rig.parts(upload)] == [1, 2, 30, 31, 700, 10_000]
            assert [p.number for p in await rig.parts(upload, after=30)] == [31, 700, 10_000]
            assert await rig.parts(upload, after=10_000) == []

    asyncio.run(run())


def test_complete__again_finds_what_was_made(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        part = await rig.part(upload, 1, noise(100))
        assert await rig.uploads.completed("b", NAME, upload.upload_id) is None
        done = await rig.uploads.complete(upload, [part], Description())
        with pytest.raises(NotFound) as failed:
            await rig.uploads.find("b", NAME, upload.upload_id)
        assert failed.value.reason == "NO_SUCH_UPLOAD"
        again = await rig.uploads.completed("b", NAME, upload.upload_id)
        assert again is not None and again.summary == done.summary
        await rig.objects.put("b", NAME, noise(5))
        assert await rig.uploads.completed("b", NAME, upload.upload_id) is None

    asyncio.run(run())


def test_complete__a_condition_that_fails_leaves_the_upload(rig: Rig) -> None:
    async def run() -> None:
        await rig.objects.put("b", NAME, noise(5))
        upload = await rig.begin()
        part = await rig.part(upload, 1, noise(100))
        with pytest.raises(ConditionFailed):
            await rig.uploads.complete(
                upload, [part], Description(), when=condition(if_none_match="*")
            )
        assert await rig.parts(upload) == [part]
        assert await rig.read() == noise(5)
        await rig.uploads.complete(upload, [part], Description())

    asyncio.run(run())


def test_complete__chunks_of_a_part_that_is_short_of_copies_are_looked_at(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        whole = await rig.part(upload, 1, noise(2 * CHUNK, 1))
        rig.memory.copies = 2
        short = await rig.part(upload, 2, noise(3 * CHUNK, 2))
        assert (whole.short_chunks, short.short_chunks) == (0, 3)
        done = await rig.uploads.complete(upload, [whole, short], Description())
        assert done.summary.short_chunks == 3 and len(rig.memory.holds) == 3

    asyncio.run(run())


def test_abort__nothing_is_left(rig: Rig) -> None:
    async def run() -> None:
        upload, other = await rig.begin(), await rig.begin()
        for number in range(1, 40):
            await rig.part(upload, number, noise(70, number))
        await rig.part(other, 1, noise(70))
        await rig.uploads.abort("b", NAME, upload.upload_id)
        with pytest.raises(NotFound):
            await rig.uploads.abort("b", NAME, upload.upload_id)
        assert rig.left() == 2, "the other upload and its part"
        with pytest.raises(NotFound):
            await rig.read()

    asyncio.run(run())


def test_complete__by_two_at_a_time_makes_one_version(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        part = await rig.part(upload, 1, noise(100))
        described = Description(etag="whole-1")
        both = (rig.uploads.complete(upload, [part], described) for _ in range(2))
        first, second = await asyncio.gather(*both)
        third = await rig.uploads.complete(upload, [part], described)
        assert first.summary == second.summary == third.summary and rig.left() == 0
        assert len(rig.memory.names[NAME]) == 1

    asyncio.run(run())


def test_complete__a_part_that_came_once_more_is_the_same_part(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        first = await rig.part(upload, 1, noise(100))
        again = await rig.part(upload, 1, noise(100))
        assert first.etag == again.etag and first.version != again.version
        await rig.uploads.complete(upload, [first], Description())
        assert await rig.read() == noise(100)

    asyncio.run(run())


def test_complete__of_other_parts_than_somebody_else_did(rig: Rig) -> None:
    async def run() -> None:
        upload = await rig.begin()
        parts = [await rig.part(upload, number, noise(100, number)) for number in (1, 2)]
        ends = await asyncio.gather(
            *(rig.uploads.complete(upload, [p], Description(etag=p.etag)) for p in parts),
            return_exceptions=True,
        )
        refused = [end for end in ends if isinstance(end, NotFound)]
        assert [error.reason for error in refused] == ["NO_SUCH_UPLOAD"]
        assert len(rig.memory.names[NAME]) == 1 and rig.left() == 0

    asyncio.run(run())


def test_abort__prevents_a_completion_that_is_under_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        upload, names = await rig.begin(), rig.objects.names
        part, commit = await rig.part(upload, 1, noise(100)), names.commit

        async def aborted_first(*of: Any, **more: Any) -> Any:
            if more.get("decision"):
                monkeypatch.setattr(names, "commit", commit)
                await rig.uploads.abort("b", NAME, upload.upload_id)
            return await commit(*of, **more)

        monkeypatch.setattr(names, "commit", aborted_first)
        with pytest.raises(NotFound) as failed:
            await rig.uploads.complete(upload, [part], Description(etag="e"))
        assert failed.value.reason == "NO_SUCH_UPLOAD" and rig.left() == 0
        assert not rig.memory.names.get(NAME)

    asyncio.run(run())


def test_abort__loses_to_a_completion_that_was_faster(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        upload, names, prevent = await rig.begin(), rig.objects.names, rig.objects.names.prevent

        async def completed_first(*of: Any) -> Any:
            made = await rig.objects.bodies.store(
                noise(5), INLINE, known(Description()), PutReport()
            )
            await names.commit(of[0], of[1], of[2], made, decision=of[3])
            return await prevent(*of)

        monkeypatch.setattr(names, "prevent", completed_first)
        with pytest.raises(NotFound) as failed:
            await rig.uploads.abort("b", NAME, upload.upload_id)
        assert failed.value.reason == "NO_SUCH_UPLOAD" and rig.left() == 0
        assert await rig.read() == noise(5)

    asyncio.run(run())


def test_abort__one_that_was_interrupted_is_seen_as_done_and_goes_with_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        upload, names, prevent = await rig.begin(), rig.objects.names, rig.objects.names.prevent
        part = await rig.part(upload, 1, noise(100))

        async def interrupted(*of: Any) -> Any:
            monkeypatch.setattr(names, "prevent", prevent)
            raise Unavailable("no answer")

        monkeypatch.setattr(names, "prevent", interrupted)
        with pytest.raises(Unavailable):
            await rig.uploads.abort("b", NAME, upload.upload_id)
        assert [u async for u in rig.uploads.list("b")] == []
        for end in (
            rig.uploads.find("b", NAME, upload.upload_id),
            rig.uploads.complete(upload, [part], Description()),
            rig.uploads.abort("b", NAME, upload.upload_id),
        ):
            with pytest.raises(NotFound) as failed:
                await end
            assert failed.value.reason == "NO_SUCH_UPLOAD"
        assert rig.left() == 0

    asyncio.run(run())


@pytest.mark.parametrize("upload_id", ["", "1", "0" * 31, "0" * 33, "\x01" * 32, "\0" * 32])
def test_find__ids_that_nobody_gave(rig: Rig, upload_id: str) -> None:
    async def run() -> None:
        await rig.begin()
        with pytest.raises(NotFound) as failed:
            await rig.uploads.find("b", NAME, upload_id)
        assert failed.value.reason == "NO_SUCH_UPLOAD"

    asyncio.run(run())


def test_list__by_name_then_age_and_from_any_place(rig: Rig) -> None:
    async def run() -> None:
        rig.memory.page_entries = 2
        made = [await rig.begin(name) for name in ("b", "a", "ab", "a", "a/x")]

        async def listed(**more: Any) -> list[UploadInfo]:
            return [upload async for upload in rig.uploads.list("b", **more)]

        everything = [replace(made[at], metadata={}) for at in (1, 3, 4, 2, 0)]
        assert await listed() == everything
        assert await listed(prefix="a") == everything[:4]
        assert await listed(after=f"a{SEPARATOR}{made[1].upload_id}") == everything[1:]
        assert [u async for u in rig.objects.list("b")] == [], "no object yet"

    asyncio.run(run())


@pytest.mark.parametrize("completed", [False, True])
def test_part__that_lands_after_its_upload_ended__leaves_nothing(rig: Rig, completed: bool) -> None:
    async def run() -> None:
        upload = await rig.begin()
        first = await rig.part(upload, 1, noise(100, 1))

        async def late() -> AsyncIterator[bytes]:
            yield noise(CHUNK, 2)
            if completed:
                await rig.uploads.complete(upload, [first], Description())
            else:
                await rig.uploads.abort("b", NAME, upload.upload_id)
            yield noise(CHUNK, 3)

        described = Description(etag="late")
        await rig.uploads.put_part("b", NAME, upload.upload_id, 2, late(), known(described))
        assert rig.left() == 0
        if completed:
            assert await rig.read() == noise(100, 1)

    asyncio.run(run())


def test_report__counts_what_parts_moved(rig: Rig) -> None:
    async def run() -> None:
        upload, report = await rig.begin(), PutReport()
        source, described = noise(5 * CHUNK), Description(etag="e")
        await rig.uploads.put_part(
            "b", NAME, upload.upload_id, 1, source, known(described), report=report
        )
        assert (report.chunks, report.sent_bytes) == (5, 5 * CHUNK)

    asyncio.run(run())
