"""Nodes on loopback for the network benches, one NetThread each, payload with gap repair; and a cluster."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

import pytest
from loopback_cluster import LoopbackCluster, loopback_cluster

from replicast.machine import Address
from replicast.transport.memberships import Memberships
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import NetThread, Reassembly
from replicast.transport.sockets import open_unicast

REPAIR_AFTER_SECONDS = 0.02


class LoopbackNode:
    """A network thread with its unicast socket and its groups."""

    def __init__(self, plan: MulticastPlan) -> None:
        self.reassembly = Reassembly(64 << 20, 64)
        self.net = NetThread(self.reassembly)
        self.socket = open_unicast("127.0.0.1", 0)
        self.address: Address = self.socket.getsockname()
        self.plan = plan
        self.memberships = Memberships(self.net, plan, "127.0.0.1")
        self.net.add_socket(self.socket.fileno(), 0)
        self.net.start()

    def join(self, number: int) -> None:
        assert self.memberships.join_rendezvous(number)

    def submit(
        self,
        transfer_id: bytes,
        chunk: bytes,
        ranges: list[tuple[int, int]],
        datagram_bytes: int,
        to: list[Address],
    ) -> None:
        shape = (ranges, datagram_bytes, len(chunk), to)
        assert self.net.submit_payload(1, 0, transfer_id, 7, chunk, *shape)

    def close(self) -> None:
        self.memberships.close()
        self.net.stop()
        self.socket.close()


def transfer(
    sender: LoopbackNode,
    receivers: list[LoopbackNode],
    to: list[Address],
    transfer_id: bytes,
    chunk: bytes,
    datagram_bytes: int,
) -> None:
    """One chunk to all receivers; what was lost goes again by unicast."""
    for receiver in receivers:
        receiver.reassembly.open(transfer_id, len(chunk), datagram_bytes)
    sender.submit(transfer_id, chunk, [(0, len(chunk))], datagram_bytes, to)
    missing = list(receivers)
    while missing:
        files = [receiver.net.fileno() for receiver in missing]
        ready, _, _ = select.select(files, [], [], REPAIR_AFTER_SECONDS)
        for receiver in missing:
            if not ready:
                gaps = receiver.reassembly.gaps(transfer_id, 1000)
                if gaps:
                    sender.submit(transfer_id, chunk, gaps, datagram_bytes, [receiver.address])
            elif receiver.net.fileno() in ready:
                receiver.net.take()
        missing = [r for r in missing if not complete(r, transfer_id)]
    sender.net.take()


def complete(receiver: LoopbackNode, transfer_id: bytes) -> bool:
    received_bytes, size_bytes = receiver.reassembly.progress(transfer_id)
    return received_bytes == size_bytes


@pytest.fixture
def plan() -> MulticastPlan:
    return MulticastPlan(os.urandom(16))


@pytest.fixture
def make_node(plan: MulticastPlan) -> Iterator[Callable[[], LoopbackNode]]:
    nodes: list[LoopbackNode] = []

    def make() -> LoopbackNode:
        nodes.append(LoopbackNode(plan))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def run_transfer() -> Callable[..., None]:
    return transfer


@pytest.fixture(scope="session", params=["unicast", "multicast"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackCluster]:
    """By transport, one at a time: pytest sorts the tests of all files so. What follows a comma tells
    apart clusters of one transport, for tests that would leave too much behind for others."""
    transport, _, _ = request.param.partition(",")
    data = tmp_path_factory.mktemp("bench") / "data"
    with loopback_cluster(data, transport) as made:
        yield made
