"""Key epochs and what the MAC binds."""

from __future__ import annotations

import pytest

from replicast.auth.keyring import KeyRing, group_tag, node_tag
from replicast.machine import Group

CLUSTER = b"c" * 16
KEYS = KeyRing(CLUSTER, 1, {1: b"k" * 32})
HEAD, TAG, BODY = b"h" * 64, node_tag(7), b"body"


def test_mac__binds_cluster_key_head_receiver_and_body() -> None:
    mac = KEYS.mac(1, HEAD, TAG, BODY)
    assert len(mac) == 16 and KEYS.mac(1, HEAD, TAG, BODY) == mac
    assert KEYS.mac(1, b"x" * 64, TAG, BODY) != mac
    assert KEYS.mac(1, HEAD, node_tag(8), BODY) != mac
    assert KEYS.mac(1, HEAD, TAG, b"bodY") != mac
    assert KeyRing(b"d" * 16, 1, {1: b"k" * 32}).mac(1, HEAD, TAG, BODY) != mac
    assert KeyRing(CLUSTER, 1, {1: b"l" * 32}).mac(1, HEAD, TAG, BODY) != mac


def test_tags__of_groups_differ_by_kind_and_number() -> None:
    groups = [Group(kind, number) for kind in ("negotiating", "rendezvous") for number in (0, 1)]
    tags = [group_tag(group) for group in groups]
    assert len(dict.fromkeys(tags)) == 4
    assert all(len(tag) == 8 for tag in tags)


def test_rotated__keeps_one_old_epoch() -> None:
    second = KEYS.rotated(2, b"m" * 32)
    third = second.rotated(3, b"n" * 32)
    assert (second.current, second.has(1), second.has(2)) == (2, True, True)
    assert (third.has(1), third.has(2), third.has(3)) == (False, True, True)
    assert not second.without_old().has(1)


@pytest.mark.parametrize(
    ("current", "keys"),
    [
        (2, {1: b"k" * 32}),
        (1, {1: b"short"}),
        (256, {256: b"k" * 32}),
        (1, {1: b"k" * 32, 2: b"k" * 32, 3: b"k" * 32}),
    ],
)
def test_key_ring__refuses(current: int, keys: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="epoch"):
        KeyRing(CLUSTER, current, keys)
