"""Memory of one initiator, shared by all its puts and gets.

`Room` is for what goes ahead of the first chunk of a put or get: it is taken while there is some
and never waited for, so nobody waits for another's client. `Turns` is for chunks that are
being fetched: in order of asking, so nobody starves, and none waits for longer than those before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Bytes that may be held ahead; take() says no, and the caller goes on with fewer chunks."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Hold so many more, if there is room."""
        if self.held_bytes + size_bytes > self._bytes_max:
            return False
        self.held_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Hold so many less."""
        self.held_bytes -= size_bytes
        assert self.held_bytes >= 0


class Turns:
    """At most `bytes_max` at a time, or one turn that is larger; first come, first served."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self.held_bytes = 0

    @asynccontextmanager
    async def turn(self, size_bytes: int) -> AsyncIterator[None]:
        """Waits until those before have had theirs; does not wait at all when there is room."""
        if self._waiting or not self._fits(size_bytes):
            await self._wait(size_bytes)
        else:
            self.held_bytes += size_bytes
        try:
            yield
        finally:
            self.held_bytes -= size_bytes
            self._advance()

    def _fits(self, size_bytes: int) -> bool:
        return not self.held_bytes or self.held_bytes + size_bytes <= self._bytes_max

    async def _wait(self, size_bytes: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, size_bytes))
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # its turn had come in the same moment
                self.held_bytes -= size_bytes
            self._advance()
            raise

    def _advance(self) -> None:
        while self._waiting:
            future, size_bytes = self._waiting[0]
            if not future.cancelled():
                if not self._fits(size_bytes):
                    return
                self.held_bytes += size_bytes
                future.set_result(None)
            self._waiting.popleft()
