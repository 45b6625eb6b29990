"""The payload header: layout, sums, sealing; damaged ones never get past either twin."""

from __future__ import annotations

import os
import random

import pytest

from replicast.auth.keyring import KeyRing
from replicast.native._reassembly import Reassembly as Fast
from replicast.transfer_header import (
    HEADER_BYTES,
    datagram_count,
    header_for,
    index_runs,
    is_payload,
    parse_header,
    plain_head,
    sealed_by,
    sealed_datagrams,
)
from replicast.transport.reassembly import FeedCode
from replicast.transport.reassembly import Reassembly as Definition

ID = bytes(range(16))
FUZZ_COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "20000"))
# magic, version, type, flags, epoch; id; index, count, size; datagram_bytes, length; sender;
# mac; checksum
GOLDEN = (
    "52504159010e0000"
    "000102030405060708090a0b0c0d0e0f"
    "020000000300000088130000"
    "00088803"
    "8877665544332211"
    "0000000000000000"
)


def test_pack__layout() -> None:
    packed = header_for(ID, 2, 5000, 2048, 0x1122334455667788).pack()
    assert len(packed) == HEADER_BYTES
    assert packed[:56].hex() == GOLDEN
    assert packed[56:].hex() == "6efb7d6e3bfa1285"


def test_parse_header__round_trip_and_refusals() -> None:
    header = header_for(ID, 1, 5000, 2048, 7)
    packed = header.pack()
    assert parse_header(packed + b"data") == header
    assert is_payload(packed) and not is_payload(b"RPA")
    assert parse_header(packed[:-1]) is None
    assert parse_header(b"X" + packed[1:]) is None
    assert parse_header(packed[:40] + b"X" + packed[41:]) is None


def test_index_runs__widens_to_datagrams() -> None:
    assert index_runs([(0, 1), (256, 512), (700, 1000)], 1000, 256) == [(0, 1), (1, 2), (2, 4)]
    for wrong in [(5, 5), (-1, 5), (5, 1001), (9, 3)]:
        with pytest.raises(ValueError):
            index_runs([wrong], 1000, 256)


def test_sealed__only_with_the_key_and_whole() -> None:
    keys = KeyRing(b"c" * 16, 4, {4: b"k" * 32})
    chunk = random.Random(1).randbytes(600)
    (first, second, third) = sealed_datagrams(keys, ID, 7, chunk, [(0, 600)], 256)
    header = parse_header(second)
    assert header is not None and sealed_by(keys, header, second)
    assert second[HEADER_BYTES:] == chunk[256:512]
    assert not sealed_by(keys, header, second[:-1] + bytes([second[-1] ^ 1]))
    assert not sealed_by(keys, header, first)
    assert not sealed_by(KeyRing(b"c" * 16, 4, {4: b"x" * 32}), header, second)
    assert not sealed_by(KeyRing(b"c" * 16, 5, {5: b"k" * 32}), header, second)
    plain = header_for(ID, 0, 600, 256, 7)
    assert not sealed_by(keys, plain, plain.pack() + chunk[:256])
    assert len(third) == HEADER_BYTES + 600 - 512


def test_feed__mutated_datagrams_change_nothing() -> None:
    """Whatever a mutation does, both twins say the same, and no wrong header is placed."""
    rng = random.Random(11)
    twins = (Definition(1 << 20, 4), Fast(1 << 20, 4))
    for reassembly in twins:
        reassembly.open(ID, 5000, 256)
    count = datagram_count(5000, 256)
    bodies = [rng.randbytes(256 if i < count - 1 else 5000 - 256 * i) for i in range(count)]
    good = [header_for(ID, i, 5000, 256, 7).pack() + bodies[i] for i in range(count)]
    for _ in range(FUZZ_COUNT):
        mutated = mutate(rng, rng.choice(good))
        codes = {reassembly.feed(mutated) for reassembly in twins}
        assert len(codes) == 1
        assert codes.pop() >= FeedCode.SHORT
    assert twins[0].stats() == twins[1].stats()
    assert twins[0].progress(ID) == (0, 5000)


def mutate(rng: random.Random, datagram: bytes) -> bytes:
    """Another length, or damage in the header; damage in the data is the hash's business."""
    kind = rng.randrange(4)
    if kind == 0:
        return datagram[: rng.randrange(len(datagram))]
    if kind == 1:
        return datagram + rng.randbytes(rng.randrange(1, 50))
    changed = bytearray(datagram)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(HEADER_BYTES)] ^= rng.randrange(1, 256)
    return bytes(changed) if changed != datagram else datagram[:-1]


@pytest.mark.parametrize(("index", "size_bytes"), [(0, 1), (0, 2048), (2, 5000)])
def test_plain_head__as_header_for_packs_it(index: int, size_bytes: int) -> None:
    header = header_for(ID, index, size_bytes, 2048, 1 << 63)
    assert plain_head(ID, index, size_bytes, 2048, 1 << 63) == header.pack()
