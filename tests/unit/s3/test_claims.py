"""What a client says of a body: read, refused in the service's words, held against the body."""

from __future__ import annotations

import hashlib

import pytest

from replicast.gateway.s3.algorithms import Algorithm, to_text
from replicast.gateway.s3.claims import (
    Claims,
    check_payload_hash,
    read_claims,
    wants_checksums,
)
from replicast.gateway.s3.digests import Digests, Sums
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head

BODY = b"123456789"
MD5 = "JfnnlDI7RTiF9RgfG2JNCw=="
CRC32, CRC32C, SHA1 = "y/Q5Jg==", "4waSgw==", "98O8HYCOBHMq32eZZczDTKeuNEE="


def head(**headers: str) -> Head:
    return Head("PUT", "/b/k", headers={k.replace("_", "-"): v for k, v in headers.items()})


def sums_of(body: bytes, *algorithms: Algorithm) -> Sums:
    digests = Digests(algorithms, payload_sha256=True)
    digests.update(body)
    return digests.results()


def refused(headers: dict[str, str]) -> tuple[str, str]:
    with pytest.raises(S3Error) as caught:
        read_claims(head(**headers))
    return caught.value.code.name, str(caught.value)


def invalid(header: str) -> tuple[str, str]:
    return "InvalidRequest", f"Value for {header} header is invalid."


# -- in the head ------------------------------------------------------------------


def test_nothing_is_claimed() -> None:
    claims = read_claims(head(content_type="text/plain", x_amz_checksum_mode="ENABLED"))
    assert claims == Claims()
    assert claims.trailer is None
    claims.check(sums_of(BODY))
    assert claims.with_trailers({}) is claims


def test_all_that_newer_clients_send() -> None:
    claims = read_claims(
        head(content_md5=MD5, x_amz_checksum_crc32=CRC32, x_amz_sdk_checksum_algorithm="CRC32")
    )
    assert claims.md5 == hashlib.md5(BODY).digest()
    assert claims.algorithm is Algorithm.CRC32
    assert claims.value == bytes.fromhex("cbf43926")
    claims.require()
    claims.check(sums_of(BODY, Algorithm.CRC32, Algorithm.CRC64NVME))


@pytest.mark.parametrize("text", ["", "YWJyYWNhZGFicmE=", "AWS HAHAHA", MD5[:-1], MD5[:-3] + "B=="])
def test_md5__that_is_none(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_claims(head(content_md5=text))
    assert caught.value.code.name == "InvalidDigest"
    assert str(caught.value) == "The Content-MD5 you specified was invalid."
    assert caught.value.fields == {"Content-MD5": text}


def test_md5__of_another_body() -> None:
    claims = read_claims(head(content_md5="rL0Y20xC+Fzt72VPzMSk2A=="))
    with pytest.raises(S3Error) as caught:
        claims.check(sums_of(BODY))
    assert caught.value.code.name == "BadDigest"
    assert str(caught.value) == "The Content-MD5 you specified did not match what we received."
    assert caught.value.fields["CalculatedDigest"] == MD5


@pytest.mark.parametrize("algorithm", Algorithm)
def test_checksum__of_another_body(algorithm: Algorithm) -> None:
    other = to_text(sums_of(b"another", algorithm).checksums[algorithm])
    claims = read_claims(Head("PUT", "/b/k", headers={algorithm.header: other}))
    claims.check(sums_of(b"another", algorithm))
    with pytest.raises(S3Error) as caught:
        claims.check(sums_of(BODY, algorithm))
    assert caught.value.code.name == "BadDigest"
    expected = f"The {algorithm.value} you specified did not match the calculated checksum."
    assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["", "y/Q5Jh==", "shrt", "^^^^^^==", "short===", "a_b", CRC32 * 2])
def test_checksum__that_is_none(text: str) -> None:
    assert refused({"x_amz_checksum_crc32": text}) == invalid("x-amz-checksum-crc32")


def test_checksum__that_can_match_nothing() -> None:
    """As ceph/s3-tests want it: test_object_checksum_sha256, test_multipart_checksum_sha256."""
    code, message = refused({"x_amz_checksum_sha256": "bad"})
    assert code == "BadDigest" and "SHA256" in message


def test_more_than_one_checksum() -> None:
    code, message = refused({"x_amz_checksum_crc32": CRC32, "x_amz_checksum_sha1": SHA1})
    assert code == "InvalidRequest"
    assert message == (
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )


def test_unknown_algorithm() -> None:
    code, message = refused({"x_amz_checksum_sha3": SHA1})
    assert code == "InvalidRequest"
    assert message == "The algorithm type you specified in x-amz-checksum- header is invalid."


