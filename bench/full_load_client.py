"""One process of clients of bench/full_load.py: they write at a pace, and read as fast as they can.

Reads one line of JSON, the job, and prints one each `every` seconds: how long operations of each kind
took, and bytes. Every client has names of its own and knows what each of them holds, so every answer is
checked: all bytes, whole lists, and that a deleted object is not there. It ends at its first failure.

A put or an overwrite is made when the bytes of its size that may be written by then allow it, at times
a deletion instead; else something is read, and at least two times of five. So the disk fills at a known
rate, and the machine is busy.
Clients of S3 block: one to a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

from results import size_text
from s3_load import UNSIGNED, S3Client

import replicast
from replicast.errors import NotFound, ReplicastError
from replicast.units import KIB, MIB

Job = dict[str, Any]
WRITES_SHARE_MAX = 0.6
DELETES_SHARE, LISTS_SHARE, ABSENT_SHARE = 0.15, 0.03, 0.02
XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True, slots=True)
class Mix:
    """Of one size: names of one client, its part of the bytes written, its part of the reads."""

    size_bytes: int
    names: int
    written: float
    reads: float


MIXES = (
    Mix(4 * KIB, 64, 0.40, 0.70),
    Mix(64 * KIB, 16, 0.15, 0.16),
    Mix(MIB, 4, 0.20, 0.12),
    Mix(16 * MIB, 1, 0.25, 0.02),
)


class Wrong(Exception):
    """An answer that is not what is stored."""


class Store(Protocol):
    """What the clients of either kind can do."""

    async def put(self, name: str, body: bytes) -> None: ...
    async def get(self, name: str) -> bytes | bytearray | None: ...
    async def delete(self, name: str) -> None: ...
    async def list(self, prefix: str) -> list[tuple[str, int]]: ...


class NativeStore:
    """A bucket, by the embedded client."""

    def __init__(self, cluster: replicast.Cluster, bucket: str) -> None:
        self._cluster, self._bucket = cluster, bucket

    async def put(self, name: str, body: bytes) -> None:
        await self._cluster.put(self._bucket, name, body)

    async def get(self, name: str) -> bytes | None:
        try:
            return await self._cluster.read(self._bucket, name)
        except NotFound:
            return None

    async def delete(self, name: str) -> None:
        await self._cluster.delete(self._bucket, name)

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        found = self._cluster.list(self._bucket, prefix)
        return [(each.name, each.size_bytes) async for each in found]


class S3Store:
    """A bucket, by S3. It waits where it is called."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    async def put(self, name: str, body: bytes) -> None:
        self._ask("PUT", f"/{name}", 200, body=body)

    async def get(self, name: str) -> bytes | bytearray | None:
        status, answer = self._client.call("GET", f"/{self._bucket}/{name}")
        if status == 404:
            return None
        if status != 200:
            raise OSError(f"{status} {bytes(answer[:300])!r}")
        return answer

    async def delete(self, name: str) -> None:
        self._ask("DELETE", f"/{name}", 204)

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        answer = self._ask("GET", f"?list-type=2&prefix={prefix}", 200)
        entries = ElementTree.fromstring(bytes(answer)).iter(f"{XML}Contents")
        return [
            (each.findtext(f"{XML}Key", ""), int(each.findtext(f"{XML}Size", "")))
            for each in entries
        ]

    def _ask(self, method: str, rest: str, expected: int, body: bytes = b"") -> bytes | bytearray:
        arguments = (body, UNSIGNED) if method == "PUT" else ()
        status, answer = self._client.call(method, f"/{self._bucket}{rest}", *arguments)
        if status != expected:
            raise OSError(f"{status} {bytes(answer[:300])!r}")
        return answer


@dataclass
class Report:
    """Of the clients of this process since the last line; times in ms."""

    who: str
    every: float
    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    bytes_put: int = 0
    bytes_compared: int = 0
    failures: list[str] = field(default_factory=list)
    ended: bool = False  # by a failure

    def __post_init__(self) -> None:
        self._next = time.monotonic() + self.every

    async def timed(self, what: str, work: Awaitable[Any]) -> Any:
        """The answer; how long it took is counted under `what`."""
        began = time.perf_counter()
        answer = await work
        self.taken[f"{self.who} {what}"].append(round((time.perf_counter() - began) * 1e3, 3))
        return answer

    def tell(self, last: bool = False) -> None:
        """If it is time to."""
        if not last and time.monotonic() < self._next:
            return
        self._next += self.every
        line = {
            "taken": self.taken,
            "bytes_put": self.bytes_put,
            "bytes_compared": self.bytes_compared,
            "failures": self.failures,
        }
        print(json.dumps(line), flush=True)
        self.taken.clear()
        self.bytes_put = self.bytes_compared = 0
        self.failures.clear()


