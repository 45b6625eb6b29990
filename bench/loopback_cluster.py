"""A cluster for the benches: real daemons on loopback, and an initiator embedded in this process.

4 targets x 2 VDEVs, 3 copies, acknowledged after fdatasync.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from s3_endpoints import cluster_endpoint

import replicast
from replicast.cli.layout import LOCAL_FILE
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.errors import NotFound, Unavailable

A, T = TypeVar("A"), TypeVar("T")
BUCKET = "bench"
STILL_SECONDS, HEARING_SECONDS = 3.0, 30.0


class LoopbackCluster:
    """One that runs, and its client on a loop of its own."""

    def __init__(self, data: Path, transport: str) -> None:
        self.data, self.transport = data, transport
        self.server_seconds = cluster_endpoint("replicast", data).cpu_seconds
        self._runner = asyncio.Runner()
        self._ran = time.monotonic()
        self.client = self.run(replicast.connect(data))
        self.run(self.client.create_bucket(BUCKET))

    def run(self, work: Awaitable[T]) -> T:
        """Until it is done. Runner.run() would take the repr of what is returned, all bytes of it."""
        loop = self._runner.get_loop()
        if time.monotonic() - self._ran > STILL_SECONDS:
            loop.run_until_complete(self._hear())
        try:
            return loop.run_until_complete(work)
        finally:
            self._ran = time.monotonic()

    async def _hear(self) -> None:
        """The loop stands still between two calls: what voters said meanwhile lies unread, and a client
        that has heard none for some seconds refuses to do anything."""
        async with asyncio.timeout(HEARING_SECONDS):
            while True:
                try:
                    await self.client.stat(BUCKET, "nothing")
                except NotFound:
                    return
                except Unavailable:
                    await asyncio.sleep(0.01)

    def each(self, items: Iterable[A], one: Callable[[A], Awaitable[T]], clients: int) -> list[T]:
        """What `one` answers for each item, so many of them at once; in the order of the answers."""
        todo, answers = iter(items), list[T]()

        async def client() -> None:
            for item in todo:
                answers.append(await one(item))

        async def all_clients() -> None:
            await asyncio.gather(*(client() for _ in range(clients)))

        self.run(all_clients())
        return answers

    def close(self) -> None:
        """The client's end of it."""
        self.run(self.client.close())
        self._runner.close()


@contextlib.contextmanager
def loopback_cluster(data: Path, transport: str) -> Iterator[LoopbackCluster]:
    """Stopped in the end, and nothing of it is left."""
    try:
        bring_up(data, UpRequest(transport=transport), lambda _: None)
        with contextlib.closing(LoopbackCluster(data, transport)) as cluster:
            yield cluster
    finally:
        if (data / LOCAL_FILE).exists():
            bring_down(data, lambda _: None)
        shutil.rmtree(data, ignore_errors=True)
