"""gateway/s3/regions.py: what the region is called, and what a bucket remembers of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.config import ConfigError
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.regions import Regions, read_regions


def read(own: str, aliases: str) -> Regions:
    return read_regions(
        GatewayConfig(directory=".", metrics_port=1, s3_region=own, s3_region_aliases=aliases)
    )


def test_regions__that_are_signed_for() -> None:
    assert Regions().signing == ("us-east-1",)
    assert Regions("eu-1").signing == ("eu-1", "us-east-1")
    assert Regions("eu-1", ("a", "eu-1", "b")).signing == ("eu-1", "us-east-1", "a", "b")


def test_location__is_remembered_where_it_is_an_alias() -> None:
    regions = Regions("eu-1", ("default", "eu-2"))
    assert [regions.location(asked) for asked in ("", "eu-1", "eu-2")] == ["", "", "eu-2"]
    for asked in ("us-east-1", "EU-1", "eu-3"):
        with pytest.raises(S3Error) as refused:
            regions.location(asked)
        assert refused.value.reason == "InvalidLocationConstraint"
        assert refused.value.fields["LocationConstraint"] == asked


def test_of__a_bucket() -> None:
    regions = Regions("eu-1", ("default",))
    without: Any = SimpleNamespace(location="")
    called: Any = SimpleNamespace(location="gone-since")
    assert (regions.of(without), regions.of(called)) == ("eu-1", "gone-since")


def test_read_regions() -> None:
    assert read_regions(GatewayConfig(directory=".", metrics_port=1)) == Regions(
        "us-east-1", ("default",)
    )
    assert read("eu-1", "") == Regions("eu-1")
    assert read("eu-1", " , b,a ,b") == Regions("eu-1", ("b", "a"))


@pytest.mark.parametrize("name", ["", "eu/1", "-eu", "eu-", "é", "x" * 64, "eu 1", "eu.1", "eu_1"])
def test_read_regions__that_nobody_could_sign_for(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^s3_region: "):
        read(name, "")
    if name:
        with pytest.raises(ConfigError, match=r"^s3_region_aliases: "):
            read("eu-1", f"good,{name}")
