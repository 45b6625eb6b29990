"""A large body of known length, read from its socket straight into the pieces that are handed on.

While it comes, its bytes have nothing to tell a parser, and would be copied by it: so the transport is
told to write where they are wanted, as many at a time as are there. No more is ever read than the body
has. Then the connection goes on as before, with what follows.

What a piece costs on its way through the gateway is the same for any size, so pieces are as large as
chunks, and start where these do. One is held for its taker, and the one that is coming only while none is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from replicast.gateway.kept_bytes import KeptBytes
from replicast.units import KIB

PROGRESS_BYTES = 16 * KIB  # less in a whole time-out is no progress, but for the end
SCRATCH_BYTES = 64 * KIB  # for what is only read to be forgotten
_NOWHERE = memoryview(bytearray())


class Connection(Protocol):
    """What goes on before, meanwhile and afterwards."""

    def connection_lost(self, exc: BaseException | None) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def body_came(self) -> None:
        """The last of it is there: the transport is this connection's again."""


class BodyReader(asyncio.BufferedProtocol):
    """Of one body. `begun`: what the parser had of it, which is less than a piece and than the body.
    `stall_seconds`: while it is waited for, PROGRESS_BYTES have to come within each such time."""

    def __init__(
        self,
        connection: Connection,
        transport: asyncio.Transport,
        begun: bytes,
        length_bytes: int,
        piece_bytes: int,
        stall_seconds: float,
    ) -> None:
        assert len(begun) < min(piece_bytes, length_bytes)
        self._connection, self._transport = connection, transport
        self._piece_bytes, self._stall_seconds = piece_bytes, stall_seconds
        self._coming_bytes = length_bytes
        self._pieces: deque[memoryview] = deque()  # whole ones
        self._room, self._filled_bytes = _NOWHERE, 0  # of the piece that is coming
        self._dropping, self._dropped_bytes = False, 0
        self._paused = False
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[None] | None = None  # of who waits
        self._until = 0.0  # it is too late then
        self._progress_bytes = 0
        self._clock: asyncio.TimerHandle | None = None
        self.get_buffer(-1)[: len(begun)] = begun
        self._filled_bytes, self._coming_bytes = len(begun), length_bytes - len(begun)

    # -- for the taker --------------------------------------------------------------

    async def piece(self) -> memoryview | None:
        """The next one, which nobody changes any more; None behind the last. Raises TimeoutError, and
        what fail() was told."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if not self._coming_bytes:
                return None
            await self._wait()
        piece = self._pieces.popleft()
        self._resume()
        return piece

    async def drop(self) -> int:
        """Forget what is held, and more when it comes; how much it was, 0 at the end. Raises what fail()
        was told. Nothing can be taken any more."""
        if not self._dropping:
            self._dropping = True
            self._dropped_bytes = sum(map(len, self._pieces)) + self._filled_bytes
            self._pieces.clear()
            self._room, self._filled_bytes = memoryview(bytearray(SCRATCH_BYTES)), 0
            self._resume()
        while not self._dropped_bytes and self._coming_bytes:
            if self._error is not None:
                raise self._error
            await self._wake_up()
        dropped_bytes, self._dropped_bytes = self._dropped_bytes, 0
        return dropped_bytes

    def stop(self) -> None:
        """Nobody takes any more of it, and the connection ends."""
        self._pieces.clear()
        self._room, self._filled_bytes = _NOWHERE, 0
        self._pause()

    def fail(self, error: BaseException) -> None:
        """The rest will not come."""
        self._error = error
        self._wake()

    # -- told by the transport ------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._dropping:
            return self._room[: self._coming_bytes]
        if not self._room:
            size_bytes = min(self._piece_bytes, self._coming_bytes)
            self._room, self._filled_bytes = memoryview(KeptBytes(size_bytes)), 0
        return self._room[self._filled_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self._coming_bytes -= nbytes
        if self._dropping:
            self._dropped_bytes += nbytes
            self._wake()
        else:
            self._filled_bytes += nbytes
            self._note_progress(nbytes)
            if self._filled_bytes == len(self._room):
                self._end_piece()
        if not self._coming_bytes:
            self._connection.body_came()

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    # -- inside ---------------------------------------------------------------------

    def _end_piece(self) -> None:
        self._pieces.append(self._room.toreadonly())
        self._room, self._filled_bytes = _NOWHERE, 0
        if self._coming_bytes and (self._turn is None or len(self._pieces) > 1):
            self._pause()
        self._wake()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._coming_bytes and not self._pieces:
            self._paused = False
            self._transport.resume_reading()

    async def _wait(self) -> None:
        """Until a piece is whole, or nothing more comes; raises TimeoutError."""
        self._progress_bytes = 0
        self._until = self._loop.time() + self._stall_seconds
        self._clock = self._loop.call_at(self._until, self._look_at_clock)
        try:
            await self._wake_up()
        finally:
            self._clock.cancel()

    def _look_at_clock(self) -> None:
        if self._loop.time() < self._until:  # some of it came
            self._clock = self._loop.call_at(self._until, self._look_at_clock)
        elif self._turn is not None and not self._turn.done():
            self._turn.set_exception(TimeoutError())

    async def _wake_up(self) -> None:
        self._turn = self._loop.create_future()
        try:
            await self._turn
        finally:
            self._turn = None

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _note_progress(self, nbytes: int) -> None:
        self._progress_bytes += nbytes
        if self._progress_bytes >= PROGRESS_BYTES and self._turn is not None:
            self._until, self._progress_bytes = self._loop.time() + self._stall_seconds, 0
