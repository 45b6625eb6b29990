"""gateway/s3/body.py, aws_chunked.py, plain_body.py: the examples, and what is refused with which
code (those that the service was seen to give)."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest

from replicast.gateway.s3.aws_chunked import LINE_BYTES_MAX, ChunkedBody
from replicast.gateway.s3.body import Body, body_of
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.plain_body import PlainBody
from replicast.gateway.s3.sigv4 import Seed, Verified

from .aws_examples import (
    CHUNK_SIGNATURES,
    CHUNKED_PAYLOAD,
    GET_OBJECT,
    PUT_CHUNKED,
    PUT_OBJECT,
    PUT_TRAILER,
    TRAILER,
    TRAILER_CHUNK_SIGNATURES,
    chunked_body,
    trailer_end,
    verified,
)

CRC = "x-amz-checksum-crc32"
CHUNKED = chunked_body(CHUNK_SIGNATURES)
TRAILED = chunked_body(TRAILER_CHUNK_SIGNATURES, trailer_end())


def taken(body: Body, wire: bytes) -> tuple[bytes, dict[str, str]]:
    payload = b"".join(body.feed(wire))
    return payload, body.finish()


def refused(body: Body, wire: bytes) -> S3Error:
    """The error, which stays: neither more nor the end is taken after it."""
    with pytest.raises(S3Error) as caught:
        taken(body, wire)
    for further in (lambda: body.feed(b"0\r\n\r\n"), body.finish):
        with pytest.raises(S3Error):
            further()
    return caught.value


def example(head: Head) -> Body:
    return body_of(head, verified(head))


def test_chunked__the_example_of_the_reference() -> None:
    assert taken(example(PUT_CHUNKED), CHUNKED) == (CHUNKED_PAYLOAD, {})
    assert len(CHUNKED) == int(PUT_CHUNKED.headers["content-length"])


@pytest.mark.parametrize("newline", [b"\r\n", b"\n\r\n", b"\n"])
def test_chunked__the_example_with_trailers(newline: bytes) -> None:
    """`\\n\\r\\n` is what minio-go writes."""
    wire = chunked_body(TRAILER_CHUNK_SIGNATURES, trailer_end(newline))
    assert taken(example(PUT_TRAILER), wire) == (CHUNKED_PAYLOAD, dict([TRAILER]))


def test_chunked__blocks_are_views_of_what_came() -> None:
    blocks = example(PUT_CHUNKED).feed(CHUNKED)
    assert [len(block) for block in blocks] == [65536, 1024]
    assert all(block.obj is CHUNKED for block in blocks)


@pytest.mark.parametrize(("head", "wire"), [(PUT_CHUNKED, CHUNKED), (PUT_TRAILER, TRAILED)])
def test_chunked__one_bit_anywhere(head: Head, wire: bytes) -> None:
    """But that of a letter's case: it does not matter in sizes and names of trailers."""
    rng = random.Random(3)
    framing = [at for at in range(len(wire)) if wire[at : at + 1] != b"a"]
    for at in [*framing, *rng.sample(range(len(wire)), 40)]:
        bad = bytearray(wire)
        bad[at] ^= rng.choice((1, 2, 4, 8, 16, 64, 128))
        refused(example(head), bytes(bad))


def test_chunked__chunks_can_be_neither_exchanged_nor_repeated_nor_left_out() -> None:
    parts = CHUNKED.split(b"\r\n")
    first, second, last = parts[:2], parts[2:4], parts[4:]
    for order in ((second, first, last), (first, first, last), (first, last), (second, last)):
        wire = b"\r\n".join(part for chunk in order for part in chunk)
        reason = refused(example(PUT_CHUNKED), wire).reason
        assert reason in ("SignatureDoesNotMatch", "IncompleteBody")


def test_chunked__nothing_of_a_chunk_is_given_with_its_wrong_signature() -> None:
    body = example(PUT_CHUNKED)
    bad = CHUNKED.replace(b"a\r\n400;", b"b\r\n400;")
    assert len(b"".join(body.feed(bad[:60000]))) == 60000 - 88  # provisional, as it says
    with pytest.raises(S3Error) as caught:
        body.feed(bad[60000:])
    assert caught.value.reason == "SignatureDoesNotMatch"


@pytest.mark.parametrize("cut", [0, 1, 50, 88, 89, 65624, 65625, 65626, 66700, -3, -2, -1])
def test_chunked__a_body_that_ends_early(cut: int) -> None:
    for head, wire in ((PUT_CHUNKED, CHUNKED), (PUT_TRAILER, TRAILED)):
        body = example(head)
        body.feed(wire[:cut])
        with pytest.raises(S3Error) as caught:
            body.finish()
        assert caught.value.reason == "IncompleteBody"


def test_chunked__nothing_comes_after_the_end() -> None:
    for head, wire in ((PUT_CHUNKED, CHUNKED), (PUT_TRAILER, TRAILED)):
        assert refused(example(head), wire + b"\r").reason == "IncompleteBody"


