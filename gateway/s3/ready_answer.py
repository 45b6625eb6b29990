"""An answer whose head is known: aiohttp writes it as it is.

aiohttp's own responses find out for each answer what is the same for all of ours, or known before:
cookies, encodings, framing, a type and a length. That takes as long as everything else of the writing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from replicast import clocks
from replicast.gateway.s3.dates import http_date

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

NO_BODY = (204, 304)  # nor a word of its length
TYPE_DEFAULT = "application/octet-stream"
_STATUS = {each.value: f"{each.value} {each.phrase}" for each in HTTPStatus}


class ReadyAnswer(web.StreamResponse):
    """`headers`: all but those of the connection, in lower case. `length_bytes`: of the body; None
    where the head does not tell it. `close`: the connection ends with it."""

    def __init__(
        self, status: int, headers: dict[str, str], length_bytes: int | None, *, close: bool
    ) -> None:
        super().__init__(status=status)
        self._lines, self._length_bytes, self._closes = headers, length_bytes, close
        self._writer: AbstractStreamWriter | None = None
        self._whole = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Called before the body, and by aiohttp once more. The head leaves with what is written first.
        Raises ValueError for headers that would be several."""
        if self._writer is not None:
            return self._writer
        headers, version = self._lines, request.version
        if self._length_bytes is not None and self.status not in NO_BODY:
            headers["content-length"] = str(self._length_bytes)
            if self._length_bytes and request.method != "HEAD":
                headers.setdefault("content-type", TYPE_DEFAULT)
        headers["date"] = http_date(clocks.wall_ns())
        self._keep_alive = request.keep_alive and not self._closes
        if self._keep_alive != (version >= (1, 1)):  # the other than is taken for granted
            headers["connection"] = "keep-alive" if self._keep_alive else "close"
        line = f"HTTP/{version[0]}.{version[1]} {_STATUS[self.status]}"
        written: Any = headers  # it is asked for its items only
        await request.writer.write_headers(line, written)
        request.writer.length = self._length_bytes
        self._writer = request.writer
        return self._writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """More of the body; waits while the client takes less than it is sent."""
        assert self._writer is not None
        await self._writer.write(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """The rest of the body, or all of it; and by aiohttp once more."""
        if self._whole:
            return
        assert self._writer is not None
        self._whole = True
        await self._writer.write_eof(data)
