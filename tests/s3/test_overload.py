"""More than a gateway takes at a time: SlowDown, at once or after a wait, and later all is well."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from replicast.gateway.s3.admission import INCOMING_BYTES_MAX

from .wire import Gateway, Raw

KIB, MIB = 1 << 10, 1 << 20
CONNECTIONS, REQUESTS, WAITING, LARGE = 24, 8, 3, 2  # as `impatient` has it: 8 MiB, 4 a large body


@pytest.fixture
def place(impatient: Gateway, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own, which works again at the end."""
    impatient.settled()
    bucket = f"/b{random.Random(request.node.name).getrandbits(64):016x}"
    assert impatient.ask("PUT", bucket).status == 200
    yield bucket
    impatient.settled()
    assert impatient.ask("PUT", f"{bucket}/after", bytes(MIB)).status == 200


@pytest.fixture
def open_connections() -> Iterator[ExitStack]:
    """Closed at the end of the test."""
    with ExitStack() as stack:
        yield stack


def stalled(gateway: Gateway, target: str, length: int) -> Raw:
    """A put of which half has come, and then nothing for a while."""
    head = gateway.head("PUT", target, unsigned={"content-length": str(length)})
    return gateway.connect().send(head + bytes(min(length // 2, 32 * KIB)))


def slowed_down(raw: Raw) -> None:
    reply = raw.reply()
    assert reply.code == "SlowDown" and int(reply.headers["retry-after"]) >= 1


def test_requests(impatient: Gateway, place: str, open_connections: ExitStack) -> None:
    for number in range(REQUESTS):
        open_connections.enter_context(stalled(impatient, f"{place}/{number}", 64 * KIB))
    impatient.wait_metric("s3_requests_under_way", REQUESTS)
    late = [open_connections.enter_context(impatient.connect()) for _ in range(WAITING + 2)]
    for raw in late:
        raw.send(impatient.head("GET", place))
    for raw in late:
        slowed_down(raw)
    impatient.wait_metric("s3_requests", WAITING + 2, code="SlowDown")


def test_waiting__ends_when_there_is_room(
    impatient: Gateway, place: str, open_connections: ExitStack
) -> None:
    held = [stalled(impatient, f"{place}/{number}", 64 * KIB) for number in range(REQUESTS)]
    impatient.wait_metric("s3_requests_under_way", REQUESTS)
    raw = open_connections.enter_context(impatient.connect())
    raw.send(impatient.head("GET", place))
    for each in held:
        each.socket.close()
    assert raw.reply().status == 200


def test_body_bytes(impatient: Gateway, place: str, open_connections: ExitStack) -> None:
    for number in range(LARGE):
        open_connections.enter_context(stalled(impatient, f"{place}/{number}", 8 * MIB))
    impatient.wait_metric("s3_body_bytes", LARGE * INCOMING_BYTES_MAX)
    assert impatient.ask("PUT", f"{place}/small", b"x").status == 200
    expecting = {"content-length": str(8 * MIB), "expect": "100-continue"}
    with impatient.connect() as raw:
        raw.send(impatient.head("PUT", f"{place}/large", unsigned=expecting))
        slowed_down(raw)  # and not told to go on before
        assert raw.closed()
    assert impatient.ask("GET", f"{place}/large").code == "NoSuchKey"


def test_connections(impatient: Gateway, place: str, open_connections: ExitStack) -> None:
    for _ in range(CONNECTIONS):
        open_connections.enter_context(impatient.connect())
    impatient.wait_metric("s3_connections", CONNECTIONS)
    with impatient.connect() as raw:
        raw.send(impatient.head("GET", place))
        slowed_down(raw)
        assert raw.closed()


def test_connections__far_too_many(
    impatient: Gateway, place: str, open_connections: ExitStack
) -> None:
    for _ in range(2 * CONNECTIONS):
        open_connections.enter_context(impatient.connect())
    impatient.wait_metric("s3_connections", 2 * CONNECTIONS)
    with impatient.connect() as raw:
        assert raw.closed()
    impatient.wait_metric("s3_connections_ended", 1, why="excess")
