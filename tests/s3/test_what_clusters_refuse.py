"""Errors that a sound cluster seldom gives: what the server makes of them, with a service that does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.errors import Conflict, DataLost, NoSpace, ReplicastError, Unavailable
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.bucket_calls import BucketCalls
from replicast.gateway.s3.call import Call
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.operation import route
from replicast.gateway.s3.plain_body import PlainBody
from replicast.gateway.s3.regions import Regions
from replicast.gateway.s3.server import S3Server
from replicast.machine import Address
from replicast.metrics import Counters

from .wire import Raw, Reply

CONFIG = GatewayConfig(directory=".", metrics_port=1)
GET = b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n"
PUT = b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"
HASTY = GatewayConfig(directory=".", metrics_port=1, s3_body_seconds=0.1)


class Service:
    """Routes as the gateway does, and fails as it is told to."""

    def __init__(self, fail: Callable[[Any], Any]) -> None:
        self._fail = fail

    def route(self, head: Head) -> Any:
        return route(head)

    async def serve(self, head: Head, request: Any, stream: Any, url: str, peer: str) -> Any:
        return await self._fail(stream)


def answer(fail: Callable[[Any], Any], request: bytes, config: GatewayConfig = CONFIG) -> Reply:
    """Of a server whose service fails so, to a client in a thread of its own."""

    def ask(address: Address) -> Reply:
        with Raw(address) as raw:
            return raw.send(request).reply()

    async def run() -> Reply:
        service: Any = Service(fail)
        served = S3Server(service, Counters(), config)
        address = await served.start(("127.0.0.1", 0))
        try:
            return await asyncio.to_thread(ask, address)
        finally:
            await served.stop(0)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (Unavailable("no answer"), "ServiceUnavailable", 503),
        (NoSpace("full"), "ServiceUnavailable", 503),
        (Unavailable("busy", reason="BUSY"), "SlowDown", 503),
        (Conflict("in between"), "OperationAborted", 409),
        (DataLost("gone"), "InternalError", 500),
        (ZeroDivisionError(), "InternalError", 500),
        (S3Error("NotModified"), "", 304),
    ],
)
def test_failures__of_the_cluster(
    error: Exception, code: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(stream: Any) -> Any:
        raise error

    found = answer(fail, GET)
    assert (found.code, found.status) == (code, status)
    if isinstance(error, ReplicastError):
        assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_body__that_does_not_come() -> None:
    async def fail(stream: Any) -> Any:
        async for _ in stream:
            pass

    found = answer(fail, PUT, HASTY)
    assert (found.code, found.status) == ("RequestTimeout", 400)


def test_bucket__of_ones_own_made_again_beyond_the_first_region() -> None:
    class Taken:
        async def create(self, bucket: str, **_: Any) -> None:
            raise Conflict("there", reason="BUCKET_EXISTS")

        async def refresh(self) -> None:
            pass

        async def find(self, bucket: str) -> Any:
            return SimpleNamespace(owner="me", location="")

    async def empty() -> Any:
        return
        yield b""

    buckets: Any = Taken()
    unused: Any = None
    with ThreadPoolExecutor(1) as executor:
        calls = BucketCalls(
            buckets, unused, unused, Access(buckets), HashExecutor(executor), Regions("eu-1")
        )
        head = Head("PUT", "/bucket")
        user: Any = SimpleNamespace(canonical_id="me")
        call = Call(head, route(head), user, PlainBody(0), empty(), "", "")
        with pytest.raises(S3Error) as failed:
            asyncio.run(calls.create(call))
    assert failed.value.code.name == "BucketAlreadyOwnedByYou"
