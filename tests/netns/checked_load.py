"""Clients that know what every name may hold, and compare every byte, every list and every size.

A name has one writer and any number of readers. The order of its writes is known, and when each was
begun and acknowledged; a write whose answer never came may have taken effect or not. A read may
return the newest write that was acknowledged before it began (or that an earlier read has shown),
or any that was begun since. Contents are made from a number, distinct and incompressible.

`strict`: operations that fail are failures, too. Otherwise they are counted, and what they did is
unknown. Wrong answers are always failures.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contents import Content
from namespaces import Cluster

from replicast.errors import NotFound, ReplicastError, Unavailable
from replicast.gateway.api_client import ApiConnection, connect_api
from replicast.units import KIB, MIB

BUCKET = "load"
SIZES = (0, 1, 700, 9 * KIB, 16 * KIB, 40 * KIB, 64 * KIB, 64 * KIB + 1, 300 * KIB, MIB)
MULTI_CHUNK_SIZES = (MIB + 40 * KIB, 3 * MIB + 77)
KINDS, WEIGHTS = ("put", "get", "list", "remove"), (8, 10, 2, 2)
SMALL_BYTES = 9 * KIB
BLOCK_BYTES = 300_000  # of an upload: never where a chunk ends
PROGRESS_SECONDS = 120.0
POLL_SECONDS = 0.02
STALLED_LOOKS = 25
WORKERS, OPERATIONS = 6, 150


@dataclass(slots=True)
class Write:
    """A put, or a removal (no content), and whether it is known to have taken effect."""

    content: Content | None
    known: float | None = None  # since when


@dataclass(slots=True)
class Name:
    """The writes of one name in their order, without those that cannot be seen any more."""

    writes: list[Write] = field(default_factory=lambda: [Write(None, 0.0)])

    def possible(self, began: float) -> list[Write]:
        """What a read that was begun then, and ends now, may return."""
        sure = [n for n, w in enumerate(self.writes) if w.known is not None and w.known < began]
        return self.writes[max(sure) :]

    def seen(self, write: Write) -> None:
        """It has taken effect: a read has shown it, or it was acknowledged."""
        if write.known is None:
            write.known = time.monotonic()

    def forget(self, before: float) -> None:
        """No read that is under way was begun before then."""
        self.writes = self.possible(before)


class CheckedLoad:
    """A worker for each socket named; sockets may repeat."""

    def __init__(
        self,
        sockets: Sequence[Path],
        seed: int,
        *,
        prefix: str = "",
        strict: bool = True,
        sizes: Sequence[int] = SIZES + MULTI_CHUNK_SIZES,
        names_each: int = 10,
        think_seconds: float = 0.0,
        pace_bytes_per_second: float = float("inf"),
        deadline_seconds: float = 120.0,
    ) -> None:
        self._sockets, self._seed = list(sockets), seed
        self._strict, self._sizes, self._names_each = strict, sizes, names_each
        self._think_seconds, self._deadline_seconds = think_seconds, deadline_seconds
        self._pace, self._paced_since = pace_bytes_per_second, time.monotonic()
        self._prefix, self._number = prefix, seed * 1_000_000_000
        self.names: dict[str, Name] = {}
        self.done: Counter[str] = Counter()  # acknowledged, by kind
        self.failed: Counter[str] = Counter()  # not strict: by kind and reason
        self.failures: list[str] = []  # what must not be
        self.longest: dict[str, tuple[float, str]] = {}  # seconds, which; by kind
        self.longest_wait = 0.0  # of one worker from one answer to the next
        self.longest_silence = 0.0  # of all of them together
        self._answered = time.monotonic()
        self.bytes_put = self.bytes_read = 0
        self.stopping = False
        self._begun = [0.0] * len(self._sockets)  # of the read that each worker is at

    # -- what tests ask for -------------------------------------------------------------

    async def run(self) -> None:
        """Each worker puts every size once, then whatever comes until `stopping`."""
        async with asyncio.TaskGroup() as group:
            for worker in range(len(self._sockets)):
                group.create_task(self._work(worker))

    async def progress(self, operations: int) -> None:
        """Until so many more were acknowledged."""
        goal, end = self.done.total() + operations, time.monotonic() + PROGRESS_SECONDS
        while self.done.total() < goal:
            assert not self.failures, self.failures
            assert time.monotonic() < end, f"no progress: {self.done} of {goal}"
            await asyncio.sleep(POLL_SECONDS)

    def wait_stalled(self) -> None:
        """From another thread: until no answer has come for some looks at it."""
        still, last = 0, -1
        while still < STALLED_LOOKS:
            still, last = (still + 1 if self.done.total() == last else 0), self.done.total()
            time.sleep(POLL_SECONDS)

    def begin(self) -> None:
        """Nobody was there to answer until now."""
        self._answered = self._paced_since = time.monotonic()
        self.stopping = False

    async def during(self, *steps: Callable[[], Any], operations: int) -> None:
        """The load goes on before, between and after the steps, which run in threads."""
        self.begin()
        running = asyncio.ensure_future(self.run())
        try:
            await self.progress(operations)
            for step in steps:
                await asyncio.to_thread(step)
                await self.progress(operations)
        finally:
            self.stopping = True
            await asyncio.wait({running})
        await running
        assert not self.failures, self.failures

    async def check(self) -> None:
        """Every name once more, through every socket; and the whole list."""
        for worker, socket in enumerate(dict.fromkeys(self._sockets)):
            async with connect_api(socket) as api:
                for name in sorted(self.names):
                    await self._get(api, worker, name)
                await self._list(api, worker, self._prefix)
        assert not self.failures, self.failures

    def summary(self) -> str:
        """For people."""
        kinds = ", ".join(f"{self.done[kind]} {kind}" for kind in KINDS)
        slowest = max(self.longest.values(), default=(0.0, ""))
        return (
            f"{kinds}; {self.bytes_put / MIB:.0f} MiB put, {self.bytes_read / MIB:.0f} MiB read and "
            f"compared; longest {slowest[0]:.1f} s ({slowest[1]})"
        )

    # -- one worker ---------------------------------------------------------------------

    async def _work(self, worker: int) -> None:
        rng = random.Random(f"{self._seed} {worker} {self.done.total()}")
        folders = [f"{self._prefix}w{each}/" for each in range(len(self._sockets))]
        others = [f"{folder}n{n:02d}" for folder in folders for n in range(self._names_each)]
        mine = [name for name in others if name.startswith(folders[worker])]
        first = [] if mine[0] in self.names else list(self._sizes)
        answered = time.monotonic()
        while not self.stopping or first:
            kind = "put" if first else rng.choices(KINDS, WEIGHTS)[0]
            size = first.pop() if first else self._size(rng)
            name = rng.choice(others if kind == "get" else mine)
            if await self._one(worker, kind, name, size):
                now = time.monotonic()
                self.longest_wait = max(self.longest_wait, now - answered)
                self.longest_silence = max(self.longest_silence, now - self._answered)
                self._answered = answered = now
            await asyncio.sleep(self._think_seconds)

    def _size(self, rng: random.Random) -> int:
        """Any; a small one when the load is ahead of its pace."""
        due_bytes = self._pace * (time.monotonic() - self._paced_since)
        return rng.choice(
            [s for s in self._sizes if s <= SMALL_BYTES or self.bytes_put < due_bytes]
        )

    async def _one(self, worker: int, kind: str, name: str, size: int) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline_seconds), AsyncExitStack() as stack:
                api = await self._connected(stack, worker)
                if kind == "put":
                    await self._put(api, name, size)
                elif kind == "remove":
                    await self._remove(api, name)
                elif kind == "get":
                    await self._get(api, worker, name)
                else:
                    await self._list(api, worker, name.rpartition("/")[0] + "/")
        except (ReplicastError, OSError, TimeoutError) as error:
            reason = getattr(error, "reason", type(error).__name__)
            self.failed[f"{kind} {reason}"] += 1
            if self._strict:
                seconds = time.monotonic() - began
                self.failures.append(f"{kind} {name}: {error!r} after {seconds:.1f} s")
            return False
        finally:
            self._begun[worker] = 0.0
        self.done[kind] += 1
        self._note(kind, name, time.monotonic() - began)
        return True

    def _note(self, kind: str, name: str, seconds: float) -> None:
        self.longest[kind] = max(self.longest.get(kind, (0.0, "")), (seconds, f"{kind} {name}"))

    async def _connected(self, stack: AsyncExitStack, worker: int) -> ApiConnection:
        """To its socket; in a load that is not strict, to another one when it takes nobody."""
        places = [self._sockets[worker]]
        if not self._strict:
            places += [socket for socket in dict.fromkeys(self._sockets) if socket != places[0]]
        for place in places[:-1]:
            try:
                return await stack.enter_async_context(connect_api(place))
            except Unavailable:
                continue
        return await stack.enter_async_context(connect_api(places[-1]))

    # -- operations ---------------------------------------------------------------------

    async def _put(self, api: ApiConnection, name: str, size: int) -> None:
        self._number += 1
        content = Content(self._number, size)
        write = self._begin_write(name, content)
        data = content.data()
        answer = await api.one("put", _blocks(data), bucket=BUCKET, name=name)
        self._known(name).seen(write)
        self.bytes_put += size
        if answer["size_bytes"] != size:
            self.failures.append(f"put {name}: {size} bytes, acknowledged were {answer}")

    async def _remove(self, api: ApiConnection, name: str) -> None:
        began, write = time.monotonic(), self._begin_write(name, None)
        try:
            await api.one("delete", bucket=BUCKET, name=name)
        except NotFound:
            if all(w.content for w in self._known(name).possible(began) if w is not write):
                self.failures.append(f"remove {name}: WRONG ANSWER: it is there")
        self._known(name).seen(write)

    def _begin_write(self, name: str, content: Content | None) -> Write:
        known = self._known(name)
        known.forget(min((begun for begun in self._begun if begun), default=time.monotonic()))
        known.writes.append(Write(content))
        return known.writes[-1]

    def _known(self, name: str) -> Name:
        return self.names.setdefault(name, Name())

    async def _get(self, api: ApiConnection, worker: int, name: str) -> None:
        self._begun[worker] = began = time.monotonic()
        data: bytes | None = None
        try:
            blocks = [bytes(a) async for a in _get(api, name) if not isinstance(a, dict)]
            data = b"".join(blocks)
        except NotFound:
            pass
        possible = self._known(name).possible(began)
        for write in possible:
            if _same(data, write.content):
                self._known(name).seen(write)
                self.bytes_read += len(data or b"")
                return
        sizes = [None if w.content is None else w.content.size for w in possible]
        found = "nothing" if data is None else f"{len(data)} bytes"
        self.failures.append(f"get {name}: WRONG ANSWER: {found}; possible are {sizes}")

    async def _list(self, api: ApiConnection, worker: int, prefix: str) -> None:
        self._begun[worker] = began = time.monotonic()
        found: dict[str, int] = {}
        async for entry in api.request("list", bucket=BUCKET, prefix=prefix):
            assert isinstance(entry, dict)
            if entry["name"] in found or (found and entry["name"] < next(reversed(found))):
                self.failures.append(f"list {prefix}: WRONG ANSWER: {entry['name']} out of order")
            found[entry["name"]] = entry["size_bytes"]
        expected = {name for name in self.names if name.startswith(prefix)}
        for name in expected | set(found):
            possible = self._known(name).possible(began)
            sizes = {None if w.content is None else w.content.size for w in possible}
            if found.get(name) not in sizes:
                what = f"list {prefix}: WRONG ANSWER: {name} {found.get(name)}"
                self.failures.append(f"{what}; possible are {sizes}")


def _get(api: ApiConnection, name: str) -> AsyncIterator[Any]:
    return api.request("get", bucket=BUCKET, name=name)


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), BLOCK_BYTES):
        yield data[at : at + BLOCK_BYTES]


def _same(data: bytes | None, content: Content | None) -> bool:
    if data is None or content is None:
        return data is None and content is None
    return len(data) == content.size and data == content.data()


def run_through(
    cluster: Cluster,
    seed: int,
    prefix: str,
    sizes: Sequence[int] = SIZES + MULTI_CHUNK_SIZES,
    operations: int = OPERATIONS,
) -> CheckedLoad:
    """A strict load from beginning to end, through gw1; its names begin with the prefix."""
    load = CheckedLoad([cluster.socket()] * WORKERS, seed, prefix=prefix, sizes=sizes)

    async def through() -> None:
        await load.during(operations=operations)
        await load.check()

    asyncio.run(through())
    return load
