"""Manifests of 1, 100 and 16,384 chunks: built as a put does it, and read as a get of everything does."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import pytest
from meter import Case, measure
from results import digest_of

from replicast.gateway.manifest import (
    ManifestBuilder,
    ManifestChunk,
    parse_body,
    parse_chunk,
    payload_reference,
)
from replicast.hashing import DEFAULT_ALGORITHM
from replicast.units import MIB
from replicast.wire.documents import MANIFEST, Reference

CHUNKS = (1, 100, 16_384)
METADATA = {"content-type": "application/octet-stream", "camera": "X100"}
COPIES = 3
Manifest = tuple[bytes, list[ManifestChunk]]  # the body, and what its references lead to


def references_of(count: int) -> list[Reference]:
    return [
        payload_reference(
            offset=number * MIB,
            size_bytes=MIB,
            algorithm=DEFAULT_ALGORITHM,
            chid=blake2b(number.to_bytes(8, "little"), digest_size=32).digest(),
            copies=COPIES,
        )
        for number in range(count)
    ]


def pack(references: list[Reference]) -> Manifest:
    builder = ManifestBuilder(algorithm=DEFAULT_ALGORITHM, copies=COPIES)
    chunks: list[ManifestChunk] = []
    for reference in references:
        builder.add(reference)
        chunks += builder.take_chunks()
    body = builder.finish(METADATA)
    return body, chunks + builder.take_chunks()


def parse(body: bytes, stored: dict[bytes, bytes]) -> list[Reference]:
    """Every reference to payload, from the root down."""
    found: list[Reference] = []

    def walk(references: tuple[Reference, ...]) -> None:
        for reference in references:
            if reference.kind == MANIFEST:
                walk(parse_chunk(stored[reference.chid], reference))
            else:
                found.append(reference)

    walk(parse_body(body).references)
    return found


@pytest.mark.parametrize("count", CHUNKS)
def test_pack(benchmark: Any, count: int) -> None:
    references = references_of(count)

    def digest(manifest: Manifest) -> str:
        body, chunks = manifest
        assert parse(body, {chunk.chid: chunk.data for chunk in chunks}) == references
        return digest_of(b"".join([body, *(chunk.data for chunk in chunks)]))

    case = Case(f"manifest of {count} chunks packed")
    measure(benchmark, case, lambda: pack(references), digest=digest)


@pytest.mark.parametrize("count", CHUNKS)
def test_parse(benchmark: Any, count: int) -> None:
    references = references_of(count)
    body, chunks = pack(references)
    stored = {chunk.chid: chunk.data for chunk in chunks}
    case = Case(f"manifest of {count} chunks parsed")
    assert measure(benchmark, case, lambda: parse(body, stored)) == references
