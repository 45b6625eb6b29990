"""gateway/s3/signing_keys.py: the derivation, and a memory that stays small."""

from __future__ import annotations

from replicast.gateway.s3.signing_keys import SigningKeys, signing_key

from .aws_examples import SECRET


def test_signing_key__of_the_example() -> None:
    key = signing_key(SECRET, "20130524", "us-east-1")
    assert key.hex() == "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"


def test_keys__are_those_of_the_derivation_and_few() -> None:
    keys = SigningKeys(keys_max=3)
    asked = [(f"secret{n % 4}", f"2013052{n % 3}", f"region{n % 5}") for n in range(100)]
    for secret, day, region in asked:
        assert keys.key(secret, day, region) == signing_key(secret, day, region)
        assert len(keys) <= 3


def test_keys__the_one_in_use_stays() -> None:
    keys = SigningKeys(keys_max=2)
    kept = keys.key("often", "20130524", "r")
    for n in range(9):
        keys.key(f"rare{n}", "20130524", "r")
        assert keys.key("often", "20130524", "r") is kept
