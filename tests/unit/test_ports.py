"""replicast/cli/ports.py: free ports, and whose a taken one is."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest

from replicast.cli.ports import free_ports, port_owner, require_free
from replicast.errors import InvalidRequest

HOST = "127.0.0.1"


def test_ports__of_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequest, match=rf"on ::1 is held by .*pid {os.getpid()}\)"):
            require_free("::1", [port], "")
    require_free("::1", free_ports("::1", 5, random.Random(4)), "")


def test_free_ports__distinct_free_and_never_given_to_connections() -> None:
    ports = free_ports(HOST, 40, random.Random(1))
    assert len(set(ports)) == 40
    require_free(HOST, ports, "")
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    low = int(limits.read_text().split()[0]) if limits.exists() else 32_768
    assert all(10_000 <= port < max(low, 14_096) for port in ports)


def test_free_ports__passes_over_a_taken_one() -> None:
    port = free_ports(HOST, 1, random.Random(2))[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, port))
        assert port not in free_ports(HOST, 5, random.Random(2))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_require_free__names_the_owner(kind: str) -> None:
    port = free_ports(HOST, 1, random.Random(3))[0]
    number = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, number) as taken:
        taken.bind((HOST, port))
        if kind == "tcp":
            taken.listen()
        with pytest.raises(InvalidRequest, match=f"{kind} port {port} .*; do this") as caught:
            require_free(HOST, [port], "do this")
        assert f"(pid {os.getpid()})" in str(caught.value)
        assert port_owner(kind, port).endswith(f"(pid {os.getpid()})")
    require_free(HOST, [port], "")


def test_require_free__an_address_that_is_not_ours() -> None:
    with pytest.raises(InvalidRequest, match=r"tcp port 9999 on 192\.0\.2\.1"):
        require_free("192.0.2.1", [9999], "")
