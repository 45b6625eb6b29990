"""A client of the local API socket: what the CLI uses. One request at a time a connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicast import errors
from replicast.errors import ReplicastError, Unavailable
from replicast.gateway.api_frames import (
    DATA,
    END,
    ERROR,
    JSON,
    READ_BUFFER_BYTES,
    FrameError,
    parse_json,
    read_frame,
    write_frame,
    write_json,
)

if TYPE_CHECKING:
    from replicast.gateway.initiation import Block

CONNECT_SECONDS, CONNECT_AGAIN_SECONDS = 5.0, 0.02

Answer = dict[str, Any] | bytes


class _Refused(Exception):
    """The gateway has answered with an error, and reads on to the end of the upload."""

    def __init__(self, error: ReplicastError) -> None:
        super().__init__()
        self.error = error


class ApiConnection:
    """One connection; `request` yields the answer's JSON objects and data blocks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def request(
        self, operation: str, upload: AsyncIterator[Block] | None = None, **arguments: Any
    ) -> AsyncIterator[Answer]:
        """Raises the ReplicastError that the gateway answered with."""
        write_json(self._writer, {"op": operation, "upload": upload is not None, **arguments})
        sending = None
        if upload is not None:
            sending = asyncio.ensure_future(self._send(upload))
        try:
            async for answer in self._answers(sending):
                yield answer
            if sending is not None:
                await sending
        except _Refused as refused:
            if sending is not None and not sending.done():
                # Behind END the connection is good for a next request. Only here: an upload
                # that ends for any other reason must not look whole.
                sending.cancel()
                write_frame(self._writer, END)
            raise refused.error from None
        finally:
            if sending is not None:
                sending.cancel()

    async def one(
        self, operation: str, upload: AsyncIterator[Block] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """The single JSON object of the answer."""
        result: dict[str, Any] = {}
        async for answer in self.request(operation, upload, **arguments):
            if isinstance(answer, dict):
                result = answer
        return result

    async def close(self) -> None:
        """Close; an unfinished request is cancelled over there."""
        self._writer.close()

    async def _send(self, upload: AsyncIterator[Block]) -> None:
        async for block in upload:
            write_frame(self._writer, DATA, block)
            await self._drain()
        write_frame(self._writer, END)
        await self._drain()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:  # ENOTCONN has no class of its own; a source's errors are others
            raise ConnectionResetError(error.strerror or "closed") from None

    async def _answers(self, sending: asyncio.Task[None] | None) -> AsyncIterator[Answer]:
        while True:
            frame = await self._next(sending)
            if frame is None:
                raise Unavailable("the gateway closed the connection")
            kind, payload = frame
            if kind == END:
                return
            if kind == ERROR:
                raise _Refused(_error(parse_json(payload)))
            yield parse_json(payload) if kind == JSON else payload

    async def _next(self, sending: asyncio.Task[None] | None) -> tuple[int, bytes] | None:
        reading = asyncio.ensure_future(read_frame(self._reader))
        try:
            if sending is not None and not sending.done():
                # A source that fails (an unreadable file) must not wait for an answer.
                await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done() and not reading.done() and sending.exception() is not None:
                    await sending
            return await reading
        except (FrameError, ConnectionError) as error:
            raise Unavailable(f"the gateway went away: {error}") from None
        finally:
            reading.cancel()


@asynccontextmanager
async def connect_api(path: Path) -> AsyncIterator[ApiConnection]:
    """Open a connection to the socket at `path`; raises Unavailable with what to do."""
    try:
        reader, writer = await asyncio.open_unix_connection(
            sock=await _connect(path), limit=READ_BUFFER_BYTES
        )
    except OSError as error:
        raise Unavailable(
            f"no gateway answers at {path} ({error.strerror}): is the cluster up? "
            "Start it with `replicast up` or `make up`"
        ) from None
    connection = ApiConnection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


async def _connect(path: Path) -> socket.socket:
    """Raises Unavailable when too many wait there already, and OSError.

    A UNIX socket whose queue is full answers EAGAIN and goes on with nothing; asyncio waits until such a
    socket is writable, which it is, and takes it for connected.
    """
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connecting.setblocking(False)
    end = asyncio.get_running_loop().time() + CONNECT_SECONDS
    try:
        while True:
            try:
                connecting.connect(str(path))
            except BlockingIOError:
                if asyncio.get_running_loop().time() >= end:
                    raise Unavailable(
                        f"too many wait for the gateway at {path}: try again", reason="BUSY"
                    ) from None
                await asyncio.sleep(CONNECT_AGAIN_SECONDS)
            else:
                return connecting
    except BaseException:
        connecting.close()
        raise


def _error(value: dict[str, Any]) -> ReplicastError:
    cls = getattr(errors, str(value.get("class")), ReplicastError)
    if not (isinstance(cls, type) and issubclass(cls, ReplicastError)):
        cls = ReplicastError
    return cls(str(value.get("message")), reason=str(value.get("reason")))
