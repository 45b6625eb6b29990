"""What arrives joined by UDP_GRO is fed as if it had come datagram by datagram, whatever it is."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.transfer_header import FLAG_MAC, HEADER_BYTES, datagram_count, header_for

from ..unit.net_node import Node, send_joined
from .test_reassembly import IDS, OPENED, chunk_of, outcome

JOINED_MAX = 40
# Of three transfers, the last one's datagrams have MACs; IDS[3] is not open.
RUNS = st.tuples(
    st.sampled_from(["payload", "payload", "payload", "mutated", "cut", "sealed", "control"]),
    st.sampled_from([0, 0, 0, 1, 2, 3]),
    # Two runs are all of a transfer.
    st.sampled_from([0, JOINED_MAX]) | st.integers(0, HEADER_BYTES) | st.integers(0, 1 << 16),
    st.just(JOINED_MAX) | st.integers(1, JOINED_MAX),
)
# Python gets it cut into its datagrams again.
WAYS = (("cython", True), ("cython", False), ("python", True))
MESSAGES = st.lists(st.lists(RUNS, max_size=6), min_size=1, max_size=6)
OF_THE_RECEIVER = (
    "received_control", "received_payload", "received_bytes", "dropped_queue_full",
    "dropped_truncated",
)  # fmt: skip


def datagrams_of(
    kind: str, which: int, draw: int, count: int, sizes: tuple[int, int]
) -> Iterator[bytes]:
    """One of these kinds, or a run of payload."""
    size_bytes, datagram_bytes = sizes
    if kind == "control":
        yield random.Random(draw).randbytes(draw % (datagram_bytes + HEADER_BYTES))
        return
    last = datagram_count(size_bytes, datagram_bytes)
    first = draw % last
    for index in range(first, min(first + (count if kind == "payload" else 1), last)):
        header = header_for(IDS[which], index, size_bytes, datagram_bytes, 7)
        if OPENED[which][0] or kind == "sealed":
            header = replace(header, flags=FLAG_MAC, mac=b"whatever")
        start = index * datagram_bytes
        one = bytearray(header.pack() + chunk_of(which, size_bytes)[start : start + header.length])
        if kind == "mutated":
            one[draw % (HEADER_BYTES + 2)] ^= 1 + draw % 255
        if kind == "cut":
            del one[draw % 100 :]
        yield bytes(one)


def message_of(runs: list[tuple[str, int, int, int]], sizes: tuple[int, int]) -> list[bytes]:
    """Datagrams that can be joined: of one size, but the last may have less."""
    pieces = [one for run in runs for one in datagrams_of(*run, sizes)][:JOINED_MAX]
    piece_bytes = max(map(len, pieces), default=0)
    return [one.ljust(piece_bytes, b"\0") for one in pieces[:-1]] + pieces[-1:]


def send(sender: socket.socket, node: Node, pieces: list[bytes], joined: bool) -> None:
    """The message, then a marker, which has been read when this returns, and so has all before it."""
    if joined and len(pieces) > 1 and pieces[-1]:
        send_joined(sender, pieces, node.address)
    else:
        for one in pieces:
            sender.sendto(one, node.address)
    sender.sendto(b"marker", node.address)
    before = len(node.controls)
    node.wait(lambda: any(data == b"marker" for _, data, _ in node.controls[before:]))


def state(node: Node) -> list[Any]:
    """All that can be told of what it received."""
    counters = node.net.stats()
    found = [node.controls, node.completed, [counters[name] for name in OF_THE_RECEIVER]]
    found.append(node.reassembly.stats())
    for transfer_id in IDS:
        found.append(outcome(node.reassembly, "gaps", transfer_id, 100))
        found += [outcome(node.reassembly, kind, transfer_id) for kind in ("digest", "take")]
    return found


@settings(max_examples=100)
@given(MESSAGES, st.sampled_from([(5000, 256), (100_000, 1408)]))
def test_joined__is_as_if_it_came_singly(
    messages: list[list[tuple[str, int, int, int]]], sizes: tuple[int, int]
) -> None:
    with ExitStack() as stack:
        sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.bind(("127.0.0.1", 0))
        nodes = [stack.enter_context(closing(Node(twin))) for twin, _ in WAYS]
        for node, (_, joined) in zip(nodes, WAYS, strict=True):
            node.net.start()
            for which in range(3):
                node.reassembly.open(IDS[which], *sizes, *OPENED[which])
            for runs in messages:
                send(sender, node, message_of(runs, sizes), joined)
        assert state(nodes[0]) == state(nodes[1]) == state(nodes[2])