def unsigned(length_bytes: int, *announced: str) -> ChunkedBody:
    return ChunkedBody(length_bytes, announced=announced)


def test_unsigned__with_and_without_trailers() -> None:
    assert taken(unsigned(0), b"0\r\n\r\n") == (b"", {})
    assert taken(unsigned(11), b"B\r\nhello world\r\n0\r\n\r\n") == (b"hello world", {})
    wire = b"5\r\nhello\r\n0\r\n%b: NhCmhg== %b\r\n"
    for end in (b"\r\n", b"\n\r\n"):
        found = taken(unsigned(5, CRC), wire % (CRC.upper().encode(), end))
        assert found == (b"hello", {CRC: "NhCmhg=="})


@pytest.mark.parametrize(
    "trailers",
    [
        b"",
        b":M3eFcAZSQlc=\r\n",
        b"invalid_trailer:M3eFcAZSQlc=\r\n",
        b"x-amz-checksum-crc32\r\n",
        b"x-amz-checksum-crc32:\r\n",
        b"x-amz-checksum-crc32:\xff\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-meta-a:b\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n",
    ],
)
def test_unsigned__trailers_that_are_not_those_announced(trailers: bytes) -> None:
    wire = b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    assert refused(unsigned(5, CRC), wire).reason == "MalformedTrailerError"


def test_unsigned__a_trailer_that_was_not_announced() -> None:
    wire = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    assert refused(unsigned(5), wire).reason == "MalformedTrailerError"


@pytest.mark.parametrize(
    "wire",
    [
        b"A\ndummy data\r\n0\r\n\r\n",
        b"A\r\ndummy data0\r\n\r\n",
        b"A\r\nXYZ\r\ndummy data\r\n0\r\n\r\n",
        b"B\r\ndummy data\r\n0\r\n\r\n",
        b"9\r\ndummy data\r\n0\r\n\r\n",
        b"A\r\ndummy data\r\n0\r\n",
        b"A\r\n",
        b"invalid_chunk_size\r\ndummy data\r\n0\r\n\r\n",
        b"A\r\ndummy data\r\nJ\r\n\r\n",
        b"-A\r\ndummy data\r\n0\r\n\r\n",
        b"0xA\r\ndummy data\r\n0\r\n\r\n",
        b" A\r\ndummy data\r\n0\r\n\r\n",
        b"\r\n",
        b"A;chunk-signature=" + b"0" * 64 + b"\r\ndummy data\r\n0\r\n\r\n",
        b"A\r\ndummy data\r\n0\r\na:b\rc\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\n",
        b"1" * LINE_BYTES_MAX,
    ],
)
def test_unsigned__broken_framing(wire: bytes) -> None:
    body = unsigned(10)
    with pytest.raises(S3Error) as caught:
        taken(body, wire)
    assert caught.value.reason == "IncompleteBody"


def test_unsigned__a_line_that_never_ends_is_not_kept() -> None:
    body = unsigned(10)
    for _ in range(LINE_BYTES_MAX - 1):
        assert body.feed(b"1") == []
    assert refused(body, b"1").reason == "IncompleteBody"


@pytest.mark.parametrize("length_bytes", [0, 5, 12, 200])
def test_unsigned__a_length_that_is_not_the_payloads(length_bytes: int) -> None:
    found = refused(unsigned(length_bytes), b"b\r\nabcdefghijk\r\n0\r\n\r\n")
    assert found.reason == "IncompleteBody" and "Content-Length" in str(found)


@pytest.mark.parametrize(
    ("sizes", "bad"),
    [
        ([8192, 8192, 100, 0], None),
        ([100, 0], None),
        ([8200, 8201, 10000, 10, 0], None),
        ([100, 8192, 0], (1, 100)),
        ([8192, 10, 100, 0], (2, 10)),
        ([10000, 10, 8192, 8192, 0], (2, 10)),
    ],
)
def test_unsigned__only_the_last_chunk_may_be_small(
    sizes: list[int], bad: tuple[int, int] | None
) -> None:
    rng = random.Random(5)
    pieces = [rng.randbytes(size) for size in sizes]
    framed = [b"%x\r\n" % len(piece) + piece for piece in pieces]
    wire = b"\r\n".join(framed) + b"\r\n"
    if bad is None:
        assert taken(unsigned(sum(sizes)), wire) == (b"".join(pieces), {})
    else:
        found = refused(unsigned(sum(sizes)), wire)
        assert found.reason == "InvalidChunkSizeError"
        assert (found.fields["Chunk"], found.fields["BadChunkSize"]) == tuple(map(str, bad))


