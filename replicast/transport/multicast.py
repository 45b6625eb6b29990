"""Which multicast address a group has: pure arithmetic from the cluster id.

A cluster has a block of addresses and one port, both from its id: first the negotiating
groups, then the rendezvous groups, rounded up to a power of two. IPv4 groups lie in
239.192.0.0/14, IPv6 groups in ff18::efc0:0/110: both organization-local, the latter transient,
with the IPv4 group's bits as its last 32.
Clusters that fall on the same block hear each other's datagrams and drop them at the
MAC; nothing else happens. Which group a row or a set of targets uses, the initiator says
(gateway/put.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address

from replicast.machine import Address, Group

NEGOTIATING, RENDEZVOUS = "negotiating", "rendezvous"
BLOCK_FIRST = int(IPv4Address("239.192.0.0"))
ADDRESSES = 1 << 18
IPV6_PREFIX = int(IPv6Address("ff18::"))
PORT_FIRST, PORTS = 21_000, 10_000  # below the ports that the kernel hands out


@dataclass(frozen=True, slots=True)
class MulticastPlan:
    """Addresses of one cluster. `configured_port` 0: from the cluster id. `ipv6`: its family.

    What was asked for once is kept: a put asks for its group with every wave and every message.
    """

    cluster_id: bytes
    multicast_groups: int = 16
    rendezvous_groups: int = 64
    configured_port: int = 0
    ipv6: bool = False
    _known: dict[Group, Address] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if min(self.multicast_groups, self.rendezvous_groups) < 1:
            raise ValueError("at least one group of each kind")
        if self.multicast_groups + self.rendezvous_groups > ADDRESSES:
            raise ValueError(f"more than {ADDRESSES} groups")

    def _draw(self) -> tuple[int, int]:
        """(first address, port) from the cluster id."""
        digest = blake2b(self.cluster_id, digest_size=16, person=b"multicast").digest()
        block, port = struct.unpack("<QQ", digest)
        size = 1 << (self.multicast_groups + self.rendezvous_groups - 1).bit_length()
        return BLOCK_FIRST + block % (ADDRESSES // size) * size, PORT_FIRST + port % PORTS

    @property
    def port(self) -> int:
        """The UDP port of all groups."""
        return self.configured_port or self._draw()[1]

    def negotiating_groups(self) -> list[Group]:
        """All of them: what every target joins at start."""
        return [Group(NEGOTIATING, number) for number in range(self.multicast_groups)]

    def address(self, group: Group) -> Address:
        """Where a group's datagrams go. Raises ValueError for a group that is not in the plan."""
        known = self._known.get(group)
        if known is not None:
            return known
        counts = {NEGOTIATING: self.multicast_groups, RENDEZVOUS: self.rendezvous_groups}
        if not 0 <= group.number < counts.get(group.kind, 0):
            raise ValueError(f"no such group: {group}")
        offset = group.number + (self.multicast_groups if group.kind == RENDEZVOUS else 0)
        number = self._draw()[0] + offset
        host = IPv6Address(IPV6_PREFIX | number) if self.ipv6 else IPv4Address(number)
        address = self._known[group] = str(host), self.port
        return address
