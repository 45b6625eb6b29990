"""A NetThread on a real loopback socket, with either twin; what it delivered is kept."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from struct import pack
from typing import Any

import pytest

from replicast.native._net import NetThread as FastThread
from replicast.native._reassembly import Reassembly as FastReassembly
from replicast.transport.net_pure import NetThread as PureThread
from replicast.transport.reassembly import Reassembly as PureReassembly

TWINS = {"cython": (FastThread, FastReassembly), "python": (PureThread, PureReassembly)}
PATIENCE_SECONDS = 60.0  # never waited for when all is well
AGAIN_SECONDS = 2.0
UDP_SEGMENT = 103


class Node:
    """One NetThread with one unicast socket (tag 0) and everything that it delivered."""

    def __init__(self, twin: str, budget_bytes: int = 64 << 20, **limits: int) -> None:
        thread, reassembly = TWINS[twin]
        self.reassembly: Any = reassembly(budget_bytes, 64)
        self.net: Any = thread(self.reassembly, **limits)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.net.add_socket(self.socket.fileno(), 0)
        self.controls: list[Any] = []
        self.completed: list[bytes] = []
        self.sent: list[int] = []

    def take(self) -> None:
        controls, completed, sent = self.net.take()
        self.controls += controls
        self.completed += completed
        self.sent += sent

    def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            ready, _, _ = select.select([self.net.fileno()], [], [], PATIENCE_SECONDS)
            assert ready, "nothing came"
            self.take()

    def close(self) -> None:
        self.net.stop()
        self.socket.close()


MakeNode = Callable[..., Node]


@pytest.fixture(params=list(TWINS))
def make_node(request: pytest.FixtureRequest) -> Iterator[MakeNode]:
    nodes: list[Node] = []

    def make(**limits: int) -> Node:
        nodes.append(Node(request.param, **limits))
        nodes[-1].net.start()
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


def drain(sender: Node, receiver: Node) -> int:
    """Everything sent before this marker has been received (or lost) when it arrives.

    Returns how many markers it took: a full receive buffer drops them too.
    """
    marker = os.urandom(8)
    for count in range(1, int(PATIENCE_SECONDS / AGAIN_SECONDS)):
        sender.net.send_control([(0, marker, receiver.address)])
        end = time.monotonic() + AGAIN_SECONDS
        while (left := end - time.monotonic()) > 0:
            select.select([receiver.net.fileno()], [], [], left)
            receiver.take()
            if any(data == marker for _, data, _ in receiver.controls):
                receiver.take()
                return count
    raise AssertionError("the marker does not come")


def send_joined(sender: socket.socket, pieces: list[bytes], address: Any) -> None:
    """As one message; who asked for UDP_GRO gets it as one, too. Only the last may be shorter."""
    size = [(socket.IPPROTO_UDP, UDP_SEGMENT, pack("H", len(pieces[0])))]
    sender.sendmsg([b"".join(pieces)], size, 0, address)
