"""UDP sockets as the data path wants them, and how large a datagram may be.

Unicast: one socket per daemon, which also sends to groups (so that a group's
datagrams carry the node's own address). Groups: one receiving socket each, bound to the
group's address, so that several clusters and targets share one host. Nothing is ever
fragmented by IP: a datagram that does not fit is refused by the kernel (EMSGSIZE).
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

from replicast.addresses import family_of, is_ipv6
from replicast.machine import Address
from replicast.transfer_header import DATAGRAM_BYTES_MIN, HEADER_BYTES

# Not in the socket module of every supported Python; numbers of the Linux ABI.
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
IP_MTU_DISCOVER, IP_MTU, IP_MULTICAST_ALL = 10, 14, 49
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_MULTICAST_ALL = 23, 24, 29
PMTUDISC_DO = 2
SIOCGIFMTU = 0x8921
# Of the calling thread: a thread may live in another network namespace than its process.
IPV6_ADDRESSES = Path("/proc/thread-self/net/if_inet6")

BUFFER_BYTES = 16 << 20
MULTICAST_HOPS = 8
MTU_DEFAULT, MTU_LOOPBACK = 1500, 65_536
# Whole pages, so that every datagram lands page-aligned; 18 of them are a 1 MiB chunk.
PAYLOAD_BYTES_MAX = 61_440
CONTROL_BYTES_MAX = 65_000


class PortTaken(Exception):
    """Another socket has this port: the CLI looks up whose it is."""

    def __init__(self, address: Address, kind: str = "UDP") -> None:
        super().__init__(f"{kind} port {address[1]} on {address[0]} is taken")
        self.address = address


def open_unicast(host: str, port: int, buffer_bytes: int = BUFFER_BYTES) -> socket.socket:
    """The daemon's own socket, bound to `host` (an IP address; port 0 = any free one).

    Raises PortTaken, or OSError when the address is not this machine's.
    """
    opened = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        _configure(opened, buffer_bytes)
        # First, because it names an address that is not this machine's (OSError).
        _bind(opened, (host, port))
        _send_groups(opened, host)
    except BaseException:
        opened.close()
        raise
    return opened


def open_group(
    address: str, port: int, interface: str, buffer_bytes: int = BUFFER_BYTES
) -> socket.socket:
    """A receiving socket that has joined one group on the interface with that address.

    Both addresses are of one family. Raises PortTaken, or OSError when the kernel refuses
    the membership.
    """
    opened = socket.socket(family_of(address), socket.SOCK_DGRAM)
    try:
        _configure(opened, buffer_bytes)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Only what was joined here, whatever other sockets of this host have joined.
        group = socket.inet_pton(opened.family, address)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
            _bind(opened, (address, port))
            membership = group + struct.pack("@I", interface_index(interface))
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        else:
            opened.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            _bind(opened, (address, port))
            membership = group + socket.inet_aton(interface)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except BaseException:
        opened.close()
        raise
    return opened


def receive_buffer_bytes(opened: socket.socket) -> int:
    """What the kernel really granted (it counts its own overhead in, hence the half)."""
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def interface_mtu(host: str) -> int:
    """The MTU of the interface with this address: what any peer on it may be sent.

    IPv4: asked as the route of a multicast address through that interface, which needs no
    list of interfaces. MTU_DEFAULT when the kernel does not say.
    """
    if ip_address(host).is_loopback:
        return MTU_LOOPBACK
    if is_ipv6(host):
        return _mtu_of_index(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            interface = socket.inet_aton(host)
            asked.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            asked.connect(("239.192.0.1", 9))
            return asked.getsockopt(socket.IPPROTO_IP, IP_MTU)
        except OSError:
            return MTU_DEFAULT


def path_mtu(host: str, address: Address) -> int:
    """MTU of the path from `host` to an address, as the kernel knows it now.

    Its route's, or what routers on the way have said. Raises OSError without a route.
    """
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as asked:
        asked.bind((host, 0))
        asked.connect(address)  # sends nothing
        if asked.family == socket.AF_INET6:
            return asked.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        return asked.getsockopt(socket.IPPROTO_IP, IP_MTU)


def interface_index(host: str) -> int:
    """The number of the interface with this IPv6 address; raises OSError when none has it."""
    wanted = ip_address(host).packed.hex()
    try:
        lines = IPV6_ADDRESSES.read_text().splitlines()
    except FileNotFoundError:
        lines = []  # a kernel without IPv6
    for line in lines:
        address, index, *_ = line.split()
        if address == wanted:
            return int(index, 16)
    raise OSError(errno.EADDRNOTAVAIL, f"no interface has the address {host}")


def _mtu_of_index(host: str) -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asked:
        try:
            name = socket.if_indextoname(interface_index(host)).encode()
            answer = fcntl.ioctl(asked, SIOCGIFMTU, struct.pack("16si20x", name, 0))
        except OSError:
            return MTU_DEFAULT
        return int(struct.unpack_from("i", answer, 16)[0])


def require_route(group: Address, host: str) -> None:
    """Raise OSError unless datagrams to the group can leave through the interface of `host`."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as asked:
        _send_groups(asked, host)
        asked.connect(group)  # sends nothing


def route_to(address: Address) -> str:
    """Our address on the way to another."""
    with socket.socket(family_of(address[0]), socket.SOCK_DGRAM) as asked:
        asked.connect(address)  # sends nothing
        return str(asked.getsockname()[0])


def datagram_bytes_for_mtu(mtu: int, ipv6: bool = False) -> int:
    """Payload bytes per datagram (after our own header) that never fragment at this MTU."""
    room = mtu - _overhead(ipv6) - HEADER_BYTES
    return max(DATAGRAM_BYTES_MIN, min(room // 8 * 8, PAYLOAD_BYTES_MAX))


def control_bytes_for_mtu(mtu: int, ipv6: bool = False) -> int:
    """The longest whole control datagram at this MTU: the endpoint's datagram_bytes_max."""
    return min(mtu - _overhead(ipv6), CONTROL_BYTES_MAX)


def _overhead(ipv6: bool) -> int:
    return (40 if ipv6 else 20) + 8


def _send_groups(opened: socket.socket, host: str) -> None:
    """What goes to groups leaves through the interface of `host`, is heard here too, and is routed."""
    if opened.family == socket.AF_INET6:
        ip, index = socket.IPPROTO_IPV6, interface_index(host)
        opened.setsockopt(ip, socket.IPV6_MULTICAST_IF, index)
        opened.setsockopt(ip, socket.IPV6_MULTICAST_LOOP, 1)
        opened.setsockopt(ip, socket.IPV6_MULTICAST_HOPS, MULTICAST_HOPS)
    else:
        ip = socket.IPPROTO_IP
        opened.setsockopt(ip, socket.IP_MULTICAST_IF, socket.inet_aton(host))
        opened.setsockopt(ip, socket.IP_MULTICAST_LOOP, 1)
        opened.setsockopt(ip, socket.IP_MULTICAST_TTL, MULTICAST_HOPS)


def _configure(opened: socket.socket, buffer_bytes: int) -> None:
    opened.setblocking(False)
    for forced, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, buffer_bytes)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, plain, buffer_bytes)  # as far as allowed
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)


def _bind(opened: socket.socket, address: Address) -> None:
    try:
        opened.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(address) from None
        raise
