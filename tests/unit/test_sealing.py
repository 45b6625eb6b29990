"""replicast/sealing.py: secrets open for whom they were sealed, and for nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.keys import ClusterKeys
from replicast.sealing import SealError, SecretSeal
from replicast.user_rules import SECRET
from replicast.wire.user_messages import SEALED_BYTES_MAX, SealedSecret

CLUSTER, NONCE = b"c" * 16, bytes(range(12))
ONE = ClusterKeys(1, {1: b"k" * 32})
BOTH = ClusterKeys(2, {1: b"k" * 32, 2: b"l" * 32})
SECRETS = st.from_regex(SECRET, fullmatch=True)


def seal(secret: str = "a-secret", cluster: bytes = CLUSTER) -> SealedSecret:
    return SecretSeal(cluster, ONE).seal(secret, name="ann", key_id="KEY", nonce=NONCE)


def opens(sealed: SealedSecret, name: str = "ann", key_id: str = "KEY") -> str:
    return SecretSeal(CLUSTER, BOTH).open(sealed, name=name, key_id=key_id)


@given(SECRETS, st.binary(min_size=12, max_size=12))
def test_open__gives_what_was_sealed(secret: str, nonce: bytes) -> None:
    box = SecretSeal(CLUSTER, ONE)
    sealed = box.seal(secret, name="ann", key_id="KEY", nonce=nonce)
    assert box.open(sealed, name="ann", key_id="KEY") == secret
    assert secret.encode() not in sealed.data and len(sealed.data) <= SEALED_BYTES_MAX


def test_seal__with_the_current_cluster_key_and_both_open() -> None:
    newer = SecretSeal(CLUSTER, BOTH).seal("a-secret", name="ann", key_id="KEY", nonce=NONCE)
    assert newer.key_epoch == 2 and seal().key_epoch == 1
    assert opens(newer) == opens(seal()) == "a-secret"
    with pytest.raises(SealError, match="key epoch 2"):
        SecretSeal(CLUSTER, ONE).open(newer, name="ann", key_id="KEY")


def test_open__not_for_another_user_key_id_or_cluster() -> None:
    for name, key_id in (("bob", "KEY"), ("ann", "YEK"), ("nKEY", "an"), ("annK", "EY")):
        with pytest.raises(SealError):
            opens(seal(), name, key_id)
    with pytest.raises(SealError):
        opens(seal(cluster=b"d" * 16))
    with pytest.raises(SealError):
        opens(replace(seal(), key_epoch=2))


@given(st.integers(0, 8 * (12 + 24) - 1))
def test_open__not_with_one_bit_changed(bit: int) -> None:
    sealed = seal()
    flipped = bytearray(sealed.nonce + sealed.data)
    flipped[bit // 8] ^= 1 << bit % 8
    damaged = replace(sealed, nonce=bytes(flipped[:12]), data=bytes(flipped[12:]))
    with pytest.raises(SealError) as caught:
        opens(damaged)
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16), bytes(SEALED_BYTES_MAX)])
def test_open__no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(SealError):
        opens(replace(seal(), data=data))


def test_seal__as_the_format_says() -> None:
    """The vector in docs/formats-control.md, which another program made of the rule there."""
    sealed = SecretSeal(CLUSTER, ONE).seal(
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        name="ann",
        key_id="AKIAIOSFODNN7EXAMPLE",
        nonce=NONCE,
    )
    assert sealed.data.hex() == (
        "a090fd92bf188e30f9f00183f2f06bb0dbf45fd0f5aaf62bf0215ab4d031d905b89cbc9f29971e33"
        "20aeec1d0e3db8ffbf4b3d8a33793b3c"
    )
