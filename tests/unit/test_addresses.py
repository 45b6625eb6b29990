"""replicast/addresses.py: addresses as people write them."""

from __future__ import annotations

import socket

import pytest

from replicast.addresses import address_text, canonical_host, family_of, parse_address
from replicast.machine import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:7000", ("10.0.0.1", 7000)),
        ("[fd00::1]:7000", ("fd00::1", 7000)),
        ("[::]:1", ("::", 1)),
        ("storage-3.example:65535", ("storage-3.example", 65_535)),
    ],
)
def test_address__text_and_back(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address_text(address) == text


def test_parse_address__one_spelling() -> None:
    assert parse_address("[FD00:0:0::1]:7000") == ("fd00::1", 7000)


@pytest.mark.parametrize(
    "text",
    ["", "7000", ":7000", "host:", "host:0", "host:65536", "host:\u0661", "fd00::1:7000",
     "[10.0.0.1]:7000", "[]:7000", "[fd00::1:7000", "[fd00::g]:1", "fd00::1]:7000"],
)  # fmt: skip
def test_parse_address__what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%eth0", "fd00::1%2"])
def test_canonical_host__what_means_another_interface_on_every_host(host: str) -> None:
    with pytest.raises(ValueError, match="link-local"):
        canonical_host(host)


def test_family_of() -> None:
    assert family_of("::1") == socket.AF_INET6
    assert family_of("127.0.0.1") == family_of("localhost") == socket.AF_INET
