"""target/names/parking.py: requests that wait are few, and small in all."""

from __future__ import annotations

from replicast.machine import Incoming
from replicast.target.names.parking import Parking
from replicast.wire.name_messages import (
    ALWAYS,
    NO_VERSION,
    Condition,
    NameGet,
    NameKey,
    NamePut,
    OperationTime,
)

KEY = NameKey(row=0, tenant="t", bucket="b", bucket_incarnation=1, name="n")


def put(size: int) -> Incoming:
    message = NamePut(
        key=KEY, time=OperationTime(first_sent_ns=0, begun_ns=0),
        condition=Condition(kind=ALWAYS, version=NO_VERSION, etag=""), null=False,
        logical_size=size, etag="",
        body_hash=b"h" * 32, body=bytes(size), short_of_copies=(), holders=(),
    )  # fmt: skip
    return Incoming(message, 9, bytes(16), 1)


def get() -> Incoming:
    return Incoming(NameGet(key=KEY, version=NO_VERSION, want_body=True), 9, bytes(16), 1)


def test_park__bounded_in_count() -> None:
    parking = Parking(2, 1000)
    assert [parking.park(0, 10, get()) for _ in range(3)] == [True, True, False]
    assert len(parking) == 2


def test_park__bounded_in_bytes_of_bodies() -> None:
    parking = Parking(100, 1000)
    assert parking.park(0, 10, put(600))
    assert not parking.park(1, 10, put(600))
    assert parking.park(1, 10, get())
    assert len(parking.take(10, lambda row: False)) == 2
    assert parking.park(1, 10, put(600))
