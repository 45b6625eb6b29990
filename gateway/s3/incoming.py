"""The body of one HTTP request as it comes from the wire, with patience that ends.

Nothing is read, and no client told to go on, before somebody asks for the first block: by then the
head was found good. Room for it is waited for first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from aiohttp import web

from replicast.gateway.initiation import Block
from replicast.gateway.s3.admission import SMALL_BODY_BYTES, Share
from replicast.gateway.s3.body_reader import PROGRESS_BYTES, BodyReader
from replicast.gateway.s3.errors import S3Error
from replicast.units import KIB, MIB

JOINED_BYTES_MAX = 16 * KIB
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LENGTH_UNKNOWN_BYTES = 1 << 62  # framed by the transfer encoding
# What a client that was answered may still send: many send all before they read anything.
LINGER_BYTES_MAX, LINGER_SECONDS, LINGER_PAUSE_SECONDS = 16 * MIB, 30.0, 2.0


class Incoming:
    """Of one request. `stall_seconds`: within each such time some of it has to come. `has_room`: called
    when there is room for a large one; it comes by what that returns, if it does."""

    def __init__(
        self,
        request: web.BaseRequest,
        stall_seconds: float,
        has_room: Callable[[], BodyReader | None],
    ) -> None:
        self._request, self._stall_seconds, self._has_room = request, stall_seconds, has_room
        self._reader: BodyReader | None = None
        self._late, self._taken_bytes, self._small_pieces = False, 0, False
        expected = request.headers.get("expect", "").lower() == "100-continue"
        self._waits = expected and request.version >= (1, 1)  # for us to say that it may go on

    async def blocks(self, share: Share) -> AsyncGenerator[Block, None]:
        """The body; raises SlowDown, RequestTimeout, IncompleteBody, ConnectionError."""
        request, body = self._request, self._request.content
        if body.is_eof() and not body.total_bytes:
            self._go_on()  # to an end without anything before it; see `waits`
            return
        length_bytes = request.content_length
        length_bytes = LENGTH_UNKNOWN_BYTES if length_bytes is None else length_bytes
        await share.incoming(length_bytes)
        if length_bytes > SMALL_BODY_BYTES:
            self._reader = self._has_room()
        self._go_on()
        if self._reader is not None:
            while piece := await self._piece(self._reader):
                yield piece
            return
        loop = asyncio.get_running_loop()
        until, came_bytes = loop.time() + self._stall_seconds, 0
        while data := await self._next_until(until):
            came_bytes += len(data)
            if came_bytes >= PROGRESS_BYTES:
                until, came_bytes = loop.time() + self._stall_seconds, 0
            waited_from = loop.time()
            yield data
            until += loop.time() - waited_from  # that was us

    async def _piece(self, reader: BodyReader) -> memoryview | None:
        try:
            return await reader.piece()
        except TimeoutError:
            self._late = True
            raise S3Error("RequestTimeout") from None
        except web.RequestPayloadError:
            raise S3Error("IncompleteBody") from None

    async def _next_until(self, until: float) -> bytes:
        if self._is_here:
            return await self._next()
        try:
            async with asyncio.timeout_at(until):
                return await self._next()
        except TimeoutError:
            self._late = True
            raise S3Error("RequestTimeout") from None

    @property
    def _is_here(self) -> bool:
        """Need nobody wait for what comes next, or for the end?"""
        body = self._request.content
        return self._taken_bytes < body.total_bytes or body.is_eof()

    async def discard(self) -> None:
        """After an answer: what is still on its way, for a connection that ends with requests of
        its own unread is reset, and the answer with it. Never raises."""
        body = self._request.content
        if body.is_eof() or self._waits or self._late or body.exception() is not None:
            return
        loop = asyncio.get_running_loop()
        came_bytes, end = 0, loop.time() + LINGER_SECONDS
        with contextlib.suppress(
            TimeoutError, ConnectionError, web.RequestPayloadError, RuntimeError
        ):
            while came_bytes < LINGER_BYTES_MAX:
                async with asyncio.timeout_at(min(end, loop.time() + LINGER_PAUSE_SECONDS)):
                    came = await self._forgotten()
                if not came:
                    return
                came_bytes += came

    async def _forgotten(self) -> int:
        return len(await self._next_raw()) if self._reader is None else await self._reader.drop()

    @property
    def whole(self) -> bool:
        """Has all of it come?"""
        return self._request.content.is_eof()

    @property
    def waits(self) -> bool:
        """Does the client wait to be told to go on? An answer in place of that ends the connection,
        even when nothing was to come: botocore 1.35 takes the next answer there amiss."""
        return self._waits

    def _go_on(self) -> None:
        if not self._waits:
            return
        self._waits = False
        transport = self._request.transport
        if transport is not None and not self._request.content.total_bytes:
            transport.write(CONTINUE)

    async def _next(self) -> bytes:
        try:
            return await self._next_raw()
        except web.RequestPayloadError:
            raise S3Error("IncompleteBody") from None

    async def _next_raw(self) -> bytes:
        if self._request.transport is None and not self._request.content.is_eof():
            raise ConnectionResetError  # aiohttp has a RuntimeError for it
        data = await (self._all_that_came() if self._small_pieces else self._one_piece())
        self._small_pieces = len(data) < JOINED_BYTES_MAX
        self._taken_bytes += len(data)
        return data

    async def _one_piece(self) -> bytes:
        """As it came from the socket, not copied."""
        while True:
            data, chunk_ended = await self._request.content.readchunk()
            if data or not chunk_ended:  # else a chunk of the transfer encoding has nothing left
                return data

    async def _all_that_came(self) -> bytes:
        """Joined: where pieces are small the way through the gateway costs more for each than a copy."""
        return await self._request.content.readany()
