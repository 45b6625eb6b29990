"""gateway/s3/sse_*.py: what was sealed opens for its key, in its place, unchanged; nothing else does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replicast.gateway.manifest import metadata_of
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.sse_cipher import PartCipher
from replicast.gateway.s3.sse_envelope import ObjectSeal, Place, WrongKey, read_envelope
from replicast.gateway.s3.sse_headers import (
    METHOD,
    customer_of_other_request,
    wanted,
    with_hoisted,
)
from replicast.gateway.sealed import SEALED, SealBroken
from replicast.hashing import content_hash
from replicast.wire.documents import SEAL_BYTES, ManifestBody

from ...unit.object_memory import ALGORITHM, CHUNK, noise
from ...unit.s3.sealing import CLUSTER_ID, KEYS, MINE, SERVER, Sealed, in_loop

keys = st.binary(min_size=32, max_size=32)
key_ids = st.integers(1, 2**64 - 1)
offsets = st.integers(0, 2**48 - 1)
noises = st.binary(min_size=6, max_size=6)
bodies = st.binary(max_size=300)
places = st.builds(
    Place,
    st.integers(0, 2**64 - 1),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(st.sampled_from("0f"), max_size=4),
    st.integers(0, 10_000),
)


@given(keys, key_ids, offsets, noises, bodies)
def test_chunk__round_trip(key: bytes, key_id: int, offset: int, noise: bytes, body: bytes) -> None:
    cipher = PartCipher(key, key_id)
    stored = cipher.seal(body, offset, noise)
    assert len(stored) == len(body) + SEAL_BYTES
    assert cipher.open(stored, len(body)) == (offset, body)
    inline, apart = cipher.seal_inline(body, noise)
    assert len(inline) == len(body) and cipher.open_inline(inline, apart) == body


@given(keys, key_ids, offsets, noises, bodies, st.data())
def test_chunk__of_which_a_bit_is_another(
    key: bytes, key_id: int, offset: int, noise: bytes, body: bytes, data: st.DataObject
) -> None:
    cipher = PartCipher(key, key_id)
    stored = bytearray(cipher.seal(body, offset, noise))
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    stored[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        cipher.open(stored, len(body))


@given(keys, key_ids, noises, bodies, st.integers(0, 400))
def test_chunk__cut_short_or_long(
    key: bytes, key_id: int, noise: bytes, body: bytes, size: int
) -> None:
    cipher = PartCipher(key, key_id)
    stored = cipher.seal(body, 0, noise)
    assume(size != len(stored))
    other = (stored + bytes(400))[:size]
    for size_bytes in {len(body), max(0, size - SEAL_BYTES)}:
        with pytest.raises(SealBroken):
            cipher.open(other, size_bytes)


@given(keys, keys, key_ids, key_ids, noises, bodies)
def test_chunk__under_another_key_or_key_id(
    key: bytes, other: bytes, key_id: int, other_id: int, noise: bytes, body: bytes
) -> None:
    assume((key, key_id) != (other, other_id))
    stored = PartCipher(key, key_id).seal(body, 0, noise)
    with pytest.raises(SealBroken):
        PartCipher(other, other_id).open(stored, len(body))


@given(keys, places, places, st.none() | keys, st.binary(min_size=28, max_size=28))
def test_data_key__unwraps_in_its_place_alone(
    key: bytes, here: Place, there: Place, customer: bytes | None, noise: bytes
) -> None:
    seal = ObjectSeal(CLUSTER_ID, KEYS)
    envelope = seal.wrap(key, here, customer, noise)
    assert read_envelope({SEALED: envelope.text}) == envelope
    assert seal.unwrap(envelope, here, customer) == key
    older = ObjectSeal(CLUSTER_ID, replace(KEYS, current=1))
    assert older.unwrap(envelope, here, customer) == key
    assume(here != there)
    with pytest.raises(WrongKey):
        seal.unwrap(envelope, there, customer)
    assert seal.root(b"body", here, 2) != seal.root(b"body", there, 2)


@given(keys, places, keys, keys, st.binary(min_size=28, max_size=28), st.integers(0, 8 * 76 - 1))
def test_data_key__changed_or_under_another_key(
    key: bytes, here: Place, mine: bytes, other: bytes, noise: bytes, bit: int
) -> None:
    assume(mine != other)
    seal = ObjectSeal(CLUSTER_ID, KEYS)
    envelope = seal.wrap(key, here, mine, noise)
    with pytest.raises(WrongKey):
        seal.unwrap(envelope, here, other)
    wrapped = bytearray(envelope.wrapped)
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WrongKey):
        seal.unwrap(replace(envelope, wrapped=bytes(wrapped)), here, mine)


@given(st.text())
def test_envelope__of_any_text(text: str) -> None:
    with pytest.raises(SealBroken):
        read_envelope({SEALED: text})


headers = st.fixed_dictionaries(
    {},
    optional={
        METHOD + name: st.text(max_size=9) | st.sampled_from(["AES256", "aws:kms", "A" * 43 + "="])
        for name in ("", "-customer-algorithm", "-customer-key", "-customer-key-md5", "-context")
    },
)


@given(headers, headers, st.booleans())
def test_headers__whatever_they_say(
    sent: dict[str, str], hoisted: dict[str, str], private: bool
) -> None:
    """An answer or one of the errors of S3, also of what comes from a query, where anything may stand."""
    head = with_hoisted(Head("PUT", "/b/k", "", sent), hoisted)
    for ask in (wanted, customer_of_other_request):
        with suppress(S3Error):
            ask(head, private=private)


@given(st.integers(0, 6 * CHUNK), st.booleans(), st.data())
def test_object__every_range(size: int, mine: bool, data: st.DataObject) -> None:
    wanted = MINE if mine else SERVER
    first = data.draw(st.integers(0, max(0, size - 1)))
    last = data.draw(st.integers(first, size))
    plain, span = noise(size), (first, last) if size else None

    async def one() -> bytes:
        sealed = Sealed()
        await sealed.put("o", plain, wanted)
        return await sealed.read("o", wanted.customer, span)

    assert asyncio.run(one()) == plain[first : last + 1]


def changes(body: ManifestBody, kind: str) -> ManifestBody:
    """A body that holds what somebody made of the references."""
    found = list(body.references)
    if kind == "swapped":
        found[0], found[1] = found[1], found[0]
    elif kind == "repeated":
        found[1] = found[0]
    elif kind == "cut":
        found.pop()
    elif kind == "key id":
        found[0] = replace(found[0], encryption_key_id=found[0].encryption_key_id ^ 1)
    at, placed = 0, []
    for reference in found:
        placed.append(replace(reference, offset=at))
        at += reference.logical_bytes
    return replace(body, references=tuple(placed), logical_bytes=at)


@pytest.mark.parametrize("kind", ["swapped", "repeated", "cut", "key id"])
@pytest.mark.parametrize("root", ["there", "made anew"])
@in_loop
async def test_object__with_references_of_somebodys_making(kind: str, root: str) -> None:
    """By its root, and, where somebody knew the cluster's key, but for the end by its chunks."""
    sealed, plain = Sealed(), noise(4 * CHUNK)
    await sealed.put("o", plain, SERVER)
    body = changes(await sealed.body("o"), kind)
    opener = None
    if root == "made anew":
        envelope = read_envelope(metadata_of(body))
        assert envelope is not None
        opener = sealed.encryption.opener(await sealed.body("o"), Place(1, "o"), None)
    sealed.plant("o", body)
    got = b""
    with pytest.raises(SealBroken):
        opener = opener or sealed.encryption.opener(body, Place(1, "o"), None)
        async for block in sealed.objects.bodies.read(body, None, opener):
            got += block
        if kind == "cut":
            assert got == plain[: 3 * CHUNK]
            raise SealBroken("only the root tells")
    assert got == plain[: len(got)]


@given(st.integers(0, 4), st.integers(0, 8 * (CHUNK + SEAL_BYTES) - 1))
def test_object__of_which_a_chunk_is_another(index: int, bit: int) -> None:
    """Not caught by the chunk's hash here: the initiator in memory gives what there is."""
    plain = noise(5 * CHUNK)

    async def one() -> bytes:
        sealed = Sealed()
        await sealed.put("o", plain, SERVER)
        chid = (await sealed.body("o")).references[index].chid
        raw = bytearray(sealed.memory.chunks[chid])
        raw[bit // 8] ^= 1 << bit % 8
        sealed.memory.chunks[chid] = bytes(raw)
        assert content_hash(ALGORITHM, bytes(raw)) != chid
        got = b""
        _, body = await sealed.objects.head("b", "o")
        opener = sealed.encryption.opener(body, Place(1, "o"), None)
        with pytest.raises(SealBroken):
            async for block in sealed.objects.bodies.read(body, None, opener):
                got += block
        assert sealed.tools.counters.get("s3_seals_broken") > 0
        return got

    assert asyncio.run(one()) == plain[: index * CHUNK]
