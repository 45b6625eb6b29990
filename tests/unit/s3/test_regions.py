"""gateway/s3/regions.py"""

from replicast.gateway.s3.regions import signing_regions


def test_signing_regions__its_own_and_the_first() -> None:
    assert signing_regions("us-east-1") == ("us-east-1",)
    assert signing_regions("eu-1") == ("eu-1", "us-east-1")
