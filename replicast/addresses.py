"""IP addresses as people write them: `10.0.0.1:7000`, `[fd00::1]:7000`.

Inside the programs an address is (host, port), the host without brackets and in the
canonical spelling of its family, so that equal addresses are equal texts. Link-local IPv6
addresses are refused: they mean another interface on every host, so a table cannot name them.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address

from replicast.machine import Address


def is_ipv6(host: str) -> bool:
    """Whether a host, which may be a name, is an IPv6 address."""
    return ":" in host


def family_of(host: str) -> socket.AddressFamily:
    """Of the sockets that serve or reach this address."""
    return socket.AF_INET6 if is_ipv6(host) else socket.AF_INET


def canonical_host(text: str) -> str:
    """An IP address in its one spelling, a name as it is; raises ValueError for link-local ones."""
    try:
        host = ip_address(text)
    except ValueError:
        if is_ipv6(text):
            raise ValueError(f"{text} is not an IP address") from None
        return text
    if isinstance(host, IPv6Address) and (host.is_link_local or host.scope_id):
        raise ValueError(f"{text} is link-local: give an address that is the same on every host")
    return str(host)


def address_text(address: Address) -> str:
    """`host:port`, an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if is_ipv6(host) else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """The reverse; raises ValueError. Brackets belong around IPv6 hosts, and only there."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if host != (f"[{bare}]" if is_ipv6(bare) else bare):
        raise ValueError(f"{text!r} is not host:port; an IPv6 host stands in brackets")
    # isascii: isdigit() alone lets digits through that int() reads and no host writes.
    if not bare or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise ValueError(f"{text!r} is not host:port")
    return canonical_host(bare), int(port)
