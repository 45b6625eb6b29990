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
from replicast.transport.result import Result
from replicast.wire.documents import Reference


async def fetch_chunk(initiator: Initiator, reference: Reference, opener: Opener | None) -> Block:
    """All bytes of one chunk, opened where it is sealed."""
    check_sealed(reference, opener)
    data = await initiator.get_chunk(reference)
    return data if opener is None else await opener.open(reference, data)


async def fetch_into(initiator: Initiator, reference: Reference, result: Result) -> Block:
    """All bytes of one chunk that is not sealed, at their place in the object's. Raises ManifestError."""
    check_sealed(reference, None)
    if reference.stored_bytes != reference.logical_bytes:
        raise ManifestError(f"chunk {reference.chid.hex()} has {reference.stored_bytes} bytes")
    section = result.section(reference.offset, reference.stored_bytes)
    return await initiator.get_chunk(reference, section)


def part_of(reference: Reference, data: Block, start: int, end: int) -> Block:
    """What the chunk has of the object's bytes [start, end). Raises ManifestError."""
    if len(data) != reference.logical_bytes:
        raise ManifestError(f"chunk {reference.chid.hex()} has {len(data)} bytes")
    low, high = max(0, start - reference.offset), min(len(data), end - reference.offset)
    return data if (low, high) == (0, len(data)) else memoryview(data)[low:high]


@dataclass(slots=True)
class _Fetch:
    reference: Reference
    task: asyncio.Task[Block]
    held_bytes: int  # of the room


class FetchAhead:
    """At most `ahead` chunks beyond the next one, none when there is no room. `result`: which all of
    them are received into."""

    def __init__(
        self,
        initiator: Initiator,
        ahead: int,
        room: Room,
        opener: Opener | None = None,
        result: Result | None = None,
    ) -> None:
        self._initiator, self._ahead, self._room = initiator, ahead, room
        self._opener, self._result = opener, result
        self._fetches: deque[_Fetch] = deque()

    def fetch(self, reference: Reference) -> bool:
        """Begin to fetch the next chunk. False: not before the oldest has gone to the reader."""
        held_bytes = 0
        if self._fetches:
            if not self._room.take(reference.logical_bytes):
                return False
            held_bytes = reference.logical_bytes
        if self._result is None:
            get = fetch_chunk(self._initiator, reference, self._opener)
        else:
            get = fetch_into(self._initiator, reference, self._result)
        task = asyncio.ensure_future(get)
        self._fetches.append(_Fetch(reference, task, held_bytes))
        return True

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
        return part_of(fetch.reference, data, start, end)

    async def close(self) -> None:
        """Cancel what the reader does not want any more."""
        await cancel_all([fetch.task for fetch in self._fetches])
        while self._fetches:
            self._room.give(self._fetches.popleft().held_bytes)
