"""Unicast against multicast on the local loopback: a negotiation round and a payload.

The round is one request to three responders in processes of their own and their three
answers, as the network thread and a plain Python loop see it; the payload is one chunk
to three receivers in this process. The responders are the servers of a round, in CPU seconds.
"""

from __future__ import annotations

import os
import random
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from meter import TINY, Case, measure
from results import digest_of
from s3_endpoints import process_seconds

from replicast.machine import Address, Group

CHUNK_BYTES = 64_000 if TINY else 1 << 20
RESPONDERS = 3
GROUP = Group("rendezvous", 1)
STOP, REQUEST = b"stop", bytes(180)
DATAGRAM_BYTES = 61_440
RETRY_SECONDS = 0.2


def respond(node: Any, ready_fd: int) -> None:
    """A responder's process: answer every request until told to stop."""
    node.join(GROUP.number)
    os.write(ready_fd, f"{node.address[1]}\n".encode())
    while True:
        select.select([node.net.fileno()], [], [])
        controls, _, _ = node.net.take()
        if any(data == STOP for _, data, _ in controls):
            return
        node.net.send_control([(0, data, source) for _, data, source in controls])


def start_responder(make_node: Callable[[], Any]) -> tuple[int, Address]:
    ready, ready_fd = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            respond(make_node(), ready_fd)
        finally:
            os._exit(0)
    os.close(ready_fd)
    with open(ready) as lines:
        return child, ("127.0.0.1", int(lines.readline()))


@dataclass(frozen=True, slots=True)
class Responders:
    initiator: Any
    by_pid: dict[int, Address]

    def cpu_seconds(self) -> float:
        return sum(map(process_seconds, self.by_pid))


@pytest.fixture
def responders(make_node: Callable[[], Any]) -> Iterator[Responders]:
    """Three processes that answer, started before this one has a network thread."""
    started = [start_responder(make_node) for _ in range(RESPONDERS)]
    initiator = make_node()
    found = Responders(initiator, dict(started))
    yield found
    initiator.net.send_control([(0, STOP, address) for address in found.by_pid.values()])
    for child in found.by_pid:
        os.waitpid(child, 0)


@pytest.mark.parametrize("how", ["unicast", "multicast"])
def test_negotiation_round(benchmark: Any, responders: Responders, how: str) -> None:
    initiator, addresses = responders.initiator, list(responders.by_pid.values())
    to = addresses if how == "unicast" else [initiator.plan.address(GROUP)]
    rounds = 0

    def one() -> set[Address]:
        nonlocal rounds
        rounds += 1
        request = rounds.to_bytes(8, "little") + REQUEST
        answered: set[Address] = set()
        while len(answered) < RESPONDERS:
            initiator.net.send_control([(0, request, address) for address in to])
            while len(answered) < RESPONDERS and wait(initiator):
                controls, _, _ = initiator.net.take()
                answered |= {source for _, data, source in controls if data == request}
        return answered

    measure(
        benchmark,
        Case(f"negotiation round {how}"),
        one,
        digest=lambda answered: digest_of(sorted(map(addresses.index, answered))),
        server_seconds=responders.cpu_seconds,
    )


def wait(node: Any) -> bool:
    return bool(select.select([node.net.fileno()], [], [], RETRY_SECONDS)[0])


@pytest.mark.parametrize("how", ["unicast", "multicast"])
def test_payload_to_three(
    benchmark: Any,
    make_node: Callable[[], Any],
    run_transfer: Callable[..., None],
    how: str,
) -> None:
    sender, *receivers = [make_node() for _ in range(1 + RESPONDERS)]
    for receiver in receivers:
        receiver.join(GROUP.number)
    unicast = [receiver.address for receiver in receivers]
    to = unicast if how == "unicast" else [sender.plan.address(GROUP)]
    chunk = random.Random(1).randbytes(CHUNK_BYTES)

    def one() -> list[bytes]:
        transfer_id = os.urandom(16)
        run_transfer(sender, receivers, to, transfer_id, chunk, DATAGRAM_BYTES)
        return [receiver.reassembly.take(transfer_id) for receiver in receivers]

    case = Case(f"payload to {RESPONDERS} {how}", size_bytes=CHUNK_BYTES)
    arrived = measure(benchmark, case, one, digest=lambda arrived: digest_of(b"".join(arrived)))
    assert arrived == [chunk] * RESPONDERS
