"""The HTTP shell of the S3 gateway: aiohttp's parser and transport, heads and bodies for service.py.

Header and small body leave in one write, with TCP_NODELAY: Nagle's algorithm would hold a second one
back. A client that expects it is told to go on once its head was found good. What it has not sent
of its body after an answer is not read: the connection closes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web

from replicast import clocks
from replicast.errors import ReplicastError
from replicast.gateway.s3 import answers
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.ranges import unsatisfied_content_range
from replicast.gateway.s3.refusals import s3_error
from replicast.gateway.s3.service import S3Service
from replicast.machine import Address
from replicast.metrics import Counters

log = logging.getLogger("replicast.gateway.s3")

HEAD_LINE_BYTES_MAX = 16 << 10
IDLE_SECONDS = 75.0
BODY_SECONDS = 60.0  # a client that sends nothing for so long is given up
UNROUTED = "unknown"


class S3Server:
    """Serves one address."""

    def __init__(self, service: S3Service, counters: Counters) -> None:
        self._service, self._counters = service, counters
        self._server = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
            auto_decompress=False,
        )
        self._listening: asyncio.Server | None = None

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> Address:
        """Listen; returns where, for port 0 is any."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._server, *address, ssl=tls, backlog=1024)
        host, port = self._listening.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self, finish_seconds: float) -> None:
        """Stop listening; what is under way may end within `finish_seconds`."""
        if self._listening is not None:
            self._listening.close()
        await self._server.shutdown(finish_seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began_ns, request_id = clocks.now_ns(), secrets.token_hex(8).upper()
        operation, code = UNROUTED, "ok"
        try:
            head = head_of(request)
            routed = self._service.route(head)
            operation = routed.operation.name
            url = f"{request.scheme}://{request.host}{head.path}"
            answer = await self._service.serve(head, routed, _stream(request), url)
            return await self._send(request, answer, request_id)
        except ReplicastError as error:
            failed = s3_error(error)
            code = failed.code.name
            if failed is not error:
                log.info("%s %s: %s", request_id, operation, error)
            return await self._send(request, _refusal(failed, request, request_id), request_id)
        except (ConnectionError, asyncio.CancelledError):
            code = "gone"
            raise
        except Exception:
            log.exception("request %s: %s", request_id, operation)
            code = "InternalError"
            answer = _refusal(S3Error("InternalError"), request, request_id)
            return await self._send(request, answer, request_id)
        finally:
            self._counters.count("s3_requests", operation, code)
            elapsed_ns = clocks.now_ns() - began_ns
            self._counters.observe_ns("s3_seconds", operation, elapsed_ns=elapsed_ns)

    async def _send(
        self, request: web.BaseRequest, answer: Answer, request_id: str
    ) -> web.StreamResponse:
        headers = {"x-amz-request-id": request_id, "server": "replicast", **answer.headers}
        if isinstance(answer.body, bytes):
            if request.method == "HEAD" and answer.length_bytes is not None:
                headers["content-length"] = str(answer.length_bytes)
            whole = web.Response(status=answer.status, headers=headers, body=answer.body or None)
            return await _finished(request, whole)
        headers["content-length"] = str(answer.length_bytes)
        response = web.StreamResponse(status=answer.status, headers=headers)
        async with aclosing(answer.body) as blocks:  # type: ignore[type-var]
            first = await anext(blocks, b"")  # an error before the head can still be told
            await response.prepare(request)
            await response.write(bytes(first))
            async for block in blocks:
                await response.write(bytes(block))
        await response.write_eof()
        return response


async def _finished(request: web.BaseRequest, response: web.Response) -> web.Response:
    if not request.content.is_eof() and request.body_exists:
        response.force_close()
    await response.prepare(request)
    await response.write_eof()
    return response


def head_of(request: web.BaseRequest) -> Head:
    """What was on the wire, a character for each byte."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.raw_headers:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    target = request.raw_path.encode("utf-8", "surrogateescape").decode("latin-1")
    path, _, query = target.partition("?")
    return Head(request.method, path, query, headers)


async def _stream(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes; raises RequestTimeout."""
    if request.headers.get("expect", "").lower() == "100-continue":
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await request.content.readany()
        except TimeoutError:
            raise S3Error("RequestTimeout") from None
        if not data:
            return
        yield data


def _refusal(error: S3Error, request: web.BaseRequest, request_id: str) -> Answer:
    if error.code.status == 304:
        return Answer(304, error.headers)
    headers = {"content-type": "application/xml", **error.headers}
    if error.code.name == "InvalidRange" and "ActualObjectSize" in error.fields:
        headers["content-range"] = unsatisfied_content_range(int(error.fields["ActualObjectSize"]))
    path = request.raw_path.partition("?")[0]
    body = b"" if request.method == "HEAD" else answers.error(error, path, request_id)
    return Answer(error.code.status, headers, body)
