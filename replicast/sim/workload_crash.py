"""Client programs that die in the middle of a put, at a drawn place, and are started again.

Places: between two blocks of the source; when all chunks are durable and the manifest was not sent;
when it was sent and not answered; when the answer has come. What was under way has an unknown
outcome: it may show later or never, and what it left behind must disturb nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from replicast.gateway.initiation import Initiator
from replicast.sim.workload_large import Large
from replicast.sim.workloads import Seat, WorkloadPlan
from replicast.wire.name_messages import NamePut, NameResult
from replicast.wire.schema import Message

UNSENT, SENT, ANSWERED = "unsent", "sent", "answered"
PLACES = ("source", UNSENT, SENT, ANSWERED)
CHANCE = 0.25  # of a put


class Crash(Large):
    """See the module header."""

    prefix = "k"
    kinds: ClassVar[dict[str, int]] = {"put": 4, "get": 3, "delete": 1}

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        super().__init__(seat, plan)
        self._fragile = Fragile(seat)
        seat.client._opened.objects.names._initiator = self._fragile

    async def put_large(self, name: str) -> None:
        rng = self._rng
        value = self.large_value() if rng.random() < 0.7 else self._value()
        place = rng.choice(PLACES) if rng.random() < CHANCE else None
        source = self.dying_stream(value) if place == "source" else None
        self._fragile.place = None if source else place
        await self._write("put", name, value, lambda: self._put(name, value, source))

    async def dying_stream(self, value: str) -> AsyncIterator[bytes]:
        """Ends with its process: after any of the blocks, the last one too."""
        blocks = [block async for block in self.stream(value)]
        for block in blocks[: self._rng.randint(1, len(blocks))]:
            yield block
            await asyncio.sleep(self._rng.random() * 5e-3)
        await die(self._seat)


class Fragile:
    """An initiator whose process ends at the next put's `place`."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._initiator: Initiator = seat.client._opened.objects.names._initiator
        self.place: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._initiator, name)

    async def named(self, request: Message, row: int, operation: bytes = b"") -> Message:
        """As the initiator's."""
        if not isinstance(request, NamePut) or self.place is None:
            return await self._initiator.named(request, row, operation)
        place, self.place = self.place, None
        if place == UNSENT:
            await die(self._seat)
        asking = asyncio.ensure_future(self._initiator.named(request, row, operation))
        if place == SENT:
            await asyncio.sleep(0)  # its first step sends the request
            await die(self._seat)
        reply = await asking
        assert isinstance(reply, NameResult)
        await die(self._seat)
        return reply


async def die(seat: Seat) -> None:
    """Never returns: nothing of a killed process runs again."""
    seat.kill()
    await asyncio.get_running_loop().create_future()
