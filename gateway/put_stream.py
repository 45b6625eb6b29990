"""The streaming half of an object put: cut the source, keep a few chunks in flight, fold references.

Memory is bounded by three chunks (a fourth for the moment in which one is put together), what the
initiator has room for beyond them (room.py), and the references of the manifest levels that are open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from replicast.gateway.hashed_source import HashedSource
from replicast.gateway.initiation import Block, ChunkPlaced, Initiator, Source
from replicast.gateway.kept_bytes import KeptBytes
from replicast.gateway.manifest import ManifestBuilder, payload_reference
from replicast.gateway.room import Room
from replicast.gateway.sealed import Sealer
from replicast.units import KIB
from replicast.wire.documents import NO_ENCRYPTION_KEY
from replicast.wire.name_messages import SHORT_CHUNKS_MAX

KEPT_BYTES_MIN = 16 * KIB  # of a piece that waits for the rest of its chunk where it is


@dataclass(slots=True)
class PutReport:
    """What a put did; filled while it runs, so that a progress bar can watch it."""

    logical_bytes: int = 0
    chunks: int = 0
    chunks_deduplicated: int = 0  # needed no transfer at all
    sent_bytes: int = 0  # payload bytes handed to the transfer, once for all copies
    stored_copies: int = 0
    inline: bool = False
    short_of_copies: list[bytes] = field(default_factory=list)  # the first SHORT_CHUNKS_MAX

    def add(self, placed: ChunkPlaced, copies: int) -> None:
        """One chunk is durable; the policy wants `copies` of it."""
        self.chunks += 1
        self.sent_bytes += placed.sent_bytes
        self.stored_copies += placed.stored_copies
        self.chunks_deduplicated += placed.sent_bytes == 0
        # Repair walks the whole version that names one: more than fit would tell it nothing.
        if placed.copies < copies and len(self.short_of_copies) < SHORT_CHUNKS_MAX:
            self.short_of_copies.append(placed.chid)


class PutPipeline:
    """At most `width` chunks in flight, and one when there is no room for more; references are
    added in order of offset. `hashed`: who knows content hashes of what is put, as it is put."""

    def __init__(
        self,
        initiator: Initiator,
        builder: ManifestBuilder,
        width: int,
        room: Room,
        report: PutReport,
        sealer: Sealer | None = None,
        hashed: HashedSource | None = None,
    ) -> None:
        assert sealer is None or hashed is None, "the content hash is of what is stored"
        self._initiator, self._builder, self._report = initiator, builder, report
        self._width, self._room, self._sealer, self._hashed = width, room, sealer, hashed
        self._begun_bytes = 0
        self._tasks: deque[tuple[asyncio.Task[ChunkPlaced], int]] = deque()  # and their room

    async def put(self, data: Block) -> None:
        """Start one payload chunk; waits for the oldest when the pipeline is full."""
        held_bytes = 0
        while self._tasks:
            if len(self._tasks) < self._width and self._room.take(len(data)):
                held_bytes = len(data)
                break
            await self._settle_oldest()
        self._report.logical_bytes += len(data)
        task = asyncio.ensure_future(self._store(data, self._begun_bytes))
        self._begun_bytes += len(data)
        self._tasks.append((task, held_bytes))

    async def put_only(self, data: Block) -> None:
        """The one payload chunk of an object, nothing else is put before or behind it; durable on
        return. It needs no task of its own."""
        self._report.logical_bytes += len(data)
        await self._settled(await self._store(data, 0))

    async def _store(self, data: Block, offset: int) -> ChunkPlaced:
        if self._sealer is not None:
            data = await self._sealer.seal(data, offset)
        chid = None if self._hashed is None else await self._hashed.chid(offset, len(data))
        return await self._initiator.put_chunk(data, chid=chid)

    async def settle(self) -> None:
        """Wait for all payload chunks."""
        while self._tasks:
            await self._settle_oldest()

    async def finish(self, metadata: Mapping[str, str]) -> bytes:
        """When all are settled: store the manifest chunks, return the body."""
        body = self._builder.finish(metadata)
        await self._store_manifests()
        return body

    async def close(self) -> None:
        """Cancel what is still running (after an error or a cancelled put)."""
        if self._tasks:
            await cancel_all([task for task, _ in self._tasks])
        while self._tasks:
            self._room.give(self._tasks.popleft()[1])

    async def _settle_oldest(self) -> None:
        placed = await self._tasks[0][0]
        self._room.give(self._tasks.popleft()[1])
        await self._settled(placed)

    async def _settled(self, placed: ChunkPlaced) -> None:
        copies = self._copies
        self._report.add(placed, copies)
        self._builder.add(
            payload_reference(
                offset=self._builder.logical_bytes,
                size_bytes=placed.size_bytes,
                algorithm=self._initiator.algorithm,
                chid=placed.chid,
                copies=copies,
                encryption_key_id=self._sealer.key_id if self._sealer else NO_ENCRYPTION_KEY,
            )
        )
        await self._store_manifests()

    @property
    def _copies(self) -> int:
        return self._initiator.table.policy.copies

    async def _store_manifests(self) -> None:
        for chunk in self._builder.take_chunks():
            self._report.add(await self._initiator.put_chunk(chunk.data), self._copies)


def whole(source: Source, most_bytes: int) -> memoryview | None:
    """The source, if it is at hand and no longer than that."""
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B")
        return view if len(view) <= most_bytes else None
    return None


async def cut(source: Source, chunk_size_bytes: int) -> AsyncIterator[Block]:
    """The source as chunks of exactly the size, the last one shorter; at most one copy, but of what is
    copied to be kept beside bytes that need not be."""
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B")
        for at in range(0, len(view), chunk_size_bytes):
            yield view[at : at + chunk_size_bytes]
        return
    pieces = _Pieces()
    async for block in source:
        view = memoryview(block).cast("B")
        while len(view):
            piece = view[: chunk_size_bytes - pieces.size_bytes]
            pieces.add(piece)
            view = view[len(piece) :]
            if pieces.size_bytes == chunk_size_bytes:
                yield pieces.take()
    if pieces.size_bytes:
        yield pieces.take()


class _Pieces:
    """Of one chunk, joined when it is whole: a buffer that grows is moved as it grows, among the buffers
    of others several times."""

    def __init__(self) -> None:
        self._pieces: list[memoryview | bytearray] = []
        self.size_bytes = 0

    def add(self, piece: memoryview) -> None:
        """More of it. What its owner may use again while the chunk is in flight is copied, and what is so
        small that many would take more room than their bytes."""
        self.size_bytes += len(piece)
        if len(piece) >= KEPT_BYTES_MIN and isinstance(piece.obj, bytes | KeptBytes):
            self._pieces.append(piece)
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def take(self) -> Block:
        """The chunk; the next one begins."""
        pieces, self._pieces, self.size_bytes = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def cancel_all(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel and wait until all have ended, so that no buffer is in use afterwards."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
