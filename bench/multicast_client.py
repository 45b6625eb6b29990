"""An initiator in a process of its own that puts chunks; driven by bench/multicast_pairs.py.

    python bench/multicast_client.py FOLDER IN_FLIGHT CHUNK_MIB

FOLDER is that of a member of the cluster, with its keys. Reads lines and answers each with a line:

    make 128     "made": so many MiB of new chunks, incompressible
    put          JSON of a Put, when all copies of them are stored

The end of its input ends it. A Client is the other end of it, in the process that starts it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from limits_disk import aligned_blocks

from replicast import config
from replicast.formation import load_cluster_file
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.initiator import UdpInitiator
from replicast.gateway.open import open_initiator
from replicast.metrics import Counters

CALL_SECONDS = 120
PATIENCE_MS = 60_000  # fewer copies than the policy wants are no result


@dataclass(frozen=True, slots=True)
class Load:
    """How many chunks are put at a time, and how large they are."""

    in_flight: int
    chunk_mib: int = 1


@dataclass(frozen=True, slots=True)
class Put:
    """What one round of puts took: wall and CPU time, the median of a chunk; `sent`: bytes of
    payload that left for each byte put, `again`: those of them that were repaired."""

    wall: float
    cpu: float
    p50_ms: float
    sent: float
    again: float


class Client:
    """The process, started with `prefix` before its command."""

    def __init__(self, folder: Path, load: Load, prefix: Sequence[str] = ()) -> None:
        numbers = (str(load.in_flight), str(load.chunk_mib))
        command = [*prefix, sys.executable, __file__, str(folder), *numbers]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def make(self, mib: int) -> None:
        """The chunks that put() puts."""
        self._ask(f"make {mib}")

    def put(self) -> Put:
        """All of them."""
        return Put(**json.loads(self._ask("put")))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("the initiator ended")
        return answer

    def close(self) -> None:
        """Ends it."""
        try:
            self._process.communicate(timeout=CALL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Chunks:
    """What is to be put, and how."""

    def __init__(self, initiator: UdpInitiator, counters: Counters, load: Load) -> None:
        self._initiator, self._counters, self._load = initiator, counters, load
        self._chunks: list[memoryview] = []

    def make(self, mib: int) -> str:
        """New ones."""
        self._chunks = aligned_blocks(mib, self._load.chunk_mib)
        return "made"

    async def put(self) -> str:
        """Each of them once."""
        chunks, taken, sent_bytes = iter(self._chunks), list[float](), 0
        copies = self._initiator.table.policy.copies

        async def one_after_the_other() -> None:
            nonlocal sent_bytes
            for chunk in chunks:
                began = time.perf_counter()
                placed = await self._initiator.put_chunk(chunk)
                taken.append(time.perf_counter() - began)
                sent_bytes += placed.sent_bytes
                if placed.copies < copies:
                    raise SystemExit(f"{placed.copies} copies of a chunk")

        again, cpu = self._counters.total("payload_resent_bytes"), time.process_time()
        began = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(self._load.in_flight)))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        again = self._counters.total("payload_resent_bytes") - again
        size_bytes = sum(map(len, self._chunks))
        p50_ms = statistics.median(taken) * 1e3
        put = Put(wall, cpu, p50_ms, sent_bytes / size_bytes, again / size_bytes)
        return json.dumps(asdict(put))


async def serve(folder: Path, load: Load) -> None:
    """Until the input ends."""
    counters = Counters()
    cluster = load_cluster_file(folder)
    settings = replace(config.load(InitiatorConfig), patience_ms=PATIENCE_MS)
    opened = await open_initiator(cluster, settings, counters)
    chunks = Chunks(opened.initiator, counters, load)
    try:
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            print(chunks.make(int(words[1])) if words[0] == "make" else await chunks.put())
            sys.stdout.flush()
    finally:
        await opened.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Load(*map(int, sys.argv[2:]))))
