"""Encrypted objects over the object layer in memory: what is stored, and who can read it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.errors import InvalidRequest
from replicast.gateway.manifest import metadata_of
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.sse import answer_headers
from replicast.gateway.s3.sse_headers import Wanted
from replicast.gateway.sealed import SEALED, SEALED_ROOT, SealBroken
from replicast.wire.documents import SEAL_BYTES

from ..object_memory import CHUNK, INLINE, noise
from .sealing import MINE, SERVER, Sealed, customer, in_loop, place

SIZES = [0, 1, INLINE, INLINE + 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", [SERVER, MINE])
@in_loop
async def test_put__reads_back_with_its_plain_size(size: int, wanted: Wanted) -> None:
    sealed, data = Sealed(), noise(size)
    info = await sealed.put("o", data, wanted)
    assert info.size_bytes == size
    assert await sealed.read("o", wanted.customer) == data
    body = await sealed.body("o")
    assert body.logical_bytes == size
    stored = [*sealed.memory.chunks.values(), body.inline]
    assert not any(data[at : at + 8] in raw for at in range(0, size - 8, 8) for raw in stored)
    for reference in body.references:
        assert reference.stored_bytes == reference.logical_bytes + SEAL_BYTES


@in_loop
async def test_put__twice_the_same_has_nothing_in_common() -> None:
    sealed, data = Sealed(), noise(3 * CHUNK)
    await sealed.put("a", data, SERVER)
    await sealed.put("a", data, SERVER)
    await sealed.put("b", data, MINE)
    assert len(sealed.memory.chunks) == 9


@pytest.mark.parametrize("size", [3, 3 * CHUNK])
@in_loop
async def test_read__with_another_key_none_or_one_too_many(size: int) -> None:
    sealed, data = Sealed(), noise(size)
    await sealed.put("mine", data, MINE)
    await sealed.put("server", data, SERVER)
    await sealed.objects.put("b", "plain", data)
    for name, key, sentence in (
        ("mine", customer("x"), "did not match"),
        ("mine", None, "correct parameters"),
        ("server", customer("m"), "not applicable"),
        ("plain", customer("m"), "not applicable"),
    ):
        sealed.memory.reads.clear()
        with pytest.raises(S3Error, match=sentence) as refused:
            await sealed.read(name, key)
        assert refused.value.code.name == "InvalidRequest" and not sealed.memory.reads
    assert sealed.tools.counters.get("s3_seals_broken") == 0


@pytest.mark.parametrize("size", [0, 3, 3 * CHUNK])
@in_loop
async def test_read_and_copy__by_who_speaks_no_s3(size: int) -> None:
    sealed = Sealed()
    await sealed.put("o", noise(size), SERVER)
    with pytest.raises(InvalidRequest, match="through S3"):
        async for _ in sealed.objects.get("b", "o"):
            raise AssertionError
    with pytest.raises(InvalidRequest, match="through S3"):
        await sealed.objects.copy("b", "o", "b", "other")
    bare = replace(await sealed.body("o"), metadata=())
    sealed.plant("o", bare)
    if size > INLINE:
        with pytest.raises(InvalidRequest, match="through S3"):
            await sealed.read("o")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", [SERVER, MINE])
@in_loop
async def test_copy__under_the_same_key_moves_nothing(size: int, wanted: Wanted) -> None:
    sealed, data = Sealed(), noise(size)
    await sealed.put("o", data, wanted)
    body = await sealed.body("o")
    opener = sealed.encryption.opener(body, place("o"), wanted.customer)
    assert opener is not None
    binder = sealed.encryption.rebinder(body, opener, wanted.customer, wanted, place("copy"))
    chunks = dict(sealed.memory.chunks)
    sealed.memory.reads.clear()
    await sealed.objects.copy("b", "o", "b", "copy", metadata={"m": "2"}, binder=binder)
    assert sealed.memory.chunks == chunks and not sealed.memory.reads
    assert await sealed.read("copy", wanted.customer) == data
    assert metadata_of(await sealed.body("copy"))["m"] == "2"


@in_loop
async def test_copy__under_another_key_cannot_stay() -> None:
    sealed = Sealed()
    await sealed.put("o", noise(100), MINE)
    body = await sealed.body("o")
    opener = sealed.encryption.opener(body, place("o"), MINE.customer)
    assert opener is not None
    for wanted in (SERVER, Wanted(), Wanted(customer("x"))):
        assert sealed.encryption.rebinder(body, opener, MINE.customer, wanted, place("c")) is None


@in_loop
async def test_body__in_the_place_of_another() -> None:
    sealed = Sealed()
    await sealed.put("a", noise(3 * CHUNK, 1), SERVER)
    await sealed.put("b", noise(3 * CHUNK, 2), SERVER)
    sealed.plant("a", await sealed.body("b"))
    with pytest.raises(SealBroken):
        await sealed.read("a")
    assert sealed.tools.counters.get("s3_seals_broken") == 1


@in_loop
async def test_body__of_another_bucket_of_that_name() -> None:
    sealed = Sealed()
    await sealed.put("a", noise(CHUNK), SERVER)
    body = await sealed.body("a")
    with pytest.raises(SealBroken):
        sealed.encryption.opener(body, replace(place("a"), incarnation=2), None)


@pytest.mark.parametrize("change", ["metadata", "no root", "root", "envelope", "method"])
@in_loop
async def test_body__of_which_something_was_changed(change: str) -> None:
    sealed = Sealed()
    await sealed.put("a", noise(3 * CHUNK, 1), SERVER)
    body = await sealed.body("a")
    changed = []
    for item in body.metadata:
        if change == "metadata" and item.key == "m":
            item = replace(item, value="2")
        if change == "no root" and item.key == SEALED_ROOT:
            continue
        if change == "root" and item.key == SEALED_ROOT:
            item = replace(item, value="ü" + item.value)
        if change == "envelope" and item.key == SEALED:
            item = replace(item, value="SSE-S3 2 AAAA")
        if change == "method" and item.key == SEALED:
            item = replace(item, value=item.value.replace("2", "7", 2))
        changed.append(item)
    sealed.plant("a", replace(body, metadata=tuple(changed)))
    with pytest.raises(SealBroken):
        await sealed.read("a")


def test_answer_headers() -> None:
    assert answer_headers({}, None) == {}
    assert answer_headers({SEALED: ""}, None) == {"x-amz-server-side-encryption": "AES256"}
    key = customer("m")
    assert answer_headers({SEALED: ""}, key) == {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key-md5": key.md5,
    }
