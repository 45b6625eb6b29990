"""Sealed datagrams: round trips, everything that can be wrong, both twins alike."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.auth import seal_pure
from replicast.auth.keyring import GROUP_KINDS, KeyRing, node_tag
from replicast.native import PURE
from replicast.wire.codec import WireError
from replicast.wire.header import HEADER_BYTES, Header

FAST: Any = seal_pure if PURE else importlib.import_module("replicast.native._header")
TWINS: tuple[Any, ...] = (seal_pure, FAST)
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32}).rotated(2, b"l" * 32)
TAG = node_tag(7)
EXAMPLE = Header(11, 0, 2, 1 << 63, b"o" * 16, 2, 3, 4, 0, 1, 40)
REASONS = {
    *("short", "magic", "bad_version", "flags", "truncated", "trailing", "fragment"),
    *("receiver", "key_epoch", "mac"),
}


def outcome(call: Any, *arguments: object) -> object:
    try:
        return call(*arguments)
    except (WireError, ValueError) as error:
        return str(error)


def sealed(twin: Any, header: Header, tag: bytes, body: bytes) -> Any:
    mac_key = KEYS.mac_keys[header.key_epoch]
    return outcome(twin.Sealer().seal, mac_key, tag, *header[:10], body)


def headers() -> st.SearchStrategy[Header]:
    number, short = st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 16) - 1)
    return st.builds(
        Header,
        type=st.integers(0, 255),
        flags=st.sampled_from([0, 1, 2, 5, 6, 8]),
        key_epoch=st.sampled_from([1, 2]),
        generation=number,
        operation_id=st.binary(min_size=16, max_size=16),
        sender=number,
        session=number,
        counter=number,
        fragment_index=short,
        fragment_count=short,
        body_bytes=st.just(0),
    ).filter(lambda h: h.fragment_index < h.fragment_count)


@given(headers(), st.binary(min_size=8, max_size=8), st.binary(max_size=2000))
def test_round_trip__both_twins(header: Header, tag: bytes, body: bytes) -> None:
    datagram = sealed(seal_pure, header, tag, body)
    assert datagram == sealed(FAST, header, tag, body)
    assert datagram[HEADER_BYTES:] == body
    kind = header.flags if header.flags < 4 else 0
    for twin in TWINS:
        opened = twin.Sealer().unseal(KEYS.mac_keys, kind, tag, datagram)
        assert isinstance(opened, Header)
        assert opened == header._replace(body_bytes=len(body))


def test_seal__refuses_what_does_not_fit() -> None:
    for changed in ({"generation": 1 << 64}, {"counter": -1}, {"operation_id": b"short"}):
        given: dict[str, Any] = changed
        for twin in TWINS:
            assert sealed(twin, EXAMPLE._replace(**given), TAG, b"") == "range"
    for twin in TWINS:
        assert sealed(twin, EXAMPLE, b"short", b"") == "a receiver tag has 8 bytes"
        opened = outcome(twin.Sealer().unseal, KEYS.mac_keys, 0, b"a long tag", b"")
        assert opened == "a receiver tag has 8 bytes"


@pytest.mark.parametrize("size", [951, 952, 953, 4200, 16_312, 61_000, 65_456, 200_000])
def test_round_trip__long_bodies(size: int) -> None:
    """A MAC covers 72 bytes more: one chunk of BLAKE3 and a byte more or less, and trees of several."""
    body = random.Random(size).randbytes(size)
    datagram = sealed(seal_pure, EXAMPLE, TAG, body)
    assert datagram == sealed(FAST, EXAMPLE, TAG, body)
    bad = datagram[:-1] + bytes([datagram[-1] ^ 1])
    for twin in TWINS:
        assert twin.Sealer().unseal(KEYS.mac_keys, 0, TAG, datagram).body_bytes == size
        assert outcome(twin.Sealer().unseal, KEYS.mac_keys, 0, TAG, bad) == "mac"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size__is_refused_by_both_twins(size: int) -> None:
    datagram = sealed(seal_pure, EXAMPLE, TAG, b"body")
    for twin in TWINS:
        found = outcome(twin.Sealer().seal, bytes(size), TAG, *EXAMPLE[:10], b"body")
        assert found == f"expected a 32-byte key, found {size}"
        keys = {EXAMPLE.key_epoch: bytes(size)}
        assert outcome(twin.Sealer().unseal, keys, 0, TAG, datagram) == found


@given(
    st.lists(st.tuples(st.integers(0, 119), st.integers(0, 255)), max_size=2),
    st.integers(0, 121),
    st.integers(0, 2),
    st.sampled_from([TAG, node_tag(8)]),
)
def test_unseal__twins_agree_about_anything(
    changes: list[tuple[int, int]], length: int, kind: int, tag: bytes
) -> None:
    good = bytearray(sealed(seal_pure, EXAMPLE, TAG, b"b" * 40))
    for at, value in changes:
        good[at] = value
    datagram = bytes(good[:length]) + bytes(max(0, length - len(good)))
    found = outcome(seal_pure.Sealer().unseal, KEYS.mac_keys, kind, tag, datagram)
    assert outcome(FAST.Sealer().unseal, KEYS.mac_keys, kind, tag, datagram) == found
    assert isinstance(found, Header) or found in REASONS


def test_unseal__refuses_for_every_single_reason() -> None:
    def opened(datagram: bytes, kind: int = 0, tag: bytes = TAG) -> object:
        found = {outcome(t.Sealer().unseal, KEYS.mac_keys, kind, tag, datagram) for t in TWINS}
        assert len(found) == 1
        return found.pop()

    good = sealed(seal_pure, EXAMPLE, TAG, b"b" * 40)
    assert opened(good) == EXAMPLE
    assert opened(good[:79]) == "short"
    assert opened(b"x" + good[1:]) == "magic"
    assert opened(good + b"x") == "trailing"
    assert opened(good[:-1]) == "truncated"
    assert opened(good, kind=GROUP_KINDS["negotiating"]) == "receiver"
    assert opened(good, tag=node_tag(8)) == "mac"
    assert opened(good[:7] + b"\x05" + good[8:]) == "key_epoch"
    assert opened(good[:7] + b"\x01" + good[8:]) == "mac"  # the other key


def test_unseal__every_flipped_bit_is_noticed() -> None:
    rng = random.Random(1)
    good = sealed(seal_pure, EXAMPLE, TAG, b"b" * 40)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << rng.randrange(8)
        for twin in TWINS:
            assert outcome(twin.Sealer().unseal, KEYS.mac_keys, 0, TAG, bytes(bad)) in REASONS


def test_sealer__many_keys_one_after_the_other() -> None:
    """Whatever a sealer keeps of a key, neither other keys nor earlier datagrams get into its MACs."""
    rng = random.Random(2)
    sealer = FAST.Sealer()
    keys = [rng.randbytes(32) for _ in range(1100)]
    for key in [*keys, *rng.choices(keys, k=300)]:
        body = rng.randbytes(rng.randrange(3000))
        datagram = sealer.seal(key, TAG, *EXAMPLE[:10], body)
        assert datagram == seal_pure.Sealer().seal(key, TAG, *EXAMPLE[:10], body)
        assert sealer.unseal({EXAMPLE.key_epoch: key}, 0, TAG, datagram).body_bytes == len(body)
        bad = datagram[:-1] + bytes([datagram[-1] ^ 1])
        assert outcome(sealer.unseal, {EXAMPLE.key_epoch: key}, 0, TAG, bad) == "mac"
