"""Manifests: folding, walking, and refusing what breaks the rules."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.manifest import (
    ManifestBuilder,
    ManifestError,
    overlapping,
    parse_body,
    parse_chunk,
    payload_reference,
)
from replicast.hashing import HashAlgorithm, content_hash
from replicast.wire.codec import encode
from replicast.wire.documents import MANIFEST, ManifestBody

ALGORITHM = HashAlgorithm.BLAKE3_256


def build(sizes, fanout, metadata=None, inline=b""):
    """The body and a dictionary of its manifest chunks."""
    builder = ManifestBuilder(algorithm=ALGORITHM, copies=3, fanout=fanout)
    chunks = {}
    for number, size in enumerate(sizes):
        builder.add(
            payload_reference(
                offset=builder.logical_bytes,
                size_bytes=size,
                algorithm=ALGORITHM,
                chid=content_hash(ALGORITHM, number.to_bytes(4, "little")),
                copies=3,
            )
        )
        chunks.update((c.chid, c.data) for c in builder.take_chunks())
    body = builder.finish(metadata or {}, inline)
    chunks.update((c.chid, c.data) for c in builder.take_chunks())
    return body, chunks


def leaves(references, chunks, start, end):
    for reference in overlapping(references, start, end):
        if reference.kind == MANIFEST:
            data = chunks[reference.chid]
            assert content_hash(ALGORITHM, data) == reference.chid
            yield from leaves(parse_chunk(data, reference), chunks, start, end)
        else:
            yield reference


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=120),
    st.integers(2, 5),
    st.data(),
)
def test_tree__any_range_finds_exactly_its_leaves(sizes, fanout, data):
    body, chunks = build(sizes, fanout)
    parsed = parse_body(body)
    total = sum(sizes)
    assert parsed.logical_bytes == total and len(parsed.references) <= fanout
    start = data.draw(st.integers(0, total - 1))
    end = data.draw(st.integers(start + 1, total))
    found = list(leaves(parsed.references, chunks, start, end))
    assert found[0].offset <= start and found[-1].offset + found[-1].logical_bytes >= end
    at = found[0].offset
    for reference in found:
        assert reference.offset == at
        at += reference.logical_bytes


def test_body__is_canonical():
    one, _ = build([10, 20], 4, {"b": "2", "a": "1"})
    two, _ = build([10, 20], 4, {"a": "1", "b": "2"})
    assert one == two


def test_inline__has_no_references():
    body, chunks = build([], 4, {"k": "v"}, inline=b"hello")
    parsed = parse_body(body)
    assert parsed.inline == b"hello" and parsed.logical_bytes == 5 and not chunks


def break_body(change):
    body = parse_body(build([10, 20, 30], 4)[0])
    values = {name: getattr(body, name) for name, _ in ManifestBody.PLAN}
    return encode(ManifestBody(**(values | change(body))))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: {"logical_bytes": body.logical_bytes + 1},
        lambda body: {"references": body.references[:1] + body.references[2:]},
        lambda body: {"references": tuple(reversed(body.references))},
        lambda body: {"inline": b"x"},
        lambda body: {"format": 2},
    ],
)
def test_parse_body__refuses_what_breaks_the_rules(change):
    with pytest.raises(ManifestError):
        parse_body(break_body(change))


def test_parse__mutated_bytes_never_raise_anything_else():
    rng = random.Random(7)
    body, chunks = build([100] * 30, 3, {"key": "value"})
    root = parse_body(body).references[0]
    for _ in range(3000):
        for data, parse in ((body, parse_body), (chunks[root.chid], None)):
            broken = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            try:
                parse(bytes(broken)) if parse else parse_chunk(bytes(broken), root)
            except ManifestError:
                continue
