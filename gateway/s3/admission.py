"""How much of S3 is under way at a time: requests, and bytes of their bodies.

Who finds no room waits in the order of coming, up to a number of waiters and a time; beyond both the
answer is SlowDown, which clients take as a reason to come again later. Small bodies need no room of
their own: they are bounded by the number of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from replicast.gateway.s3.errors import S3Error
from replicast.units import KIB, MIB

SMALL_BODY_BYTES = 64 * KIB
# What a body holds on its way, however long it is. In: what was read ahead of it (1), a chunk that
# is being cut (1), chunks on their way to targets (2), what waits for its MD5 (1). Out: a chunk that is being sent (2, for the
# socket's copy), the next one (1).
INCOMING_BYTES_MAX = 5 * MIB
OUTGOING_BYTES_MAX = 3 * MIB


@dataclass(slots=True, eq=False)
class _Waiter:
    units: int
    turn: asyncio.Future[None]
    holds: bool = False


class Quota:
    """So many units at a time. Not for threads."""

    def __init__(self, units: int, waiting_max: int, wait_seconds: float) -> None:
        self._units, self._waiting_max, self._wait_seconds = units, waiting_max, wait_seconds
        self._queue: deque[_Waiter] = deque()
        self.held = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def take(self, units: int) -> None:
        """Hold so many, after those who came before; raises SlowDown."""
        if not self._queue and self.held + units <= self._units:
            self.held += units
            return
        if len(self._queue) >= self._waiting_max:
            raise S3Error("SlowDown")
        waiter = _Waiter(units, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await waiter.turn
        except BaseException as error:
            if waiter.holds:
                self.give(units)  # its turn came in the same moment
            elif waiter in self._queue:
                self._queue.remove(waiter)
                self._wake()  # the next may need less
            if isinstance(error, TimeoutError):
                raise S3Error("SlowDown") from None
            raise

    def give(self, units: int) -> None:
        """Hold so many less."""
        self.held -= units
        assert self.held >= 0
        self._wake()

    def _wake(self) -> None:
        while self._queue and self.held + self._queue[0].units <= self._units:
            waiter = self._queue.popleft()
            if not waiter.turn.done():  # or it is gone, and has not noticed
                self.held += waiter.units
                waiter.holds = True
                waiter.turn.set_result(None)


class Share:
    """What one request holds, while it is entered."""

    def __init__(self, requests: Quota, body_bytes: Quota) -> None:
        self._requests, self._body_bytes, self._held_bytes = requests, body_bytes, 0

    async def __aenter__(self) -> Share:
        """One more under way; raises SlowDown."""
        await self._requests.take(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._held_bytes:
            self._body_bytes.give(self._held_bytes)
            self._held_bytes = 0
        self._requests.give(1)

    async def incoming(self, length_bytes: int) -> None:
        """Wait for room for a body of this length; raises SlowDown."""
        await self._take(length_bytes, INCOMING_BYTES_MAX)

    async def outgoing(self, length_bytes: int) -> None:
        """As incoming(), for an answer."""
        await self._take(length_bytes, OUTGOING_BYTES_MAX)

    async def _take(self, length_bytes: int, most_bytes: int) -> None:
        if length_bytes > SMALL_BODY_BYTES:
            size_bytes = min(length_bytes, most_bytes)
            await self._body_bytes.take(size_bytes)
            self._held_bytes += size_bytes


class Admission:
    """Of one server. `body_bytes`: at least INCOMING_BYTES_MAX."""

    def __init__(
        self, requests: int, body_bytes: int, waiting_max: int, wait_seconds: float
    ) -> None:
        self.requests = Quota(requests, waiting_max, wait_seconds)
        self.body_bytes = Quota(body_bytes, waiting_max, wait_seconds)

    def request(self) -> Share:
        """To be entered."""
        return Share(self.requests, self.body_bytes)
