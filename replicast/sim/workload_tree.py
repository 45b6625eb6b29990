"""A small tree of files, copied in, read back, listed, put again, and removed with its versions.

Files are made of few blocks as long as a chunk, which trees of all clients have in common, and a
tail of their own; some files have the content of an earlier one. So most chunks are there already,
and what one tree gives up others still reference. That each client finds in its own tree what it
put there is what the name model says of names with one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from replicast.sim.workload_versions import Versions
from replicast.sim.workloads import BUCKET

WIDTH = 2  # files under way at once
SAME = 0.3  # of the files: the content of another one
TAIL_BYTES_MAX = 6000


class Tree(Versions):
    """See the module header. One step is the whole story of a tree."""

    async def step(self) -> None:
        root = f"t{self._number}/"
        names = [f"{root}d{at % 2}/f{at}" for at in range(self._plan.names)]
        contents: dict[str, str] = {}
        for name in names:
            contents[name] = self._content(list(contents.values()))
        await self._all(names, lambda name: self._copy(name, contents[name]))
        await self._list(root)
        await self._all(names, self._read)
        again = [name for name in names if self._rng.random() < 0.3]
        await self._all(again, lambda name: self._copy(name, contents[name]))
        await self._all(self._rng.sample(names, len(names) // 2 + 1), self._discard)
        await self._list(root)
        await self._all(names, self._read)

    def _content(self, others: list[str]) -> str:
        rng, ledger = self._rng, self._ledger
        if others and rng.random() < SAME:
            return rng.choice(others)
        size_bytes = self._seat.chunk_size_bytes
        shared = b"".join(ledger.block(rng, size_bytes) for _ in range(rng.randint(1, 3)))
        return ledger.value_of(rng.randbytes(rng.randrange(TAIL_BYTES_MAX)), shared=shared)

    async def _copy(self, name: str, value: str) -> None:
        await self._write("put", name, value, lambda: self._put(name, value))

    async def _discard(self, name: str) -> None:
        """Delete it, and then for good all of its versions that we know of."""
        await self._delete(name)
        for version in self._known(name)[:-1]:
            await self._remove("remove_older", name, version)
            self._ledger.versions[f"{BUCKET}/{name}"].pop(version, None)

    async def _all(self, names: list[str], work: Callable[[str], Awaitable[None]]) -> None:
        """`work` for each name, WIDTH at a time, with pauses; not when the run has ended."""
        waiting = iter(names)

        async def one_after_the_other() -> None:
            for name in waiting:
                if self._stopped():
                    return
                await self._quiet()
                await work(name)
                await asyncio.sleep(self._rng.random() * self._plan.think_ms / 1e3)

        await asyncio.gather(*(one_after_the_other() for _ in range(WIDTH)))
