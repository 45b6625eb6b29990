"""One connection of an S3 client: its patience with slow ones, and what it says to those that do not
speak HTTP. aiohttp's protocol does the rest.

The clock runs while a head is coming, and while a client does not take what is sent to it; request
bodies have theirs in incoming.py. Everything that is held for a client is bounded here: a head by
HEAD_BYTES_MAX, requests that come before the answer to the one before by AHEAD_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from replicast.gateway.s3 import answers
from replicast.gateway.s3.body_reader import PROGRESS_BYTES, BodyReader
from replicast.gateway.s3.errors import S3Error
from replicast.metrics import Counters
from replicast.units import KIB, MIB

log = logging.getLogger("replicast.gateway.s3")

HEAD_BYTES_MAX = 32 * KIB  # request line and headers; S3 itself takes 8 KiB
HEADERS_MAX = 256
AHEAD_BYTES_MAX = 64 * KIB
READ_BUFFER_BYTES = 256 * KIB  # of a body; up to twice as much, and one read, is held
READ_BYTES = 96 * KIB  # at a time: a head and a small body
# Of a body that has its room: what is done for a piece on its way through the gateway is the same for any size.
LARGE_READ_BYTES = 512 * KIB
PIECE_BYTES = 1 * MIB  # of one whose bytes are stored as they come: the chunks of what is put
PAST_PARSER_BYTES_MIN = 64 * KIB  # less is left to it
# What is read of a client that sends on after it was refused, for it to see what it was told.
DISCARD_SECONDS, DISCARD_BYTES_MAX = 2.0, 1 * MIB
UNROUTED = "unknown"  # the operation, as counted, of what is no request
_HEAD_END = b"\r\n\r\n"
_PARSING: dict[str, Any] = {
    "max_line_size": HEAD_BYTES_MAX,
    "max_field_size": HEAD_BYTES_MAX,
    "max_headers": HEADERS_MAX,
    "auto_decompress": False,
}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a whole head, for progress of a body either way, between requests."""

    head_seconds: float
    body_seconds: float
    idle_seconds: float


