"""Digests of a body in pieces; heads full of nonsense; checksums of parts."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3.algorithms import Algorithm, ChecksumType, from_text, to_text
from replicast.gateway.s3.claims import Claims, read_claims, wants_checksums
from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.md5 import update_together
from replicast.gateway.s3.part_sums import (
    PartSums,
    UploadChecksum,
    read_completion,
    read_part_checksum,
    read_upload_checksum,
)

ALGORITHM_SETS = st.sets(st.sampled_from(list(Algorithm)))
PIECES = st.lists(st.binary(max_size=200), max_size=6)
NAMES = [
    "content-md5",
    "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-checksum-mode",
    "x-amz-checksum-",
    "x-amz-checksum-md5",
    *(algorithm.header for algorithm in Algorithm),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.binary(max_size=40).map(to_text),
    st.binary(max_size=40).map(lambda value: to_text(value) + "-2"),
    st.sampled_from([*Algorithm, *ChecksumType, *NAMES, "ENABLED"]).map(str),
)
HEADS = st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=5).map(
    lambda headers: Head("PUT", "/b/k", headers=headers)
)


def sums_of(body: bytes, algorithms: set[Algorithm]) -> Sums:
    digests = Digests(algorithms)
    digests.update(body)
    return digests.results()


@given(PIECES, ALGORITHM_SETS, st.booleans(), st.booleans())
def test_pieces__one_result_by_update_and_by_lanes(
    pieces: list[bytes], algorithms: set[Algorithm], payload: bool, by_lanes: bool
) -> None:
    digests, body = Digests(algorithms, payload_sha256=payload), b"".join(pieces)
    if by_lanes:
        update_together([(digests.md5, pieces)])
        for lane in reversed([digests.quick, *digests.lanes]):
            lane.update(*pieces)
        digests.count(len(body))
    else:
        for piece in pieces:
            digests.update(piece)
    sums = digests.results()
    assert sums.size_bytes == len(body) == digests.size_bytes
    assert sums.md5 == hashlib.md5(body).digest()
    assert sums.etag == hashlib.md5(body).hexdigest()
    assert sums.payload_sha256 == (hashlib.sha256(body).digest() if payload else None)
    for algorithm in algorithms:
        alone = algorithm.hasher()
        alone.update(body)
        assert sums.checksums[algorithm] == alone.digest()
    assert set(sums.checksums) == algorithms


@given(st.binary(max_size=40), st.integers(0, 40))
def test_texts__round_trip(value: bytes, size_bytes: int) -> None:
    expected = value if len(value) == size_bytes else None
    assert from_text(to_text(value), size_bytes) == expected


@given(st.text(max_size=30), st.integers(0, 20))
def test_texts__nothing_raises(text: str, size_bytes: int) -> None:
    value = from_text(text, size_bytes)
    assert value is None or to_text(value) == text


@given(HEADS, st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=2), st.binary(max_size=20))
def test_any_head__is_read_or_refused(head: Head, trailers: dict[str, str], body: bytes) -> None:
    try:
        claims = read_claims(head).with_trailers(trailers)
        assert (claims.algorithm is None) == (claims.value is None)
        claims.check(sums_of(body, {claims.algorithm} if claims.algorithm else set()))
        wants_checksums(head)
    except S3Error as error:
        assert error.code.status == 400


@given(HEADS, HEADS, st.dictionaries(st.sampled_from(list(Algorithm)), TEXTS, max_size=2))
def test_any_upload__is_read_or_refused(
    creation: Head, completion: Head, named: dict[Algorithm, str]
) -> None:
    try:
        upload = read_upload_checksum(creation)
        assert upload.type in upload.algorithm.types
        read_completion(completion, upload)
        read_part_checksum(named)
    except S3Error as error:
        assert error.code.status == 400


@given(st.binary(max_size=100), st.sampled_from(list(Algorithm)))
def test_a_true_claim__holds_and_any_other_does_not(body: bytes, algorithm: Algorithm) -> None:
    sums = sums_of(body, {algorithm})
    headers = {
        "content-md5": to_text(sums.md5),
        algorithm.header: to_text(sums.checksums[algorithm]),
    }
    claims = read_claims(Head("PUT", "/b/k", headers=headers))
    assert claims == Claims(sums.md5, algorithm, sums.checksums[algorithm])
    claims.check(sums)
    try:
        claims.check(sums_of(body + b"!", {algorithm}))
    except S3Error as error:
        assert error.code.name == "BadDigest"
    else:
        raise AssertionError("another body was taken for the client's")


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_parts__make_the_whole(bodies: list[bytes]) -> None:
    crcs = {each for each in Algorithm if each.is_crc}
    sums = [sums_of(body, crcs) for body in bodies]
    parts = [PartSums(each.size_bytes, each.md5, each.checksums) for each in sums]
    whole = sums_of(b"".join(bodies), crcs)
    for algorithm in crcs:
        upload = UploadChecksum(algorithm, ChecksumType.FULL_OBJECT, named=True)
        assert upload.of(parts).value == whole.checksums[algorithm]
