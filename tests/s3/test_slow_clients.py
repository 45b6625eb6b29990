"""Clients that are slow to send, to read or to go: they are given up, and nothing is left of them."""

from __future__ import annotations

import random
import select
from collections.abc import Iterator

import pytest

from .wire import Gateway, Raw

MIB = 1 << 20
TRICKLE_SECONDS = 0.2


@pytest.fixture
def place(impatient: Gateway, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own; all connections have to be gone at the end."""
    bucket = f"/b{random.Random(request.node.name).getrandbits(64):016x}"
    assert impatient.ask("PUT", bucket).status == 200
    yield bucket
    impatient.settled()


def trickle(raw: Raw, data: bytes) -> None:
    """A byte at a time, until an answer comes."""
    for at in range(len(data)):
        if select.select([raw.socket], [], [], TRICKLE_SECONDS)[0]:
            return
        raw.send(data[at : at + 1])
    raise AssertionError("nobody minded")


def test_head__that_trickles(impatient: Gateway, place: str) -> None:
    ended = impatient.metric("s3_connections_ended", why="slow_head")
    with impatient.connect() as raw:
        trickle(raw, impatient.head("GET", f"{place}/k"))
        assert raw.reply().code == "RequestTimeout" and raw.closed()
    impatient.wait_metric("s3_connections_ended", ended + 1, why="slow_head")


def test_head__that_stops(impatient: Gateway, place: str) -> None:
    with impatient.connect() as raw:
        raw.send(impatient.head("GET", f"{place}/k")[:-2])
        assert raw.reply().code == "RequestTimeout" and raw.closed()


def test_head__of_the_second_request(impatient: Gateway, place: str) -> None:
    with impatient.connect() as raw:
        raw.send(impatient.head("GET", place))
        assert raw.reply().status == 200
        raw.send(impatient.head("GET", place)[:20])
        assert raw.reply().code == "RequestTimeout" and raw.closed()


@pytest.mark.parametrize("sent_bytes", [0, 1, 70_000])
def test_body__that_stops(impatient: Gateway, place: str, sent_bytes: int) -> None:
    head = impatient.head("PUT", f"{place}/k", unsigned={"content-length": "200000"})
    with impatient.connect() as raw:
        raw.send(head + random.Random(1).randbytes(sent_bytes))
        assert raw.reply().code == "RequestTimeout" and raw.closed()
    assert impatient.ask("GET", f"{place}/k").code == "NoSuchKey"


def test_body__that_trickles(impatient: Gateway, place: str) -> None:
    head = impatient.head("PUT", f"{place}/k", unsigned={"content-length": "200000"})
    with impatient.connect() as raw:
        raw.send(head)
        trickle(raw, bytes(5000))
        assert raw.reply().code == "RequestTimeout" and raw.closed()
    assert impatient.ask("GET", f"{place}/k").code == "NoSuchKey"


def test_reader__that_does_not_read(impatient: Gateway, place: str) -> None:
    data = random.Random(2).randbytes(6 * MIB)
    for part in (1, 2):
        assert impatient.ask("PUT", f"{place}/k{part}", data).status == 200
    ended = impatient.metric("s3_connections_ended", why="slow_reader")
    with impatient.connect(SO_RCVBUF=4096) as raw:
        raw.send(impatient.head("GET", f"{place}/k1"))
        impatient.wait_metric("s3_connections_ended", ended + 1, why="slow_reader")
        with pytest.raises(ConnectionError):
            raw.reply()
    assert impatient.ask("GET", f"{place}/k2").body == data


def test_reader__that_reads_slowly_gets_all(impatient: Gateway, place: str) -> None:
    data = random.Random(3).randbytes(MIB)
    assert impatient.ask("PUT", f"{place}/k", data).status == 200
    with impatient.connect(SO_RCVBUF=4096) as raw:
        raw.send(impatient.head("GET", f"{place}/k"))
        assert raw.reply().body == data


@pytest.mark.parametrize("asks_first", [False, True])
def test_idle(impatient: Gateway, place: str, asks_first: bool) -> None:
    with impatient.connect() as raw:
        if asks_first:
            raw.send(impatient.head("GET", place))
            assert raw.reply().status == 200
        assert raw.closed()
