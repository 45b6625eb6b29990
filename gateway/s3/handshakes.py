"""TLS handshakes of S3 clients: counted when they fail, and bounded as connections are.

Left to asyncio's server they would be neither: it tells a protocol of connections only whose handshake is
done, and drops the others without a word. So connections are accepted as they are and made TLS here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial

from replicast.gateway.s3.connection import S3Connections
from replicast.metrics import Counters

log = logging.getLogger("replicast.gateway.s3")

SHUTDOWN_SECONDS = 5.0


class Handshakes:
    """What a listening socket for HTTPS makes of connections. `seconds`: for one whole handshake."""

    def __init__(
        self,
        connections: S3Connections,
        context: ssl.SSLContext,
        seconds: float,
        counters: Counters,
    ) -> None:
        self._connections, self._context = connections, context
        self._seconds, self._counters = seconds, counters
        self._under_way: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self)

    def began(self, transport: asyncio.Transport) -> None:
        """One more connection is there."""
        shaking = self._connections.shaking
        shaking.add(transport)
        if self._connections.too_many():
            shaking.discard(transport)
            transport.abort()
            return
        transport.pause_reading()  # what comes is for TLS
        task = asyncio.get_running_loop().create_task(self._shake(transport))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # Of a task that was cancelled before it ran nothing runs.
        task.add_done_callback(partial(self._ended, transport))

    def stop(self) -> None:
        """End those that are under way."""
        for task in self._under_way:
            task.cancel()

    async def _shake(self, transport: asyncio.Transport) -> None:
        early = _Early()
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                early,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:  # ssl.SSLError is one
            self._failed(transport, error)
            return
        self._connections.shaking.discard(transport)  # from now on it counts as open
        if encrypted is None or early.lost:
            self._failed(transport, ConnectionResetError())
            return
        connection = self._connections()
        encrypted.set_protocol(connection)
        connection.connection_made(encrypted)
        if early.data and not encrypted.is_closing():
            connection.data_received(bytes(early.data))

    def _failed(self, transport: asyncio.Transport, error: OSError) -> None:
        # Aborted is what asyncio calls those that take too long.
        late = isinstance(error, ConnectionAbortedError)
        why = "refused" if isinstance(error, ssl.SSLError) else "late" if late else "gone"
        self._counters.count("s3_handshakes_failed", why)
        log.debug("TLS with %s: %s, %s", transport.get_extra_info("peername"), why, error)

    def _ended(self, transport: asyncio.Transport, task: asyncio.Task[None]) -> None:
        self._connections.shaking.discard(transport)
        if task.cancelled():
            transport.abort()


class _Arrival(asyncio.Protocol):
    """A connection before its handshake."""

    def __init__(self, handshakes: Handshakes) -> None:
        self._handshakes = handshakes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._handshakes.began(transport)


class _Early(asyncio.Protocol):
    """What comes behind the handshake before its end is known here, one read or two."""

    def __init__(self) -> None:
        self.data, self.lost = bytearray(), False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
