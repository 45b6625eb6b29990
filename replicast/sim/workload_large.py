"""Objects of several chunks, with odd tails; streamed in, read whole and by ranges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from replicast.sim.workloads import BUCKET, Program

CHUNKS_MIN, CHUNKS_MAX = 2, 4
RANGE_BYTES_MIN = 64  # so that it tells which value it is of
BLOCK_BYTES = 7919  # of a stream: fits no chunk


class Large(Program):
    """See the module header."""

    prefix = "l"
    kinds: ClassVar[dict[str, int]] = {"put": 3, "get": 2, "range": 4, "delete": 1}

    async def step(self) -> None:
        name = self._name()
        kind = self._rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        if kind == "put":
            await self.put_large(name)
        elif kind == "get":
            await self._read(name)
        elif kind == "range":
            await self.read_range(name)
        else:
            await self._delete(name)

    async def put_large(self, name: str) -> None:
        """As one block or as a stream."""
        value = self.large_value()
        source = self.stream(value) if self._rng.random() < 0.5 else None
        await self._write("put", name, value, lambda: self._put(name, value, source))

    def large_value(self) -> str:
        """Whole chunks, one byte more or less, or any tail."""
        rng, chunk_bytes = self._rng, self._seat.chunk_size_bytes
        tail = rng.choice([0, 1, chunk_bytes - 1, rng.randrange(chunk_bytes)])
        size_bytes = rng.randint(CHUNKS_MIN, CHUNKS_MAX) * chunk_bytes + tail
        return self._ledger.value(rng, (size_bytes,))

    async def stream(self, value: str) -> AsyncIterator[bytes]:
        """The value, block by block."""
        data = self._ledger.values[value]
        for at in range(0, len(data), BLOCK_BYTES):
            yield data[at : at + BLOCK_BYTES]

    async def read_range(self, name: str) -> None:
        """A part of the object, often across chunks."""
        rng = self._rng
        first = rng.randrange(CHUNKS_MIN * self._seat.chunk_size_bytes - RANGE_BYTES_MIN)
        last = first + RANGE_BYTES_MIN + rng.randrange(2 * self._seat.chunk_size_bytes)

        async def read() -> bytes:
            blocks = self._client.get(BUCKET, name, range=(first, last))
            part = b"".join([bytes(block) async for block in blocks])
            return self._ledger.whole(part, first, last)

        await self._ask("get", name, None, read)
