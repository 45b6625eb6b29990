"""Sockets, datagram sizes, multicast addresses and memberships."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from replicast.machine import Group
from replicast.transfer_header import HEADER_BYTES
from replicast.transport.memberships import Memberships
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import NetThread, Reassembly
from replicast.transport.sockets import (
    PortTaken,
    control_bytes_for_mtu,
    datagram_bytes_for_mtu,
    interface_index,
    interface_mtu,
    open_group,
    open_unicast,
    receive_buffer_bytes,
    require_route,
)

PATIENCE_SECONDS = 60.0
LOOPBACK = ["127.0.0.1", "::1"]
IPV6_MEMBERSHIPS = Path("/proc/net/igmp6")


@pytest.mark.parametrize(("mtu", "expected"), [(1500, 1408), (9000, 8904), (65_536, 61_440)])
def test_datagram_bytes_for_mtu__fills_the_packet(mtu: int, expected: int) -> None:
    assert datagram_bytes_for_mtu(mtu) == expected
    assert expected + HEADER_BYTES + 28 <= mtu
    assert control_bytes_for_mtu(mtu) <= mtu - 28


def test_datagram_bytes_for_mtu__ipv6_and_tiny() -> None:
    assert datagram_bytes_for_mtu(1500, ipv6=True) == 1384
    assert datagram_bytes_for_mtu(0) == 256


def test_interface_mtu__loopback_and_nonsense() -> None:
    assert interface_mtu("127.0.0.1") == interface_mtu("::1") == 65_536
    assert interface_mtu("192.0.2.77") == interface_mtu("2001:db8::77") == 1500


@pytest.mark.parametrize("host", LOOPBACK)
def test_open_unicast__buffers_and_taken_port(host: str) -> None:
    with open_unicast(host, 0) as first:
        assert receive_buffer_bytes(first) >= 1 << 16
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"UDP port {port} on {host} is taken"):
            open_unicast(host, port)


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77"])
def test_open_unicast__address_of_another_machine(host: str) -> None:
    with pytest.raises(OSError):
        open_unicast(host, 0)


@pytest.mark.parametrize("host", LOOPBACK)
def test_open_unicast__what_would_be_fragmented_is_refused(host: str) -> None:
    with open_unicast(host, 0) as opened, pytest.raises(OSError):
        opened.sendto(bytes(65_508), opened.getsockname())


def test_interface_index__of_ipv6_addresses() -> None:
    assert socket.if_indextoname(interface_index("::1")) == "lo"
    with pytest.raises(OSError, match="2001:db8::77"):
        interface_index("2001:db8::77")


def test_require_route__ipv6_loopback_has_none_for_groups() -> None:
    group = Group("negotiating", 0)
    require_route(MulticastPlan(b"c").address(group), "127.0.0.1")
    with pytest.raises(OSError):
        require_route(MulticastPlan(b"c", ipv6=True).address(group), "::1")


@pytest.mark.parametrize(("ipv6", "block"), [(False, "239.192.0.0/14"), (True, "ff18::efc0:0/110")])
def test_multicast_plan__addresses_are_distinct_and_local(ipv6: bool, block: str) -> None:
    plan = MulticastPlan(b"cluster-0123456789", ipv6=ipv6)
    groups = [*plan.negotiating_groups(), *(Group("rendezvous", n) for n in range(64))]
    addresses = [plan.address(group) for group in groups]
    assert len(set(addresses)) == 80
    for host, port in addresses:
        assert ip_address(host) in ip_network(block)
        assert port == plan.port and 21_000 <= port < 31_000
    assert MulticastPlan(b"another").address(groups[0]) != addresses[0]
    assert MulticastPlan(b"another", configured_port=7000).port == 7000


def test_multicast_plan__largest_and_wrong() -> None:
    plan = MulticastPlan(b"c", multicast_groups=4096, rendezvous_groups=4096)
    last = IPv4Address(plan.address(Group("rendezvous", 4095))[0])
    assert last <= IPv4Address("239.195.255.255")
    for group in (Group("rendezvous", 4096), Group("negotiating", -1), Group("other", 0)):
        with pytest.raises(ValueError):
            plan.address(group)
    with pytest.raises(ValueError):
        MulticastPlan(b"c", multicast_groups=0)


@pytest.fixture
def net() -> Iterator[NetThread]:
    thread = NetThread(Reassembly(1 << 20, 8))
    thread.start()
    yield thread
    thread.stop()


def plan_of_this_run() -> MulticastPlan:
    return MulticastPlan(random.SystemRandom().randbytes(16))


def test_memberships__hear_their_groups_and_forget_the_oldest(net: NetThread) -> None:
    plan = plan_of_this_run()
    left: list[int] = []
    memberships = Memberships(net, plan, "127.0.0.1", rendezvous_max=2, on_left=left.append)
    assert memberships.join_negotiating()
    groups = [Group("rendezvous", number) for number in range(3)]
    negotiating = Group("negotiating", 3)
    assert all(memberships.join_rendezvous(number) for number in (0, 1, 0, 2))
    assert left == [1] and len(memberships) == 18
    with open_unicast("127.0.0.1", 0) as sender:
        for group in (groups[1], groups[0], groups[2], negotiating):
            sender.sendto(repr(group).encode(), plan.address(group))
        heard: list[tuple[Group | None, bytes]] = []
        while len(heard) < 3:
            assert select.select([net.fileno()], [], [], PATIENCE_SECONDS)[0]
            heard += [(memberships.group_of(tag), data) for tag, data, _ in net.take()[0]]
    expected = {groups[0], groups[2], negotiating}
    assert {group for group, _ in heard} == expected
    assert all(data == repr(group).encode() for group, data in heard)
    memberships.close()
    assert len(memberships) == 0


def test_memberships__a_refused_join_is_an_answer(net: NetThread) -> None:
    memberships = Memberships(net, plan_of_this_run(), "192.0.2.77")
    assert not memberships.join_rendezvous(1)
    assert not memberships.join_rendezvous(64)
    assert not memberships.join_negotiating()


def test_open_group__two_members_on_one_host_and_no_strangers() -> None:
    plan = plan_of_this_run()
    (one, port), (other, _) = (plan.address(group) for group in plan.negotiating_groups()[:2])
    with (
        open_group(one, port, "127.0.0.1") as first,
        open_group(one, port, "127.0.0.1") as second,
        open_group(other, port, "127.0.0.1") as stranger,
        open_unicast("127.0.0.1", 0) as sender,
    ):
        sender.sendto(b"to both", (one, port))
        for receiver in (first, second):
            assert select.select([receiver], [], [], PATIENCE_SECONDS)[0]
            assert receiver.recvfrom(100) == (b"to both", sender.getsockname())
        with pytest.raises(BlockingIOError):
            stranger.recv(100)


def test_open_group__ipv6_joins_on_the_interface_of_an_address() -> None:
    plan = MulticastPlan(random.SystemRandom().randbytes(16), ipv6=True)
    address, port = plan.address(Group("rendezvous", 3))
    with open_group(address, port, "::1"):
        joined = IPV6_MEMBERSHIPS.read_text().splitlines()
        mine = [line.split() for line in joined if ip_address(address).packed.hex() in line]
        assert [line[1] for line in mine] == ["lo"]
    with pytest.raises(OSError, match="2001:db8::77"):
        open_group(address, port, "2001:db8::77")


def test_open_group__a_wrong_port_leaves_no_socket_behind() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        address, port = plan_of_this_run().address(Group("negotiating", 0))
        holder.bind((address, port))
        with pytest.raises(PortTaken):
            open_group(address, port, "127.0.0.1")
