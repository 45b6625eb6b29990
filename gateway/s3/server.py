"""The HTTP shell of the S3 gateway: aiohttp's parser and transport, heads and bodies for service.py.

Header and small body leave in one write, with TCP_NODELAY: Nagle's algorithm would hold a second one
back. Where an answer comes before the whole body of its request, the connection closes after it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from aiohttp import web

from replicast import clocks
from replicast.errors import ReplicastError
from replicast.gateway.config import GatewayConfig
from replicast.gateway.initiation import Block
from replicast.gateway.s3 import answers
from replicast.gateway.s3.admission import Admission, Share
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.connection import UNROUTED, Patience, S3Connection, S3Connections
from replicast.gateway.s3.descriptors import allow_connections
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.handshakes import Handshakes
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.incoming import Incoming
from replicast.gateway.s3.ranges import unsatisfied_content_range
from replicast.gateway.s3.ready_answer import ReadyAnswer
from replicast.gateway.s3.refusals import s3_error
from replicast.gateway.s3.service import S3Service
from replicast.gateway.s3.sigv2 import with_query_headers
from replicast.machine import Address
from replicast.metrics import Counters

log = logging.getLogger("replicast.gateway.s3")

RETRY_SECONDS = 1  # what a client that is told to come again is told to wait
WITH_HEAD_BYTES_MAX = 64 << 10  # longer bodies are not worth a copy
FIRST_WRITE_BYTES = 16 << 10  # copied behind the head, to leave with it
WRITE_BYTES, TLS_WRITE_BYTES = 1 << 20, 256 << 10
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class Exchange:
    """One request and what is said of it in logs and metrics."""

    def __init__(
        self, request: web.BaseRequest, connection: S3Connection, body_seconds: float
    ) -> None:
        # To be told apart, not to be kept secret: asking the kernel gives up the interpreter's lock.
        self.request, self.id = request, f"{random.getrandbits(64):016X}"
        self.body = Incoming(request, body_seconds, connection.has_room)
        self.operation, self.code = UNROUTED, "ok"
        self.head_sent = False  # from then on errors cannot be told
        self.began_ns = clocks.now_ns()


class S3Server:
    """Serves HTTP, HTTPS or both."""

    def __init__(self, service: S3Service, counters: Counters, config: GatewayConfig) -> None:
        self._service, self._counters = service, counters
        self._admission = Admission(
            config.s3_requests, config.s3_body_bytes, config.s3_waiting, config.s3_wait_seconds
        )
        self._patience = Patience(
            config.s3_head_seconds, config.s3_body_seconds, config.s3_idle_seconds
        )
        self._server = S3Connections(self._handle, counters, self._patience, config.s3_connections)
        self._listening: list[asyncio.Server] = []
        self._handshakes: list[Handshakes] = []

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> Address:
        """Listen, at several addresses if called for each; returns where, for port 0 is any."""
        if not self._listening:
            allow_connections(2 * self._server.most)
        loop = asyncio.get_running_loop()
        factory: Callable[[], asyncio.Protocol] = self._server
        if tls is not None:
            factory = handshakes = Handshakes(
                self._server, tls, self._patience.head_seconds, self._counters
            )
            self._handshakes.append(handshakes)
        listening = await loop.create_server(factory, *address, backlog=1024)
        self._listening.append(listening)
        host, port = listening.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self, finish_seconds: float) -> None:
        """Stop listening; what is under way may end within `finish_seconds`."""
        for listening in self._listening:
            listening.close()
        for handshakes in self._handshakes:
            handshakes.stop()
        for connection in self._server.connections:
            connection.close()  # at once where nothing is asked, else behind the answer
        await self._server.shutdown(finish_seconds)

    def measure(self) -> None:
        """Set the gauges."""
        requests, body_bytes = self._admission.requests, self._admission.body_bytes
        self._counters.gauge("s3_connections", value=self._server.held)
        self._counters.gauge("s3_requests_under_way", value=requests.held)
        self._counters.gauge("s3_requests_waiting", value=requests.waiting + body_bytes.waiting)
        self._counters.gauge("s3_body_bytes", value=body_bytes.held)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, S3Connection)
        exchange = Exchange(request, connection, self._patience.body_seconds)
        try:
            response = await self._answered(exchange, connection)
            if not exchange.body.whole:
                connection.sends_on()
                await exchange.body.discard()
            return response
        except (ConnectionError, asyncio.CancelledError):
            exchange.code = "gone" if exchange.code == "ok" else exchange.code
            connection.abort()
            raise
        finally:
            connection.ended()
            self._counters.count("s3_requests", exchange.operation, exchange.code)
            elapsed_ns = clocks.now_ns() - exchange.began_ns
            self._counters.observe_ns("s3_seconds", exchange.operation, elapsed_ns=elapsed_ns)

    async def _answered(self, exchange: Exchange, connection: S3Connection) -> web.StreamResponse:
        """Do what is asked for and write the answer, whatever it is."""
        try:
            if connection.excess:
                raise S3Error("SlowDown")
            async with self._admission.request() as share:
                return await self._served(exchange, share)
        except ReplicastError as error:
            failed = s3_error(error)
            exchange.code = failed.code.name
            if failed is not error:
                log.info("%s %s: %s", exchange.id, exchange.operation, error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("request %s: %s", exchange.id, exchange.operation)
            failed = S3Error("InternalError")
            exchange.code = failed.code.name
        if exchange.head_sent:
            # What is there to say: whoever reads must not take it for whole.
            raise ConnectionAbortedError
        # A body without a length would be taken for requests.
        close = connection.excess or failed.code.name == "MissingContentLength"
        return await _send_whole(exchange, _refusal(failed, exchange), close=close)

    async def _served(self, exchange: Exchange, share: Share) -> web.StreamResponse:
        head = with_query_headers(head_of(exchange.request))
        routed = self._service.route(head)
        exchange.operation = routed.operation.name
        url = f"{exchange.request.scheme}://{head.header('host') or ''}{head.path}"
        async with aclosing(exchange.body.blocks(share)) as stream:
            peer = exchange.request.remote or ""
            answer = await self._service.serve(head, routed, stream, url, peer)
        return await _send(exchange, answer, share)


async def _send(exchange: Exchange, answer: Answer, share: Share) -> web.StreamResponse:
    if isinstance(answer.body, bytes):
        return await _send_whole(exchange, answer)
    assert answer.length_bytes is not None
    async with aclosing(answer.body) as blocks:  # type: ignore[type-var]
        await share.outgoing(answer.length_bytes)
        first = await anext(blocks, b"")  # an error before the head can still be told
        if WITH_HEAD_BYTES_MAX >= len(first) == answer.length_bytes:
            await anext(blocks, None)  # what is found out at the end, too
            return await _send_whole(exchange, replace(answer, body=bytes(first)))
        response = ReadyAnswer(
            answer.status,
            _headers(exchange, answer),
            answer.length_bytes,
            close=not exchange.body.whole,
        )
        await response.prepare(exchange.request)
        exchange.head_sent = True
        piece_bytes = TLS_WRITE_BYTES if exchange.request.secure else WRITE_BYTES
        await response.write(memoryview(first)[:FIRST_WRITE_BYTES])
        await _write(response, memoryview(first)[FIRST_WRITE_BYTES:], piece_bytes)
        async for block in blocks:
            if exchange.request.secure:
                # TLS takes everything for a client that is gone until the loop has told it.
                await asyncio.sleep(0)
            await _write(response, block, piece_bytes)
    await response.write_eof()
    return response


async def _write(response: ReadyAnswer, block: Block, piece_bytes: int) -> None:
    """In pieces, which bound what is copied at a time: what the kernel does not take of one at once, or
    with TLS all of it. A kernel that has room takes a whole chunk in one call."""
    view = memoryview(block)
    for at in range(0, len(view), piece_bytes):
        await response.write(view[at : at + piece_bytes])


async def _send_whole(
    exchange: Exchange, answer: Answer, *, close: bool = False
) -> web.StreamResponse:
    assert isinstance(answer.body, bytes)
    length_bytes = answer.length_bytes
    if exchange.request.method != "HEAD":
        length_bytes = len(answer.body)
    whole = ReadyAnswer(
        answer.status,
        _headers(exchange, answer),
        length_bytes,
        close=close or exchange.body.waits or not exchange.body.whole,
    )
    await whole.prepare(exchange.request)
    exchange.head_sent = True
    await whole.write_eof(answer.body)
    return whole


def _headers(exchange: Exchange, answer: Answer) -> dict[str, str]:
    return {"x-amz-request-id": exchange.id, "server": "replicast", **answer.headers}


def head_of(request: web.BaseRequest) -> Head:
    """What was on the wire, a character for each byte. Raises InvalidURI."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.raw_headers:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path, _, query = _target(request, headers.get("host", "")).partition("?")
    return Head(request.method, path, query, headers)


def _target(request: web.BaseRequest, host: str) -> str:
    """The target in origin form. Proxies are sent the absolute form (RFC 9112, 3.2.2); one for
    another host than the header's, which is what was signed, would be two requests in one."""
    target = _wire(request.raw_path)
    absolute = None if target.startswith("/") else _ABSOLUTE.fullmatch(target)
    if absolute and absolute[1].lower() == host.lower():
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if not target.startswith("/") or "#" in target:
        raise S3Error("InvalidURI")
    return target


def _wire(target: str) -> str:
    return target.encode("utf-8", "surrogateescape").decode("latin-1")


def _refusal(error: S3Error, exchange: Exchange) -> Answer:
    if error.code.status == 304:
        return Answer(304, error.headers)
    headers = {"content-type": "application/xml", **error.headers}
    if error.code.status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    if error.code.name == "InvalidRange" and "ActualObjectSize" in error.fields:
        headers["content-range"] = unsatisfied_content_range(int(error.fields["ActualObjectSize"]))
    request = exchange.request
    path = request.raw_path.partition("?")[0]
    body = b"" if request.method == "HEAD" else answers.error(error, path, exchange.id)
    return Answer(error.code.status, headers, body)
