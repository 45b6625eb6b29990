"""All clients put the same new chunk at the same moment, then another one at the next beat.

An object is the chunk of that beat and its own name as a tail, so that its value is still unique.
Hardly a put that finds its chunk durable, hardly one that is alone in bringing it; and when a beat
is over nobody puts that chunk again: what was said of it then stays to be judged.
"""

from __future__ import annotations

import asyncio
import random

from replicast.sim.workloads import Program
from replicast.units import MS, SECOND

BEAT_NS = 250 * MS


class Together(Program):
    """See the module header."""

    prefix = "e"

    async def step(self) -> None:
        world, rng = self._ledger.world, self._rng
        await asyncio.sleep((BEAT_NS - world.time_ns % BEAT_NS) / SECOND)
        chunk = random.Random(f"{world.seed} {world.time_ns // BEAT_NS}")
        shared = chunk.randbytes(self._seat.chunk_size_bytes)
        name, value = self._name(), self._ledger.value_of(b"", shared=shared)
        await self._write("put", name, value, lambda: self._put(name, value))
        if rng.random() < 0.2:
            await self._read(name)