class Worker:
    """One client and its names."""

    def __init__(self, store: Store, prefix: str, job: Job, report: Report) -> None:
        self._store, self._prefix, self._report = store, prefix, report
        self._mixes = [mix for mix in MIXES if mix.size_bytes <= job["size_max"]]
        self._held: dict[str, bytes] = {}
        self._pace, self._seconds = job["bytes_per_second"], job["seconds"]
        self._spent = dict.fromkeys(self._mixes, 0)
        self._rng = random.Random(prefix)

    async def run(self) -> None:
        """Puts every name once, then does what may be done until the time is over."""
        try:
            for mix in self._mixes:
                for number in range(mix.names):
                    await self._write(mix, self._name(mix, number))
            self._spent = dict.fromkeys(self._mixes, 0)
            began = now = time.monotonic()
            while now < began + self._seconds and not self._report.ended:
                await self._step(now - began)
                self._report.tell()
                now = time.monotonic()
        except (ReplicastError, OSError, Wrong) as error:
            text = f"{self._report.who} {self._prefix}: {type(error).__name__}: {error}"
            self._report.failures.append(text[:1000])
            self._report.ended = True

    def _name(self, mix: Mix, number: int) -> str:
        return f"{self._prefix}{mix.size_bytes}-{number:03}"

    async def _step(self, seconds: float) -> None:
        pace = self._pace * seconds
        due = [m for m in self._mixes if self._spent[m] + m.size_bytes <= pace * m.written]
        if due and self._rng.random() < WRITES_SHARE_MAX:
            await self._change(self._rng.choice(due))
            return
        drawn = self._rng.random()
        if drawn < LISTS_SHARE:
            await self._list()
        else:
            mixes = self._rng.choices(self._mixes, [mix.reads for mix in self._mixes])
            absent = drawn < LISTS_SHARE + ABSENT_SHARE
            await self._get(f"{self._prefix}none" if absent else self._any(mixes[0]), mixes[0])

    def _any(self, mix: Mix) -> str:
        return self._name(mix, self._rng.randrange(mix.names))

    async def _change(self, mix: Mix) -> None:
        name = self._any(mix)
        if name in self._held and self._rng.random() < DELETES_SHARE:
            await self._report.timed("delete", self._store.delete(name))
            del self._held[name]
        else:
            await self._write(mix, name)

    async def _write(self, mix: Mix, name: str) -> None:
        body = os.urandom(mix.size_bytes)
        what = "overwrite" if name in self._held else "put"
        size = size_text(mix.size_bytes)
        await self._report.timed(f"{what} {size}", self._store.put(name, body))
        self._held[name] = body
        self._spent[mix] += mix.size_bytes
        self._report.bytes_put += mix.size_bytes

    async def _get(self, name: str, mix: Mix) -> None:
        wanted = self._held.get(name)
        what = "absent" if wanted is None else size_text(mix.size_bytes)
        found = await self._report.timed(f"get {what}", self._store.get(name))
        if found != wanted:
            raise Wrong(f"{name}: not the bytes that were put last")
        self._report.bytes_compared += len(wanted or b"")

    async def _list(self) -> None:
        found = await self._report.timed("list", self._store.list(self._prefix))
        wanted = sorted((name, len(body)) for name, body in self._held.items())
        if found != wanted:
            raise Wrong(f"list of {self._prefix}: {found}, should be {wanted}")


async def run_all(stores: Sequence[Store], job: Job) -> None:
    """One client for each of them."""
    report = Report(job["who"], job["every"])
    workers = [
        Worker(store, f"{job['prefix']}{number}-", job, report)
        for number, store in enumerate(stores)
    ]
    await asyncio.gather(*(worker.run() for worker in workers))
    report.tell(last=True)


async def main() -> None:
    """See the module header."""
    job = json.loads(sys.stdin.readline())
    if "url" in job:
        client = S3Client(job["url"], job["key_id"], job["secret"], job["region"])
        await run_all([S3Store(client, job["bucket"])] * job["clients"], job)
        client.close()
    else:
        async with await replicast.connect(Path(job["data"])) as cluster:
            await run_all([NativeStore(cluster, job["bucket"])] * job["clients"], job)


if __name__ == "__main__":
    asyncio.run(main())
