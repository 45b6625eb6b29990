"""The local API socket of replicast-gw: one coroutine a connection, one request at a time on it.

Who may connect is who may open the socket file (0600). Connections are
bounded; a client that goes away cancels what it asked for, so an interrupted
put commits nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from replicast import clocks
from replicast.errors import Conflict, InvalidRequest, ReplicastError, Unavailable
from replicast.gateway.api_arguments import Arguments
from replicast.gateway.api_frames import (
    END,
    ERROR,
    JSON,
    READ_BUFFER_BYTES,
    WRITE_BUFFER_BYTES,
    FrameError,
    Upload,
    parse_json,
    read_frame,
    send_data,
    write_frame,
    write_json,
)
from replicast.gateway.initiation import Block
from replicast.metrics import Counters

log = logging.getLogger("replicast.gateway.api")

CONNECTIONS_MAX = 256
BACKLOG = 1024  # that wait to be accepted, or to be told that there are too many


class Reply:
    """What a handler answers with; every call may wait for a slow client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def json(self, value: Any) -> None:
        """Send one JSON frame."""
        write_json(self._writer, value)
        await self._writer.drain()

    async def data(self, block: Block) -> None:
        """Send one DATA frame; the block is on its way or copied on return."""
        await send_data(self._writer, block)


Handler = Callable[[Arguments, Upload, Reply], Awaitable[None]]
UNKNOWN = "unknown"  # what a client calls an operation that is none must not become a label


class ApiServer:
    """Serves `handlers` (operation name -> handler) on a UNIX socket."""

    def __init__(self, path: Path, handlers: dict[str, Handler], counters: Counters) -> None:
        self._path, self._handlers, self._counters = path, handlers, counters
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()  # of those: answered, and nothing asked since
        self._stopping = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind; a stale socket file of a dead process is replaced, a live one is an error."""
        if self._path.exists():
            if await _alive(self._path):
                raise Conflict(f"{self._path}: another gateway serves this socket")
            self._path.unlink()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(
            self._connected, path=str(self._path), limit=READ_BUFFER_BYTES, backlog=BACKLOG
        )
        self._path.chmod(0o600)

    async def stop(self, finish_seconds: float = 0.0) -> None:
        """Stop listening, remove the socket file, cancel what runs.

        What was asked for may end within `finish_seconds`; a fresh connection is about to ask.
        """
        self._stopping = True
        self._path.unlink(missing_ok=True)
        await asyncio.sleep(0)  # who has connected before is accepted still
        if self._server is not None:
            self._server.close()
        for task in list(self._idle):
            task.cancel()
        if self._connections and finish_seconds > 0:
            await asyncio.wait(self._connections, timeout=finish_seconds)
        self.hurry()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hurry(self) -> None:
        """Cancel what runs, also while stop() lets it end."""
        for task in list(self._connections):
            task.cancel()

    def measure(self) -> None:
        """Set the gauge."""
        self._counters.gauge("api_connections", value=len(self._connections))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                self._counters.count("api_connections_refused")
                error = Unavailable(f"{CONNECTIONS_MAX} connections are open", reason="BUSY")
                write_json(writer, _error(error), ERROR)
                return
            while await self._serve_one(reader, writer) and not self._stopping:
                self._idle.add(task)
        except (FrameError, ConnectionError) as error:
            log.info("connection dropped: %s", error)
        except asyncio.CancelledError:
            # Only stop() cancels: the connection ends here, nobody waits for the outcome.
            log.info("connection closed while stopping")
        finally:
            self._connections.discard(task)
            self._idle.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        frame = await read_frame(reader)
        task = asyncio.current_task()
        assert task is not None
        self._idle.discard(task)
        if frame is None:
            return False
        if frame[0] != JSON:
            raise FrameError("a request starts with JSON")
        request = parse_json(frame[1])
        upload = Upload(reader, present=bool(request.get("upload")))
        try:
            await self._handle(request, upload, reader, writer)
            write_frame(writer, END)
        except ReplicastError as error:
            operation = request.get("op")
            label = operation if self._handler(operation) else UNKNOWN
            self._counters.count("object_operations", str(label), error.reason.lower())
            write_json(writer, _error(error), ERROR)
        await writer.drain()
        # Closing instead could overtake the error that the client is about to read.
        await upload.discard()
        return True

    def _handler(self, operation: Any) -> Handler | None:
        return self._handlers.get(operation) if isinstance(operation, str) else None

    async def _handle(
        self,
        request: dict[str, Any],
        upload: Upload,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        operation = request.get("op")
        handler = self._handler(operation)
        if handler is None:
            raise InvalidRequest(
                f"unknown operation {str(operation)[:64]!r}", reason="UNKNOWN_OPERATION"
            )
        started_ns = clocks.now_ns()
        try:
            work = asyncio.ensure_future(handler(Arguments(request), upload, Reply(writer)))
            if request.get("upload"):
                await work
            else:
                await _unless_gone(work, reader)
        except (ReplicastError, FrameError, ConnectionError):
            raise
        except Exception as error:
            log.exception("request %s", operation)
            raise ReplicastError(f"{operation}: internal error: {error!r}", reason="BUG") from None
        self._counters.count("object_operations", str(operation), "ok")
        elapsed_ns = clocks.now_ns() - started_ns
        self._counters.observe_ns("object_seconds", str(operation), elapsed_ns=elapsed_ns)


async def _unless_gone(work: asyncio.Future[None], reader: asyncio.StreamReader) -> None:
    """Wait for `work`, cancel it when the client closes: nobody is left to hear the answer."""
    gone = asyncio.ensure_future(_closed(reader))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise FrameError("client closed")
        await work
    finally:
        for task in (work, gone):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FrameError, ConnectionError):
            await gone


async def _closed(reader: asyncio.StreamReader) -> None:
    # A client sends nothing while it waits, so this returns when the stream ends.
    if await reader.read(1):
        raise FrameError("a second request before the answer to the first")


async def _alive(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True


def _error(error: ReplicastError) -> dict[str, str]:
    return {"class": type(error).__name__, "reason": error.reason, "message": str(error)}
