"""replicast's client of bench/peers.py: embedded in a process of its own, coroutines, the bytes compared.

    .venv/bin/python bench/native_load.py DIR

DIR is a cluster that `replicast up` made. Jobs: bench/load_jobs.py. The event loop runs between jobs, too.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path

from load_jobs import Job, Objects, Tally

import replicast
from replicast.errors import ReplicastError


class Load:
    """Does the jobs of one cluster, each put job's objects in a bucket of its own."""

    def __init__(self, cluster: replicast.Cluster) -> None:
        self._cluster = cluster
        self._objects = Objects()
        self._bucket = ""

    async def prepare(self, job: Job) -> None:
        """The job's objects."""
        self._objects.prepare(job)
        if job["do"] == "put":
            self._bucket = f"bench-{secrets.token_hex(6)}"
            await self._cluster.create_bucket(self._bucket)

    async def run(self, job: Job) -> Job:
        """Until there is nothing left or the time is over."""
        tally = Tally(job)

        async def client() -> None:
            while tally.open(started := time.perf_counter()):
                did, wrong = await self._once(job)
                if not did:
                    return
                tally.add(started, wrong)

        await asyncio.gather(*(client() for _ in range(job["clients"])))
        return tally.answer()

    async def _once(self, job: Job) -> tuple[bool, str | None]:
        is_put = job["do"] == "put"
        found = self._objects.next_to_put() if is_put else self._objects.one_to_get()
        if found is None:
            return False, None
        name, body = found
        try:
            if is_put:
                await self._cluster.put(self._bucket, name, body)
                self._objects.put_done(name, body)
            elif await self._cluster.read(self._bucket, name) != body:
                return True, f"{name}: wrong bytes"
        except ReplicastError as error:
            return True, f"{name}: {error}"
        return True, None


async def serve(data: Path) -> None:
    """Jobs from standard input until it ends."""
    async with await replicast.connect(data) as cluster:
        load = Load(cluster)
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            await load.prepare(job)
            print("ready", flush=True)
            if not await asyncio.to_thread(sys.stdin.readline):
                return
            print(json.dumps(await load.run(job)), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
