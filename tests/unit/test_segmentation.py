"""Several datagrams a message (UDP_SEGMENT, UDP_GRO), and what the network thread does without.

Real kernel, real refusals: a socket without checksums cannot segment, a socket with a small
IPV6_MTU has a narrow path.
"""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from replicast.native._net import NetThread as FastThread
from replicast.native._reassembly import Reassembly as FastReassembly
from replicast.transfer_header import header_for
from replicast.transport.net_pure import NetThread as PureThread
from replicast.transport.reassembly import Reassembly as PureReassembly
from replicast.transport.sockets import IPV6_MTU, open_unicast

from .net_node import send_joined

ID = b"transfer-id-0001"
DATAGRAM_BYTES = 1408
CHUNK = random.Random(1).randbytes(100 * DATAGRAM_BYTES)
SO_NO_CHECK = 11
IPV6_MTU_MIN = 1280
PATIENCE_SECONDS = 60.0

MakeNet = Callable[..., tuple[Any, socket.socket]]


@pytest.fixture
def make_net() -> Iterator[MakeNet]:
    made: list[tuple[Any, socket.socket]] = []

    def make(host: str, twin: str = "cython") -> tuple[Any, socket.socket]:
        fast = twin == "cython"
        buffers: Any = FastReassembly(1 << 20, 8) if fast else PureReassembly(1 << 20, 8)
        net: Any = FastThread(buffers) if fast else PureThread(buffers)
        opened = open_unicast(host, 0)
        made.append((net, opened))
        net.add_socket(opened.fileno(), 0)
        net.start()
        return net, opened

    yield make
    for net, opened in made:
        net.stop()
        opened.close()


def send(net: Any, receiver: socket.socket, datagram_bytes: int = DATAGRAM_BYTES) -> None:
    """Until the last datagram has left or was refused."""
    addresses = [receiver.getsockname()[:2]]
    whole = [(0, len(CHUNK))]
    assert net.submit_payload(1, 0, ID, 7, CHUNK, whole, datagram_bytes, len(CHUNK), addresses)
    wait(net, lambda taken: taken[2] == [1])


def wait(net: Any, done: Callable[[Any], bool]) -> None:
    while not done(net.take()):
        assert select.select([net.fileno()], [], [], PATIENCE_SECONDS)[0], "nothing came"


def receive(net: Any) -> None:
    """The chunk is here, each byte as it was sent."""
    wait(net, lambda taken: ID in taken[1])
    assert net.reassembly.take(ID) == CHUNK


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_segments__leave_and_arrive_joined(make_net: MakeNet, host: str) -> None:
    (sender, _), (receiver, place) = make_net(host), make_net(host)
    receiver.reassembly.open(ID, len(CHUNK), DATAGRAM_BYTES)
    send(sender, place)
    receive(receiver)
    sent, received = sender.stats(), receiver.stats()
    assert sent["sent_joined"] == sent["sent_payload"] == 100
    assert received["received_joined"] > 0 and received["received_payload"] == 100
    assert sent["segmenting"] and received["joining"]


def test_segments__refused_by_the_kernel_go_one_by_one(make_net: MakeNet) -> None:
    (sender, opened), (receiver, place) = make_net("127.0.0.1"), make_net("127.0.0.1")
    opened.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    for _ in range(2):
        receiver.reassembly.open(ID, len(CHUNK), DATAGRAM_BYTES)
        send(sender, place)
        receive(receiver)
    stats = sender.stats()
    assert not stats["segmenting"] and stats["sent_joined"] == 0
    assert stats["sent_payload"] == 200 and stats["send_errors"] == 0


@pytest.mark.parametrize("twin", ["cython", "python"])
def test_segments__a_narrow_path_is_no_reason_to_give_them_up(make_net: MakeNet, twin: str) -> None:
    (sender, opened), (receiver, place) = make_net("::1", twin), make_net("::1", twin)
    opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, IPV6_MTU_MIN)
    send(sender, place)
    stats = sender.stats()
    assert stats["send_too_long"] == 100 and stats["sent_payload"] == 0
    receiver.reassembly.open(ID, len(CHUNK), 1024)
    send(sender, place, 1024)
    receive(receiver)
    stats = sender.stats()
    assert stats["send_too_long"] == 100 and stats["send_errors"] == 0
    assert bool(stats["segmenting"]) == (twin == "cython") == (stats["sent_joined"] > 0)


def test_joined__what_is_complete_before_the_last_one_is_news(make_net: MakeNet) -> None:
    receiver, place = make_net("127.0.0.1")
    chunk, address = CHUNK[: 3 * DATAGRAM_BYTES], place.getsockname()
    receiver.reassembly.open(ID, len(chunk), DATAGRAM_BYTES)
    one, two, three = (
        header_for(ID, index, len(chunk), DATAGRAM_BYTES, 7).pack()
        + chunk[index * DATAGRAM_BYTES :][:DATAGRAM_BYTES]
        for index in range(3)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        send_joined(sender, [one, two, one], address)
        receiver.take()  # more is to come: the thread has the socket
        send_joined(sender, [two, three, three], address)
        wait(receiver, lambda taken: ID in taken[1])
    assert receiver.reassembly.stats()["duplicate"] == 3
    assert receiver.reassembly.take(ID) == chunk
