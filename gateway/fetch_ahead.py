"""The chunks of one get, fetched a little ahead of its reader."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from replicast.buggify import buggified
from replicast.gateway.initiation import Block, Initiator
from replicast.gateway.manifest import ManifestError
from replicast.gateway.put_stream import cancel_all
from replicast.gateway.room import Room
from replicast.gateway.sealed import Opener, check_sealed
from replicast.wire.documents import Reference


@dataclass(slots=True)
class _Fetch:
    reference: Reference
    task: asyncio.Task[Block]
    held_bytes: int  # of the room


class FetchAhead:
    """At most `ahead` chunks beyond the next one, none when there is no room."""

    def __init__(
        self, initiator: Initiator, ahead: int, room: Room, opener: Opener | None = None
    ) -> None:
        self._initiator, self._ahead, self._room = initiator, ahead, room
        self._opener = opener
        self._fetches: deque[_Fetch] = deque()

    def fetch(self, reference: Reference) -> bool:
        """Begin to fetch the next chunk. False: not before the oldest has gone to the reader."""
        held_bytes = 0
        if self._fetches:
            if not self._room.take(reference.logical_bytes):
                return False
            held_bytes = reference.logical_bytes
        task = asyncio.ensure_future(self._get(reference))
        self._fetches.append(_Fetch(reference, task, held_bytes))
        return True

    async def _get(self, reference: Reference) -> Block:
        check_sealed(reference, self._opener)
        data = await self._initiator.get_chunk(reference)
        return data if self._opener is None else await self._opener.open(reference, data)

    @property
    def full(self) -> bool:
        """Far enough ahead?"""
        return len(self._fetches) > buggified("gateway/read-ahead-none", self._ahead, 0)

    @property
    def empty(self) -> bool:
        """Has the reader got all that was fetched?"""
        return not self._fetches

    async def oldest(self, start: int, end: int) -> Block:
        """What the next chunk has of the object's bytes [start, end)."""
        fetch = self._fetches[0]
        data = await fetch.task
        self._room.give(self._fetches.popleft().held_bytes)
        reference = fetch.reference
        if len(data) != reference.logical_bytes:
            raise ManifestError(f"chunk {reference.chid.hex()} has {len(data)} bytes")
        low, high = max(0, start - reference.offset), min(len(data), end - reference.offset)
        return data if (low, high) == (0, len(data)) else memoryview(data)[low:high]

    async def close(self) -> None:
        """Cancel what the reader does not want any more."""
        await cancel_all([fetch.task for fetch in self._fetches])
        while self._fetches:
            self._room.give(self._fetches.popleft().held_bytes)
