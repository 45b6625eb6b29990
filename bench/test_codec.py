"""Codec, header and endpoint: what one control message costs in CPU.

In messages per second; the digest is of the last message's bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from meter import TINY, Case, measure

from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing
from replicast.machine import Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import OFFER, Bid, ChunkPut, PutPropose, VdevBid
from replicast.wire.codec import decode, encode
from replicast.wire.name_messages import (
    ALWAYS,
    NO_VERSION,
    Condition,
    NameKey,
    NamePut,
    OperationTime,
)
from replicast.wire.schema import Message

COUNT = 20 if TINY else 2000
CHID, OPERATION = bytes(range(32)), bytes(16)
A, B = 1, 2
HERE = {A: ("10.0.0.1", 1), B: ("10.0.0.1", 2)}


def bid(vdev_index: int) -> VdevBid:
    return VdevBid(
        vdev_index=vdev_index,
        kind=OFFER,
        reason=0,
        start_ns=1000,
        duration_ns=2_000_000,
        free_ppm=900_000,
        credit_bytes=1 << 20,
    )


def messages() -> dict[str, Message]:
    data = random.Random(1).randbytes(16_384)
    key = NameKey(row=9, tenant="default", bucket="photos", bucket_incarnation=1, name="a" * 60)
    return {
        "put_propose": PutPropose(
            row=7, chid=CHID, hash_algorithm=1, size_bytes=1 << 20, copies=3, excluded=(4, 5)
        ),
        "bid": Bid(bids=(bid(1), bid(2))),
        "chunk_put_4k": ChunkPut(
            row=7,
            chid=CHID,
            hash_algorithm=1,
            size_bytes=4096,
            vdevs=(1, 2, 3),
            transfer_id=OPERATION,
            datagram_bytes=61_440,
            data=data[:4096],
        ),
        "name_put_16k": NamePut(
            key=key,
            time=OperationTime(first_sent_ns=1, begun_ns=1),
            condition=Condition(kind=ALWAYS, version=NO_VERSION, etag=""),
            null=False,
            logical_size=len(data),
            etag="e" * 32,
            body_hash=CHID,
            body=data,
            short_of_copies=(),
            holders=(),
        ),
    }


def run(benchmark: Any, name: str, once: Callable[[], bytes]) -> None:
    def work() -> bytes:
        for _ in range(COUNT):
            result = once()
        return result

    measure(benchmark, Case(name, operations=COUNT), work)


@pytest.mark.parametrize("name", list(messages()))
def test_encode(benchmark: Any, name: str) -> None:
    message = messages()[name]
    run(benchmark, f"encode {name}", lambda: encode(message))


@pytest.mark.parametrize("name", list(messages()))
def test_decode(benchmark: Any, name: str) -> None:
    message = messages()[name]
    body = encode(message)

    def once() -> bytes:
        decode(message.TYPE, body)
        return body

    run(benchmark, f"decode {name}", once)


@pytest.mark.parametrize("name", list(messages()))
def test_endpoint(benchmark: Any, name: str) -> None:
    """One message from one endpoint to another that knows it: encode, MAC, check, decode."""
    message = messages()[name]
    keys = KeyRing(bytes(16), 1, {1: bytes(32)})
    ends = {n: Endpoint(n, n, keys, random.Random(n), Counters(), 61_520) for n in (A, B)}
    for endpoint in ends.values():
        endpoint.set_addresses(HERE)

    def exchange() -> bytes:
        ends[A].send(Outgoing(message, B, OPERATION, 1), 0)
        for _ in range(4):  # the first exchange is challenged, the others end at once
            for sender, receiver in ((A, B), (B, A)):
                for datagram in ends[sender].take_datagrams():
                    incoming = ends[receiver].receive(datagram.payload, HERE[sender], None, 0)
                    if incoming is not None:
                        return encode(incoming.message)
        raise AssertionError("not delivered")

    run(benchmark, f"endpoint to endpoint {name}", exchange)