@pytest.mark.parametrize("named", ["SHA1", "sha256", "NOPE", ""])
def test_sdk_algorithm__another_than_the_value_is_of(named: str) -> None:
    headers = {"x_amz_sdk_checksum_algorithm": named}
    expected = invalid("x-amz-sdk-checksum-algorithm")
    assert refused({**headers, "x_amz_checksum_crc32": CRC32}) == expected
    assert refused({**headers, "x_amz_trailer": "x-amz-checksum-crc32"}) == expected


def test_sdk_algorithm__alone() -> None:
    code, message = refused({"x_amz_sdk_checksum_algorithm": "CRC32"})
    assert code == "InvalidRequest"
    assert message == (
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
        "x-amz-trailer headers were found."
    )
    nope = {"x_amz_sdk_checksum_algorithm": "NOPE"}
    assert refused(nope) == invalid("x-amz-sdk-checksum-algorithm")


def test_require() -> None:
    with pytest.raises(S3Error) as caught:
        read_claims(head()).require()
    assert caught.value.code.name == "InvalidRequest"
    assert str(caught.value) == (
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
    )
    read_claims(head(content_md5=MD5)).require()
    read_claims(head(x_amz_trailer="x-amz-checksum-crc32")).require()


# -- behind the body --------------------------------------------------------------


def test_trailer__announced_and_kept() -> None:
    claims = read_claims(
        head(x_amz_trailer="X-Amz-Checksum-CRC32C", x_amz_sdk_checksum_algorithm="CRC32C")
    )
    assert claims.trailer == "x-amz-checksum-crc32c"
    whole = claims.with_trailers({"x-amz-checksum-crc32c": CRC32C})
    assert whole.trailer is None
    whole.check(sums_of(BODY, Algorithm.CRC32C))
    with pytest.raises(S3Error) as caught:
        whole.check(sums_of(b"another", Algorithm.CRC32C))
    assert caught.value.code.name == "BadDigest"


@pytest.mark.parametrize(
    "trailers",
    [
        {},
        {"x-amz-checksum-sha1": SHA1},
        {"x-amz-checksum-crc32c": CRC32C, "x-amz-checksum-sha1": SHA1},
    ],
)
def test_trailer__another_than_announced(trailers: dict[str, str]) -> None:
    claims = read_claims(head(x_amz_trailer="x-amz-checksum-crc32c"))
    with pytest.raises(S3Error) as caught:
        claims.with_trailers(trailers)
    assert caught.value.code.name == "MalformedTrailerError"


def test_trailer__without_announcement() -> None:
    for claims in (read_claims(head()), read_claims(head(x_amz_checksum_crc32c=CRC32C))):
        with pytest.raises(S3Error) as caught:
            claims.with_trailers({"x-amz-checksum-crc32c": CRC32C})
        assert caught.value.code.name == "MalformedTrailerError"


def test_trailer__that_is_no_checksum() -> None:
    claims = read_claims(head(x_amz_trailer="x-amz-checksum-crc32c"))
    with pytest.raises(S3Error) as caught:
        claims.with_trailers({"x-amz-checksum-crc32c": "4waSgx=="})
    assert caught.value.code.name == "InvalidRequest"
    assert str(caught.value) == "Value for x-amz-checksum-crc32c trailing header is invalid."


@pytest.mark.parametrize(
    "names", ["", "x-amz-checksum-sha3", "date", "x-amz-checksum-crc32,x-amz-checksum-sha1"]
)
def test_trailer__of_no_known_name(names: str) -> None:
    code, message = refused({"x_amz_trailer": names})
    assert code == "InvalidRequest"
    assert message == "The value specified in the x-amz-trailer header is not supported"


def test_trailer__and_a_header() -> None:
    headers = {"x_amz_trailer": "x-amz-checksum-sha256", "x_amz_checksum_crc32": CRC32}
    expected = ("InvalidRequest", "Expecting a single x-amz-checksum- header")
    assert refused(headers) == expected


# -- the rest ---------------------------------------------------------------------


def test_payload_hash() -> None:
    claimed = hashlib.sha256(BODY).hexdigest()
    check_payload_hash(claimed, sums_of(BODY))
    check_payload_hash(claimed.upper(), sums_of(BODY))
    with pytest.raises(S3Error) as caught:
        check_payload_hash(claimed, sums_of(b"another"))
    assert caught.value.code.name == "XAmzContentSHA256Mismatch"
    assert caught.value.fields == {
        "ClientComputedContentSHA256": claimed,
        "S3ComputedContentSHA256": hashlib.sha256(b"another").hexdigest(),
    }


def test_wants_checksums() -> None:
    assert wants_checksums(head(x_amz_checksum_mode="ENABLED"))
    assert not wants_checksums(head())
    with pytest.raises(S3Error, match="Value for x-amz-checksum-mode header is invalid"):
        wants_checksums(head(x_amz_checksum_mode="INVALID"))
