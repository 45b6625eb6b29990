"""gateway/s3/domains.py: which names are taken from the settings, and in which order."""

from __future__ import annotations

import pytest

from replicast.config import ConfigError
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.domains import read_domains


def read(text: str) -> tuple[str, ...]:
    return read_domains(GatewayConfig(directory=".", metrics_port=1, s3_domains=text))


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("", ()),
        (" , ", ()),
        ("localhost", ("localhost",)),
        ("S3.Example.org", ("s3.example.org",)),
        ("example.org, s3.example.org,EXAMPLE.org", ("s3.example.org", "example.org")),
        ("xn--bcher-kva.example", ("xn--bcher-kva.example",)),
    ],
)
def test_read_domains(text: str, domains: tuple[str, ...]) -> None:
    assert read(text) == domains


@pytest.mark.parametrize(
    "text",
    [
        "*.s3.example.org", "s3.example.org:9000", "http://s3.example.org", "s3.example.org/",
        ".s3.example.org", "s3.example.org.", "a..b", "-a.b", "a_b.c", "bücher.example", "a b",
        "10.0.0.7", "::1", "[::1]", "x" * 64, ".".join(["x" * 63] * 4), "s3.example.org;other.org",
    ],
)  # fmt: skip
def test_read_domains__no_name_of_a_host(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^s3_domains: "):
        read(f"good.example.org, {text}")
