"""gateway/s3/aws_chunked.py: the same whatever pieces it comes in; never more than was signed."""

from __future__ import annotations

import io
import random
from itertools import pairwise

from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3.aws_chunked import CHUNK_BYTES_MIN, ChunkedBody
from replicast.gateway.s3.chunk_signatures import ChunkSignatures
from replicast.gateway.s3.errors import S3Error

from .signing import SEED, signed_chunks

CRC = "x-amz-checksum-crc32"
TRAILERS = [(CRC, "NhCmhg=="), ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=")]
CODES = {
    *("IncompleteBody", "InvalidChunkSizeError", "MalformedTrailerError"),
    "SignatureDoesNotMatch",
}

sizes = st.tuples(
    st.lists(st.integers(CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 3000), max_size=3),
    st.lists(st.integers(1, CHUNK_BYTES_MIN), max_size=1),
).map(lambda both: both[0] + both[1])
rngs = st.integers(0, 1 << 32).map(random.Random)
kinds = st.sampled_from(["signed", "signed trailers", "unsigned", "unsigned trailers"])


def body_and_wire(
    kind: str, sizes: list[int], rng: random.Random
) -> tuple[ChunkedBody, bytes, bytes]:
    """A fresh body, the wire that it should take, the payload that is in there."""
    pieces = [rng.randbytes(size) for size in sizes]
    payload = b"".join(pieces)
    trailers = TRAILERS if kind.endswith("trailers") else []
    if kind.startswith("signed"):
        wire = signed_chunks(pieces, trailers)
    else:
        lines = b"".join(f"{name}:{value}\r\n".encode() for name, value in trailers)
        framed = [b"%x\r\n%b" % (len(piece), piece) for piece in pieces]
        wire = b"\r\n".join([*framed, b"0"]) + b"\r\n" + lines + b"\r\n"
    return fresh(kind, len(payload)), wire, payload


def fresh(kind: str, length_bytes: int) -> ChunkedBody:
    return ChunkedBody(
        length_bytes,
        signatures=ChunkSignatures(SEED) if kind.startswith("signed") else None,
        announced=[name for name, _ in TRAILERS] if kind.endswith("trailers") else (),
        trailers_signed=kind == "signed trailers",
    )


def split(wire: bytes, rng: random.Random) -> list[bytes]:
    """Some pieces; a few bytes of them are alone, where the framing is."""
    cuts = {0, len(wire), *(rng.randrange(len(wire) + 1) for _ in range(rng.randrange(20)))}
    start = rng.randrange(len(wire) + 1)
    cuts |= set(range(start, min(start + rng.randrange(200), len(wire))))
    return [wire[a:b] for a, b in pairwise(sorted(cuts))]


def outcome(body: ChunkedBody, pieces: list[bytes]) -> tuple[bytes, object]:
    """What came out, provisional or not, and the trailers or the code of the error."""
    out = b""
    try:
        for piece in pieces:
            out += b"".join(body.feed(piece))
        return out, body.finish()
    except S3Error as error:
        assert error.reason in CODES
        return out, error.reason


@given(kinds, sizes, rngs)
def test_chunked__the_same_in_whatever_pieces(
    kind: str, sizes: list[int], rng: random.Random
) -> None:
    body, wire, payload = body_and_wire(kind, sizes, rng)
    trailers = dict(TRAILERS) if kind.endswith("trailers") else {}
    assert outcome(body, [wire]) == (payload, trailers)
    assert outcome(fresh(kind, len(payload)), split(wire, rng)) == (payload, trailers)


@given(st.integers(0, 60_000), st.integers(CHUNK_BYTES_MIN, 30_000), rngs)
def test_chunked__what_botocore_frames(size: int, chunk_size: int, rng: random.Random) -> None:
    payload = rng.randbytes(size)
    framed = AwsChunkedWrapper(io.BytesIO(payload), Crc32Checksum, CRC, chunk_size).read()
    found, trailers = outcome(ChunkedBody(size, announced=[CRC]), split(framed, rng))
    checksum = Crc32Checksum()
    checksum.update(payload)
    assert (found, trailers) == (payload, {CRC: checksum.b64digest()})


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """Bytes changed, put in or left out, mostly where the framing is."""
    out = bytearray(wire)
    marks = [at for at in range(len(wire)) if wire[at] in b"\r\n;:"] or [0]
    for _ in range(rng.randrange(1, 4)):
        near = (
            rng.choice(marks) + rng.randrange(-90, 5)
            if rng.random() < 0.8
            else rng.randrange(len(wire))
        )
        at = min(max(near, 0), len(out))
        junk = rng.choice([b"", b"\r", b"\n", b"\r\n", b"0", b";", b":", b"f", rng.randbytes(3)])
        out[at : at + rng.randrange(3)] = junk
    return bytes(out)


@given(kinds, sizes, rngs)
def test_chunked__damage_gives_errors_and_never_too_much(
    kind: str, sizes: list[int], rng: random.Random
) -> None:
    whole, wire, payload = body_and_wire(kind, sizes, rng)
    bad = damaged(wire, rng)
    _, found = outcome(whole, [bad])
    out, found_split = outcome(fresh(kind, len(payload)), split(bad, rng))
    assert found == found_split
    assert len(out) <= len(payload)
    if isinstance(found_split, dict):
        assert len(out) == len(payload)
        assert out == payload or not kind.startswith("signed")


@given(kinds, st.integers(0, 100), st.lists(st.binary(max_size=60), max_size=9))
def test_chunked__answers_to_anything(kind: str, length_bytes: int, pieces: list[bytes]) -> None:
    out, found = outcome(fresh(kind, length_bytes), pieces)
    assert len(out) <= length_bytes
    assert (out, found) == (b"", {}) or isinstance(found, str) or kind == "unsigned"
