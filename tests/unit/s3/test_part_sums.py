"""Digests of objects in parts, against values that the service and ceph/s3-tests are known by."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from replicast.gateway.s3.algorithms import Algorithm, ChecksumType
from replicast.gateway.s3.claims import Claims
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.part_sums import (
    ObjectChecksum,
    PartSums,
    UploadChecksum,
    check_completion,
    etag_of_parts,
    read_completion,
    read_part_checksum,
    read_upload_checksum,
)

COMPOSITE, FULL_OBJECT = ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT

# One part, b"123456789".
COMPOSITES = {
    Algorithm.CRC32: "7kxlUA==-1",
    Algorithm.CRC32C: "pzJFoA==-1",
    Algorithm.SHA1: "zGcEPHvP9e6lVmvZsfPHT9mlz10=-1",
    Algorithm.SHA256: "KSsNAHVmgy25S/rmic1w0at3KBH9RLn0nYVQ7p6mpJQ=-1",
}
# Three parts of 5 MiB: of A, of B, of C.
THREE = {
    (Algorithm.SHA256, COMPOSITE): "uWBwpe1dxI4Vw8Gf0X9ynOdw/SS6VBzfWm9giiv1sf4=-3",
    (Algorithm.CRC64NVME, FULL_OBJECT): "i+6LR0y3eFo=",
    (Algorithm.CRC32C, FULL_OBJECT): "xU+Krw==",
    (Algorithm.CRC32, FULL_OBJECT): "WgDhBQ==",
    (Algorithm.SHA1, COMPOSITE): "sizjvY4eud3MrcHdZM3cQ/ol39o=-3",
}


def part(body: bytes, *algorithms: Algorithm) -> PartSums:
    digests = Digests(algorithms)
    digests.update(body)
    sums = digests.results()
    return PartSums(sums.size_bytes, sums.md5, sums.checksums)


def creation(**headers: str) -> Head:
    named = {f"x-amz-checksum-{k}": v for k, v in headers.items()}
    return Head("POST", "/b/k", "uploads", named)


def refused(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(S3Error) as caught:
        call()
    return caught.value.code.name, str(caught.value)


# -- values -----------------------------------------------------------------------


def test_etag_of_parts() -> None:
    md5s = [hashlib.md5(body).digest() for body in (b"one", b"two")]
    assert etag_of_parts(md5s) == hashlib.md5(md5s[0] + md5s[1]).hexdigest() + "-2"


@pytest.mark.parametrize("algorithm", COMPOSITES)
def test_composite__of_one_part(algorithm: Algorithm) -> None:
    upload = UploadChecksum(algorithm, COMPOSITE, named=True)
    checksum = upload.of([part(b"123456789", algorithm)])
    assert checksum.text == COMPOSITES[algorithm]
    assert checksum.headers() == {
        algorithm.header: COMPOSITES[algorithm],
        "x-amz-checksum-type": "COMPOSITE",
    }


@pytest.mark.parametrize(("algorithm", "kind"), THREE)
def test_three_parts__as_in_s3_tests(algorithm: Algorithm, kind: ChecksumType) -> None:
    parts = [part(letter * (5 << 20), algorithm) for letter in (b"A", b"B", b"C")]
    checksum = UploadChecksum(algorithm, kind, named=True).of(parts)
    assert checksum.text == THREE[algorithm, kind]


@pytest.mark.parametrize("algorithm", [each for each in Algorithm if each.is_crc])
def test_full_object__is_what_one_put_of_it_gives(algorithm: Algorithm) -> None:
    bodies = [bytes([n]) * size for n, size in enumerate([5000, 1, 0, 777])]
    upload = UploadChecksum(algorithm, FULL_OBJECT, named=True)
    checksum = upload.of([part(body, algorithm) for body in bodies])
    whole = part(b"".join(bodies), algorithm).checksums[algorithm]
    assert checksum == ObjectChecksum(algorithm, FULL_OBJECT, whole)
    assert checksum.text == base64.b64encode(whole).decode()


# -- creation ---------------------------------------------------------------------


def test_creation__defaults() -> None:
    assert read_upload_checksum(creation()) == UploadChecksum(Algorithm.CRC64NVME, FULL_OBJECT)
    for algorithm in Algorithm:
        upload = read_upload_checksum(creation(algorithm=algorithm.value))
        assert upload == UploadChecksum(algorithm, algorithm.types[0], named=True)
        for kind in algorithm.types:
            head = creation(algorithm=algorithm.lower(), type=kind.value)
            assert read_upload_checksum(head) == UploadChecksum(algorithm, kind, named=True)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"type": "FULL_OBJECT"},
            "The x-amz-checksum-type header can only be used with the "
            "x-amz-checksum-algorithm header.",
        ),
        (
            {"algorithm": "CRC32", "type": "TEST"},
            "Value for x-amz-checksum-type header is invalid.",
        ),
        (
            {"algorithm": "CRC64NVME", "type": "COMPOSITE"},
            "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.",
        ),
        (
            {"algorithm": "SHA256", "type": "FULL_OBJECT"},
            "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm.",
        ),
        (
            {"algorithm": "CRC32,CRC32C"},
            "Invalid types are specified in x-amz-checksum-algorithm header.",
        ),
        (
            {"algorithm": "nope"},
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            "types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        ),
    ],
)
def test_creation__refused(headers: dict[str, str], message: str) -> None:
    assert refused(lambda: read_upload_checksum(creation(**headers))) == ("InvalidRequest", message)


# -- parts ------------------------------------------------------------------------


def test_part__of_another_algorithm() -> None:
    upload = UploadChecksum(Algorithm.CRC32C, COMPOSITE, named=True)
    upload.check_part(Claims(algorithm=Algorithm.CRC32C))
    for algorithm, name in ((Algorithm.CRC32, "crc32"), (None, "null")):
        assert refused(lambda a=algorithm: upload.check_part(Claims(algorithm=a))) == (
            "InvalidRequest",
            "Checksum Type mismatch occurred, expected checksum Type: crc32c, "
            f"actual checksum Type: {name}",
        )


def test_part__of_a_whole_needs_no_claim() -> None:
    upload = UploadChecksum(Algorithm.CRC32, FULL_OBJECT, named=True)
    upload.check_part(Claims())
    assert upload.algorithms(Claims()) == [Algorithm.CRC32]
    with pytest.raises(S3Error):
        upload.check_part(Claims(algorithm=Algorithm.SHA1))


def test_part__of_an_upload_that_named_none() -> None:
    """What newer SDKs do unless told: CRC32 with each part."""
    upload = UploadChecksum()
    claims = Claims(algorithm=Algorithm.CRC32, value=bytes(4))
    upload.check_part(claims)
    upload.check_part(Claims())
    assert upload.algorithms(claims) == [Algorithm.CRC32, Algorithm.CRC64NVME]
    assert upload.algorithms(Claims()) == [Algorithm.CRC64NVME]


# -- completion -------------------------------------------------------------------


def completed(upload: UploadChecksum, **headers: str) -> ObjectChecksum:
    checksum = upload.of([part(b"123456789", upload.algorithm)])
    check_completion(upload, read_completion(creation(**headers), upload), checksum)
    return checksum


def test_completion__of_a_composite() -> None:
    upload = UploadChecksum(Algorithm.CRC32, COMPOSITE, named=True)
    completed(upload)
    completed(upload, crc32="7kxlUA==")
    completed(upload, crc32="7kxlUA==-1", type="COMPOSITE")
    bad = ("BadDigest", "The crc32 you specified did not match the calculated checksum.")
    for text in ("7kxlUA==-2", "z/Q5Jg==", "z/Q5Jg==-1"):
        assert refused(lambda t=text: completed(upload, crc32=t)) == bad
    invalid = ("InvalidRequest", "Value for x-amz-checksum-crc32 header is invalid.")
    for text in ("7kxlUA==-a", "y/Q5Jh==", "7kxlUA==-", "7kxlUA==--1", "-1"):
        assert refused(lambda t=text: completed(upload, crc32=t)) == invalid
    assert refused(lambda: completed(upload, crc32="bad"))[0] == "BadDigest"
    assert refused(lambda: completed(upload, type="FULL_OBJECT")) == (
        "InvalidRequest",
        "The upload was created using the COMPOSITE checksum mode. "
        "The complete request must use the same checksum mode.",
    )
    assert refused(lambda: completed(upload, type="HALF"))[0] == "InvalidRequest"
    message = refused(lambda: completed(upload, sha1="98O8HYCOBHMq32eZZczDTKeuNEE="))[1]
    assert message.endswith("expected checksum Type: crc32, actual checksum Type: sha1")


def test_completion__of_a_whole() -> None:
    upload = UploadChecksum(Algorithm.CRC32, FULL_OBJECT, named=True)
    completed(upload, crc32="y/Q5Jg==", type="FULL_OBJECT")
    assert refused(lambda: completed(upload, crc32="z/Q5Jg=="))[0] == "BadDigest"
    assert refused(lambda: completed(upload, crc32="y/Q5Jg==-1"))[0] == "InvalidRequest"


def test_completion__of_an_upload_that_named_none() -> None:
    upload = UploadChecksum()
    assert completed(upload, crc32="z/Q5Jg==").text == "rosUhgp5mIg="
    completed(upload, crc64nvme="rosUhgp5mIg=")
    assert refused(lambda: completed(upload, crc64nvme="sosUhgp5mIg="))[0] == "BadDigest"


def test_part_checksum__in_the_request() -> None:
    stored = part(b"123456789", Algorithm.CRC32)
    good = read_part_checksum({Algorithm.CRC32: "y/Q5Jg=="})
    bad = read_part_checksum({Algorithm.CRC32: "z/Q5Jg=="})
    other = read_part_checksum({Algorithm.CRC32C: "4waSgw=="})
    assert stored.matches(good) and stored.matches(None) and not stored.matches(bad)
    assert read_part_checksum({}) is None
    assert not stored.matches(other) and part(b"123456789", Algorithm.CRC32C).matches(other)


@pytest.mark.parametrize(
    ("named", "argument"),
    [
        ({Algorithm.CRC32: "y/Q5Jh=="}, "CRC32:y/Q5Jh==;"),
        (
            {Algorithm.CRC32: "y/Q5Jg==", Algorithm.SHA1: "x"},
            "CRC32:y/Q5Jg==;SHA1:x;",
        ),
    ],
)
def test_part_checksum__invalid(named: dict[Algorithm, str], argument: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_part_checksum(named)
    assert caught.value.code.name == "InvalidArgument"
    assert str(caught.value) == "Invalid Base64 or multiple checksums present in request"
    assert caught.value.fields == {"ArgumentName": "Checksum", "ArgumentValue": argument}
