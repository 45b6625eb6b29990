"""docs/protocol.md section 6 and docs/formats.md pinned: payload datagrams and manifests."""

from __future__ import annotations

import random

from replicast.gateway.manifest import ManifestBuilder, parse_body, parse_chunk, payload_reference
from replicast.hashing import HashAlgorithm, content_hash
from replicast.transfer_header import (
    header_for,
    parse_header,
    sealed_by,
    sealed_datagrams,
)
from replicast.wire.codec import decode
from tests.conformance.goldens import KEYS, OPERATION, SENDER, bytes_of, check, check_values

DATA = random.Random(7).randbytes(700)
DATAGRAM_BYTES = 512
METADATA = {"x-kind": "golden", "content-type": "text/plain", "é": "ü"}
ALGORITHM = HashAlgorithm.BLAKE3_256


def test_payload_datagrams__plain_and_with_a_mac() -> None:
    sealed = sealed_datagrams(KEYS, OPERATION, SENDER, DATA, [(0, len(DATA))], DATAGRAM_BYTES)
    for index, authentic in enumerate(sealed):
        header = header_for(OPERATION, index, len(DATA), DATAGRAM_BYTES, SENDER)
        start = index * DATAGRAM_BYTES
        check(f"014_payload_{index}", header.pack() + DATA[start : start + header.length])
        check(f"014_payload_authenticated_{index}", authentic)
        found = parse_header(bytes_of(f"014_payload_authenticated_{index}"))
        assert found is not None and sealed_by(KEYS, found, authentic)
        assert parse_header(bytes_of(f"014_payload_{index}")) == header
    assert len(sealed) == 2


def test_manifest__of_inline_bytes() -> None:
    body = ManifestBuilder(algorithm=ALGORITHM, copies=3).finish(METADATA, DATA)
    check("200_manifest_body_inline", body)
    check_values("200_manifest_body_inline", parse_body(body))


def test_manifest__of_two_levels() -> None:
    """Seven chunks under a fan-out of two: levels 1 and 2 below the body."""
    builder = ManifestBuilder(algorithm=ALGORITHM, copies=3, fanout=2)
    for number in range(7):
        size_bytes = 1 << 20 if number < 6 else 4321
        chid = content_hash(ALGORITHM, number.to_bytes(4, "little"))
        builder.add(
            payload_reference(
                offset=number << 20,
                size_bytes=size_bytes,
                algorithm=ALGORITHM,
                chid=chid,
                copies=3,
            )
        )
    body = builder.finish(METADATA)
    chunks = {chunk.chid: chunk.data for chunk in builder.take_chunks()}
    check("200_manifest_body_tall", body)
    check_values("200_manifest_body_tall", parse_body(body))
    references = list(parse_body(body).references)
    number = 0
    while references:
        reference = references.pop(0)
        data = chunks.pop(reference.chid, None)
        if data is None:
            continue
        check(f"201_chunk_manifest_{number}", data)
        check_values(f"201_chunk_manifest_{number}", decode(201, data))
        references += parse_chunk(data, reference)
        number += 1
    assert not chunks and number == 6