class S3Connection(RequestHandler):
    """`excess`: one more than are served; it may ask once, to be told so."""

    def __init__(self, server: S3Connections, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections, self._patience = server, server.patience
        self.excess = False
        self._body: StreamReader | None = None  # of the request that is being answered
        self._body_bytes: int | None = None  # its length, where that is all that frames it
        self._body_framed = False  # within that length
        self._reader: BodyReader | None = None  # of what of it comes past the parser
        self._head_bytes, self._head_tail = 0, b""
        self._ahead_bytes = 0
        self._nothing_more = asyncio.Event()  # comes of this client
        self._sends_on = False  # behind its last answer
        self._deaf, self._discarded_bytes = False, 0  # what comes is read and forgotten
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._watched: asyncio.Transport | None = None  # outlives aiohttp's own reference

    # -- coming and going -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Told by the transport."""
        super().connection_made(transport)
        self._watched = self.transport
        self._read_at_most(READ_BYTES)
        self.excess = self._connections.open_count > self._connections.most
        if self._connections.too_many():
            self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Told by the transport."""
        if exc is not None and not isinstance(exc, ConnectionError):
            # Whatever broke it, TLS records that are none or a network that is away: it is the client's.
            exc = ConnectionResetError(str(exc))
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        if self._reader is not None:
            self._reader.fail(exc or ConnectionResetError())
        self._watched = None
        self._nothing_more.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio has it so
        """The client sends no more. It may wait for answers still: what lacks of its last body will
        not come, so that is what the answer says."""
        bodies = [] if self._body is None else [self._body]
        bodies += [body for _, body in self._messages]
        self._nothing_more.set()
        if not bodies or self._watched is None or self._watched.get_extra_info("sslcontext"):
            return None  # closed; TLS has no half-closed connections
        if not bodies[-1].is_eof():
            ended = web.RequestPayloadError("the client ended its body")
            bodies[-1].set_exception(ended)
            if self._reader is not None:
                self._reader.fail(ended)
        if not self._messages:
            self.close()
        return True

    def abort(self) -> None:
        """End it, whatever is not sent yet."""
        if self._watched is not None:
            self._watched.abort()

    # -- a request ------------------------------------------------------------------

    def began(self, head: RawRequestMessage, body: StreamReader) -> None:
        """A whole head has come."""
        self._body, self._head_bytes, self._head_tail = body, 0, b""
        self._ahead_bytes = 0
        length = head.headers.get("content-length")
        self._body_bytes = None if length is None or head.chunked or head.upgrade else int(length)
        self._body_framed = "x-amz-decoded-content-length" in head.headers
        self._cancel_head_timer()
        if not self.writing_paused:
            self._cancel_write_timer()

    def sends_on(self) -> None:
        """More than it is answered: the answer is the last one."""
        self._sends_on = True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Told by aiohttp: write what is not written yet; whether the client is gone."""
        answer, gone = await super().finish_response(request, resp, start_time)
        if not gone and (self._close or not answer.keep_alive):
            await self._linger()
        return answer, gone

    async def _linger(self) -> None:
        """The last answer is written; where more may come behind it, read on until the client has seen
        the end. A connection that is closed with bytes unread is reset, and what is on its way to the
        client is lost."""
        transport = self._watched
        if transport is None or transport.is_closing() or not (self._sends_on or self._ahead_bytes):
            return
        self._deaf = True
        transport.set_protocol(self)  # the reader of its body may have it
        self._resume_transport_reading()  # that one pauses it, and aiohttp when many requests wait
        with contextlib.suppress(OSError):  # reset, and not told yet; TimeoutError is one, too
            if transport.can_write_eof():
                transport.write_eof()
            async with asyncio.timeout(DISCARD_SECONDS):
                await self._nothing_more.wait()

    def has_room(self) -> BodyReader | None:
        """For a large body: it may be read in larger pieces than what comes before there is room. Where
        its length is known it comes by what is returned, else as before."""
        self._read_at_most(LARGE_READ_BYTES)
        transport, body, length_bytes = self._watched, self._body, self._body_bytes
        if transport is None or body is None or length_bytes is None or not _is_socket(transport):
            return None
        if self._reading_paused or self._buffer_paused:
            return None  # the parser keeps some of what has come
        begun_bytes = body.total_bytes
        # What is cut out of a piece keeps the whole of it.
        piece_bytes = LARGE_READ_BYTES if self._body_framed else PIECE_BYTES
        if begun_bytes >= piece_bytes or length_bytes - begun_bytes < PAST_PARSER_BYTES_MIN:
            return None
        if body.exception() is not None:
            return None
        begun = body.read_nowait()
        self._reader = BodyReader(
            self,
            transport,
            begun,
            length_bytes,
            piece_bytes,
            self._patience.body_seconds,
        )
        transport.set_protocol(self._reader)
        return self._reader

    def body_came(self) -> None:
        """Told by the reader of the body: all of it is there, and what follows is for a parser."""
        transport, body, self._reader = self._watched, self._body, None
        if transport is None or body is None:
            return
        self._parser = self._connections.parser(self)  # the one before waits for the body
        transport.set_protocol(self)
        body.feed_eof()

    def _read_at_most(self, size_bytes: int) -> None:
        transport = self._watched
        if transport is not None and _is_socket(transport):
            transport.max_size = size_bytes  # type: ignore[attr-defined]

    def ended(self) -> None:
        """Its answer is written, as far as this side goes."""
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        self._body = None
        self._read_at_most(READ_BYTES)
        if self._nothing_more.is_set() and not self._messages:
            self.close()
        if self._watched is not None and self._watched.get_write_buffer_size():
            self._watch_writes()

    # -- reading --------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Told by the transport."""
        body = self._body
        if self._deaf:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARD_BYTES_MAX:
                self._end_refused()
            return
        # While requests wait for their turn it may be the body of one.
        if body is None and data and not self._messages and not self._take_head(data):
            return
        if body is not None and body.is_eof():
            self._ahead_bytes += len(data)
            if self._ahead_bytes > AHEAD_BYTES_MAX:
                self.close()  # after the answer; see _linger()
        super().data_received(data)
        if body is not None and not body.is_eof() and self._messages:
            # Nothing can follow a body that did not end: the parser gave its framing up. aiohttp
            # would let the reader of the body wait for the rest.
            body.set_exception(web.RequestPayloadError("the body's framing is broken"))
        elif body is None and data and not self._messages and self._head_timer is None:
            self._head_timer = self._loop.call_later(
                self._patience.head_seconds, self._head_is_late
            )

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Told by the body: it holds little now, whether or not it ever held too much. Only what was
        paused has anything left to parse."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _take_head(self, data: bytes) -> bool:
        """Count what comes of a head; False when it is too much, which is answered here."""
        room_bytes = HEAD_BYTES_MAX - self._head_bytes
        if len(data) > room_bytes and _HEAD_END not in self._head_tail + data[:room_bytes]:
            self._refuse(
                S3Error("RequestHeaderSectionTooLarge", MaxSizeAllowed=str(HEAD_BYTES_MAX))
            )
            return False
        self._head_bytes += min(len(data), room_bytes)
        self._head_tail = (self._head_tail + data[-3:])[-3:]
        return True

    def _head_is_late(self) -> None:
        self._connections.closed("slow_head")
        self._refuse(S3Error("RequestTimeout"))

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # -- writing --------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Told by the transport: the client takes less than it is sent."""
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        """Told by the transport."""
        self._cancel_write_timer()
        super().resume_writing()

    def _watch_writes(self) -> None:
        self._cancel_write_timer()
        assert self._watched is not None
        self._unsent_bytes = self._watched.get_write_buffer_size()
        self._write_timer = self._loop.call_later(self._patience.body_seconds, self._check_writes)

    def _check_writes(self) -> None:
        self._write_timer = None
        if self._watched is None or not self._watched.get_write_buffer_size():
            return
        taken_bytes = self._unsent_bytes - self._watched.get_write_buffer_size()
        if 0 <= taken_bytes < min(PROGRESS_BYTES, self._unsent_bytes):
            self._connections.closed("slow_reader")
            self.abort()
            return
        self._watch_writes()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # -- refusals -------------------------------------------------------------------

    def _refuse(self, error: S3Error) -> None:
        """Answer what is no request yet, and close once the client can have read it."""
        self._deaf = True
        self._cancel_head_timer()
        if self._watched is None or self._watched.is_closing():
            return
        body = self._connections.refusal(error)
        head = (
            f"HTTP/1.1 {error.code.status} Bad Request\r\ncontent-type: application/xml\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\nserver: replicast\r\n\r\n"
        )
        self._watched.write(head.encode() + body)
        self._head_timer = self._loop.call_later(DISCARD_SECONDS, self._end_refused)

    def _end_refused(self) -> None:
        self._cancel_head_timer()
        if self._watched is not None:
            self._watch_writes()
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers in place of a handler: bytes that are no HTTP, or a mistake of ours."""
        if isinstance(exc, ConnectionError):
            raise exc  # nobody is there to be told; it ends the connection
        if status >= 500:
            log.error("no answer was made: %s", message, exc_info=exc)
            error = S3Error("InternalError")
        elif isinstance(exc, LineTooLong):
            error = S3Error("RequestHeaderSectionTooLarge", MaxSizeAllowed=str(HEAD_BYTES_MAX))
        else:
            error = S3Error("BadRequest")
        response = web.Response(
            status=error.code.status,
            body=self._connections.refusal(error),
            headers={"content-type": "application/xml", "server": "replicast"},
        )
        response.force_close()
        self.sends_on()
        return response


def _is_socket(transport: asyncio.Transport) -> bool:
    """One of asyncio, which reads as much as it is told to? TLS has buffers of its own."""
    return hasattr(transport, "max_size")


class S3Connections(web.Server):
    """Makes them. `most`: that are served at a time; twice as many get an answer."""

    def __init__(self, handler: Any, counters: Counters, patience: Patience, most: int) -> None:
        super().__init__(handler, request_factory=self._began)
        self._counters = counters
        self.patience, self.most = patience, most
        self.open_count = 0
        self.shaking: set[asyncio.Transport] = set()  # TLS handshakes under way

    def __call__(self) -> S3Connection:
        return S3Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=self.patience.idle_seconds,
            **_PARSING,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=0,  # server.py does it
        )

    def parser(self, connection: S3Connection) -> HttpRequestParser:
        """Another one, as aiohttp makes them."""
        return HttpRequestParser(
            connection,
            connection._loop,
            READ_BUFFER_BYTES,
            payload_exception=web.RequestPayloadError,
            max_msg_queue_size=connection._max_msg_queue_size,
            **_PARSING,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """One more."""
        self.open_count += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """One less."""
        self.open_count -= 1
        super().connection_lost(handler, exc)

    @property
    def held(self) -> int:
        """Connections that are there, those in their handshake too."""
        return self.open_count + len(self.shaking)

    def too_many(self) -> bool:
        """Whether the newest one is beyond all that get an answer; it is counted and to be ended."""
        found = self.held > 2 * self.most
        if found:
            self.closed("excess")
        return found

    def closed(self, why: str) -> None:
        """Count one that this side ended."""
        self._counters.count("s3_connections_ended", why)

    def refusal(self, error: S3Error) -> bytes:
        """The body of an answer to what is no request; counted."""
        self._counters.count("s3_requests", UNROUTED, error.code.name)
        return answers.error(error, "", secrets.token_hex(8).upper())

    def _began(
        self,
        message: Any,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        assert isinstance(protocol, S3Connection)
        protocol.began(message, payload)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
