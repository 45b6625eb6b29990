"""The chunks of a copied object: held where they lie, a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque

from replicast.gateway.initiation import ChunkPlaced, Initiator
from replicast.gateway.put_stream import PutReport, cancel_all
from replicast.wire.documents import Reference


class HoldPipeline:
    """At most `width` chunks in flight."""

    def __init__(self, initiator: Initiator, width: int, report: PutReport) -> None:
        self._initiator, self._width, self._report = initiator, width, report
        self._tasks: deque[asyncio.Task[ChunkPlaced]] = deque()

    async def hold(self, reference: Reference) -> None:
        """Start one chunk; waits for the oldest when the pipeline is full."""
        while len(self._tasks) >= self._width:
            await self._settle_oldest()
        self._tasks.append(asyncio.ensure_future(self._initiator.hold_chunk(reference)))

    async def finish(self) -> None:
        """Wait for all."""
        while self._tasks:
            await self._settle_oldest()

    async def close(self) -> None:
        """Cancel what is still running (after an error or a cancelled copy)."""
        await cancel_all(list(self._tasks))

    async def _settle_oldest(self) -> None:
        placed = await self._tasks[0]
        self._tasks.popleft()
        self._report.add(placed, self._initiator.table.policy.copies)
