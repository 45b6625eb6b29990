"""Encrypted multipart uploads over the object layer in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.gateway.bodies import Description, known
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.sse_headers import CustomerKey, Wanted
from replicast.gateway.sealed import SealBroken
from replicast.gateway.uploads import UploadInfo, Uploads
from replicast.hashing import content_hash
from replicast.wire.name_messages import PARTS

from ..object_memory import ALGORITHM, CHUNK, blocks, noise
from .sealing import MINE, SERVER, Sealed, customer, in_loop, place

ID = "u" * 32


class Upload(Sealed):
    """One upload to "o"."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self.wanted = wanted
        self.uploads = Uploads(self.memory, self.objects.bodies, self.objects.names, lambda: ID)

    async def begin(self) -> UploadInfo:
        metadata = self.encryption.upload(self.wanted, place("o"))
        upload_id = await self.uploads.create("b", "o", metadata)
        return await self.uploads.find("b", "o", upload_id)

    async def part(
        self, upload: UploadInfo, number: int, data: bytes, key: CustomerKey | None
    ) -> None:
        sealer = self.encryption.part(upload.metadata, place("o"), ID, number, key)
        await self.uploads.put_part(
            "b", "o", ID, number, blocks(data, 50), known(Description(etag=str(number))),
            sealer=sealer,
        )  # fmt: skip

    async def complete(self, upload: UploadInfo, key: CustomerKey | None) -> None:
        parts = [part async for part in self.uploads.parts("b", "o", ID)]
        binder = self.encryption.completion(upload.metadata, place("o"), ID, key)
        await self.uploads.complete(upload, parts, Description(), binder=binder)


@pytest.mark.parametrize("wanted", [SERVER, MINE])
@in_loop
async def test_upload__becomes_one_object_without_moving_bytes(wanted: Wanted) -> None:
    upload = Upload(wanted)
    begun = await upload.begin()
    data = [noise(2 * CHUNK + 5, 1), b"", noise(CHUNK, 2), noise(3 * CHUNK, 3)]
    for number, piece in enumerate(data, 1):
        await upload.part(begun, number, piece, wanted.customer)
    await upload.part(begun, 3, data[2], wanted.customer)  # again: under a key of its own
    before = dict(upload.memory.chunks)
    assert len(before) == 8
    upload.memory.reads.clear()
    await upload.complete(begun, wanted.customer)
    assert upload.memory.chunks == before and not upload.memory.reads
    whole = b"".join(data)
    assert await upload.read("o", wanted.customer) == whole
    for first in range(0, len(whole), 31):
        for last in (first, first + 40, len(whole) - 1):
            got = await upload.read("o", wanted.customer, (first, last))
            assert got == whole[first : last + 1]


@pytest.mark.parametrize("wanted", [SERVER, MINE])
@in_loop
async def test_upload__of_nothing(wanted: Wanted) -> None:
    upload = Upload(wanted)
    begun = await upload.begin()
    await upload.part(begun, 1, b"", wanted.customer)
    await upload.complete(begun, wanted.customer)
    assert await upload.read("o", wanted.customer) == b""


@in_loop
async def test_part__needs_the_key_of_its_upload() -> None:
    mine, server, plain = Upload(MINE), Upload(SERVER), Upload(Wanted())
    for upload, key, sentence in (
        (mine, None, "requested encryption"),
        (mine, customer("x"), "did not match"),
        (server, customer("m"), "did not request"),
        (plain, customer("m"), "did not request"),
    ):
        begun = await upload.begin()
        with pytest.raises(S3Error, match=sentence):
            await upload.part(begun, 1, b"1", key)
        with pytest.raises(S3Error, match=sentence):
            await upload.complete(begun, key)


@in_loop
async def test_complete__of_parts_that_changed_places() -> None:
    upload = Upload(SERVER)
    begun = await upload.begin()
    for number in (1, 2):
        await upload.part(begun, number, noise(CHUNK, number), None)
    parts = upload.memory.spaces[PARTS]
    one, two = parts.values()
    (summary, _), (_, body) = one[0], two[0]
    one[0] = (replace(summary, body_hash=content_hash(ALGORITHM, body)), body)
    with pytest.raises(SealBroken):
        await upload.complete(begun, None)
    assert "o" not in upload.memory.names
