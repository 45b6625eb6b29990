"""Names, texts and values of the five checksums."""

from __future__ import annotations

import hashlib

import pytest

from replicast.gateway.s3.algorithms import (
    BY_HEADER,
    Algorithm,
    ChecksumType,
    algorithm_named,
    from_text,
    to_text,
)

# Of b"123456789", Base64.
KNOWN = {
    Algorithm.CRC32: "y/Q5Jg==",
    Algorithm.CRC32C: "4waSgw==",
    Algorithm.CRC64NVME: "rosUhgp5mIg=",
    Algorithm.SHA1: "98O8HYCOBHMq32eZZczDTKeuNEE=",
    Algorithm.SHA256: "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
}


def test_known_values_cover_all() -> None:
    assert set(KNOWN) == set(Algorithm) == set(BY_HEADER.values())


@pytest.mark.parametrize("algorithm", Algorithm)
def test_hasher__known_value_and_its_text(algorithm: Algorithm) -> None:
    hasher = algorithm.hasher()
    hasher.update(b"1234")
    hasher.update(memoryview(b"56789"))
    value = hasher.digest()
    assert to_text(value) == KNOWN[algorithm]
    assert len(value) == algorithm.size_bytes
    assert from_text(KNOWN[algorithm], algorithm.size_bytes) == value
    assert hasher.digest() == value


def test_names() -> None:
    assert Algorithm.CRC64NVME.header == "x-amz-checksum-crc64nvme"
    assert Algorithm.SHA256.element == "ChecksumSHA256"
    assert f"{Algorithm.CRC32}" == "CRC32"
    assert algorithm_named("crc32c") is Algorithm.CRC32C
    assert algorithm_named("CRC64NVME") is Algorithm.CRC64NVME
    for unknown in ("", "MD5", "CRC-32", "crc32 ", "name", "header"):
        assert algorithm_named(unknown) is None


def test_types__the_default_first() -> None:
    both = (ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)
    assert Algorithm.CRC32.types == Algorithm.CRC32C.types == both
    assert Algorithm.CRC64NVME.types == (ChecksumType.FULL_OBJECT,)
    assert Algorithm.SHA1.types == Algorithm.SHA256.types == (ChecksumType.COMPOSITE,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short===",
        "shrt",
        "toolong=",
        "^^^^^^==",
        "y^/^Q5^J^g==",
        "y/Q5Jh==",  # decodes to four bytes, and four bits over
        " y/Q5Jg==",
        "y/Q5Jg==\n",
        "y/Q5Jg",
        "y_Q5Jg==",
        "y/Q5Jg==y/Q5Jg==",
        "y/Q5Jgä=",
    ],
)
def test_from_text__only_the_one_form_of_a_value_of_that_size(text: str) -> None:
    assert from_text(text, 4) is None


def test_combine__only_crcs_can() -> None:
    first, second = b"1234", b"56789"
    for algorithm in (Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME):
        sums = []
        for piece in (first, second, first + second):
            hasher = algorithm.hasher()
            hasher.update(piece)
            sums.append(hasher.digest())
        assert algorithm.combine(sums[0], sums[1], len(second)) == sums[2]
    with pytest.raises(KeyError):
        Algorithm.SHA1.combine(hashlib.sha1(first).digest(), hashlib.sha1(second).digest(), 5)