def test_signed_trailers__what_is_wrong_with_them() -> None:
    name, value = TRAILER
    before, after = TRAILED.split(f"{name}:{value}\r\n".encode())
    end = after.removesuffix(b"\r\n")
    for trailers, code in (
        (after, "MalformedTrailerError"),
        (b"x-amz-checksum-crc32:NhCmhg==\r\n" + after, "MalformedTrailerError"),
        (f"{name}:{value}\r\n\r\n".encode(), "IncompleteBody"),
        (f"{name}:{value}\r\n".encode() + after[:-9] + b"\r\n\r\n", "IncompleteBody"),
        (f"{name}:{value}\r\n".encode() + after[:-5] + b"f\r\n\r\n", "SignatureDoesNotMatch"),
        (f"{name}:sOO8/A==\r\n".encode() + after, "SignatureDoesNotMatch"),
        (f"{name}:{value}\r\n".encode() + end + end + b"\r\n", "IncompleteBody"),
    ):
        assert refused(example(PUT_TRAILER), before + trailers).reason == code


def test_plain__counted_and_hashed() -> None:
    data = random.Random(7).randbytes(5000)
    digest = hashlib.sha256(data).hexdigest()
    for body in (PlainBody(5000, digest), PlainBody(5000)):
        blocks = [*body.feed(data[:1]), *body.feed(b""), *body.feed(data[1:])]
        assert b"".join(blocks) == data and body.finish() == {}
    assert PlainBody(0, hashlib.sha256(b"").hexdigest()).finish() == {}
    for length_bytes in (0, 4999, 5001):
        assert refused(PlainBody(length_bytes, digest), data).reason == "IncompleteBody"
    changed = PlainBody(5000, digest)
    changed.feed(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(S3Error) as caught:
        changed.finish()
    assert caught.value.reason == "XAmzContentSHA256Mismatch"
    assert caught.value.fields["ClientComputedContentSHA256"] == digest


def a_body(kind: Payload, **headers: str) -> Body:
    seed = Seed("0" * 64, "scope", "20130524T000000Z", b"key")
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return body_of(Head("PUT", "/b/k", "", given), Verified("id", kind, "", seed))


def test_body_of__which_body_and_how_long() -> None:
    assert isinstance(example(PUT_OBJECT), PlainBody)
    assert example(GET_OBJECT).length_bytes == 0
    assert a_body(Payload.UNSIGNED, content_length="12").length_bytes == 12
    chunked = a_body(Payload.UNSIGNED_CHUNKS_TRAILER, x_amz_decoded_content_length="7")
    assert isinstance(chunked, ChunkedBody) and chunked.length_bytes == 7


def test_body_of__content_encoding_does_not_say_how_it_is_framed() -> None:
    body = a_body(Payload.UNSIGNED, content_length="1", content_encoding="aws-chunked")
    assert isinstance(body, PlainBody)
    head = replace(PUT_CHUNKED, headers={**PUT_CHUNKED.headers, "content-encoding": "gzip"})
    assert isinstance(body_of(head, verified(PUT_CHUNKED)), ChunkedBody)


def test_body_of__a_length_that_only_the_end_of_the_stream_says() -> None:
    body = a_body(Payload.UNSIGNED, transfer_encoding="chunked")
    assert body.length_bytes == 0
    assert [bytes(block) for block in body.feed(b"abc")] == [b"abc"]
    assert body.finish() == {}


@pytest.mark.parametrize(
    ("kind", "headers", "code"),
    [
        (Payload.SIGNED_CHUNKS, {}, "MissingContentLength"),
        (Payload.SIGNED_CHUNKS, {"content_length": "5"}, "MissingContentLength"),
        (
            Payload.SIGNED_CHUNKS,
            {"x_amz_decoded_content_length": "12x"},
            "MissingContentLength",
        ),
        (
            Payload.SIGNED_CHUNKS,
            {"x_amz_decoded_content_length": "-1"},
            "MissingContentLength",
        ),
        (Payload.UNSIGNED, {"content_length": "-1"}, "InvalidArgument"),
        (Payload.UNSIGNED, {"content_length": ""}, "InvalidArgument"),
        (Payload.UNSIGNED, {"x_amz_trailer": CRC}, "InvalidRequest"),
        (Payload.SIGNED_CHUNKS, {"x_amz_trailer": CRC}, "InvalidRequest"),
        (Payload.UNSIGNED_CHUNKS_TRAILER, {"x_amz_trailer": "x-amz-meta-a"}, "InvalidRequest"),
        (Payload.UNSIGNED_CHUNKS_TRAILER, {"x_amz_trailer": ""}, "InvalidRequest"),
        (
            Payload.UNSIGNED_CHUNKS_TRAILER,
            {"x_amz_trailer": ",".join(f"{CRC}{n}" for n in range(5))},
            "InvalidRequest",
        ),
    ],
)
def test_body_of__heads_that_do_not_say(kind: Payload, headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        a_body(kind, **headers)
    assert caught.value.reason == code


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", ""])
def test_body_of__another_transfer_coding(coding: str) -> None:
    with pytest.raises(S3Error) as caught:
        a_body(Payload.UNSIGNED, transfer_encoding=coding)
    assert caught.value.reason == "NotImplemented"
