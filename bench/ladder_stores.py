"""Rungs of bench/ladder.py without a network: a hash and three stores, all in this process.

A client is a thread: it hashes a chunk, submits it to three VDEVs, waits until all have it durable,
and takes the next one. Every measurement has new stores, as one with a cluster has a new cluster.
Without hashing CHIDs are random and the stores do not look. What is missing beside the network are
the names of the objects (records of a row's log) and the other processes: the threads of all VDEVs
share one interpreter here.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import Sample, Usage

from replicast.disks import RealDisk
from replicast.hashing import DEFAULT_ALGORITHM, content_hash
from replicast.target.store.core import Outcomes
from replicast.target.store.errors import Outcome
from replicast.target.store.format import format_vdev
from replicast.target.store.record import Chunk
from replicast.target.store.vdev import Vdev

CLUSTER = b"cluster-16-bytes"
COPIES = 3
PUT_SECONDS_MAX = 60.0
CHID_BYTES = 32


class Stores:
    """The VDEVs of one measurement."""

    def __init__(self, folder: Path) -> None:
        self._vdevs: list[Vdev] = []
        for number in range(COPIES):
            path = folder / f"vdev-{number}"
            format_vdev(RealDisk(), path, CLUSTER, None, random.SystemRandom())
            self._vdevs.append(Vdev.open(RealDisk(), path, CLUSTER))

    def put(self, chunk: Chunk) -> None:
        """Durable in all of them on return."""
        stored = threading.Semaphore(0)
        refused: list[Outcome] = []

        def done(outcomes: Outcomes) -> None:
            for _, outcome in outcomes:
                if outcome != Outcome.STORED:
                    refused.append(outcome)
                stored.release()

        for vdev in self._vdevs:
            vdev.submit([chunk], None, done)
        for _ in self._vdevs:
            if not stored.acquire(timeout=PUT_SECONDS_MAX) or refused:
                raise SystemExit(f"a chunk was not stored: {refused or 'no answer'}")

    def close(self) -> None:
        """Stop their threads."""
        for vdev in self._vdevs:
            vdev.close()


class StoreRung:
    """Stores in `folder`, the clients in this process."""

    def __init__(self, name: str, folder: Path, *, hashes: bool = True) -> None:
        self.name, self._folder, self._hashes = name, folder, hashes

    def measure(self, clients: int, warm: list[memoryview], bodies: list[memoryview]) -> Sample:
        """Put all bodies, `clients` at once; those of `warm` before the clock starts. client_cpu
        is that of the clients' threads, server_cpu the rest of the process."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            stores = Stores(Path(place))
            try:
                return self._phase(stores, clients, warm, bodies)
            finally:
                stores.close()

    def _phase(
        self, stores: Stores, clients: int, warm: list[memoryview], bodies: list[memoryview]
    ) -> Sample:
        self._put_all(stores, clients, warm)
        cpu, began = time.process_time(), time.perf_counter()
        taken, client_cpu = self._put_all(stores, clients, bodies)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        usage = Usage(wall, client_cpu, cpu - client_cpu)
        return usage.of_bytes(sum(map(len, bodies)), p50_ms=statistics.median(taken) * 1e3)

    def _put_all(
        self, stores: Stores, clients: int, bodies: list[memoryview]
    ) -> tuple[list[float], float]:
        """Seconds of each put, and the clients' CPU seconds."""
        waiting = list(bodies)
        with ThreadPoolExecutor(clients) as threads:
            running = [threads.submit(self._client, stores, waiting) for _ in range(clients)]
            done = [each.result() for each in running]
        return [each for taken, _ in done for each in taken], sum(cpu for _, cpu in done)

    def _client(self, stores: Stores, waiting: list[memoryview]) -> tuple[list[float], float]:
        taken, cpu = [], time.thread_time()
        for body in _popped(waiting):
            began = time.perf_counter()
            stores.put(self._chunk(body))
            taken.append(time.perf_counter() - began)
        return taken, time.thread_time() - cpu

    def _chunk(self, body: memoryview) -> Chunk:
        if self._hashes:
            return Chunk(content_hash(DEFAULT_ALGORITHM, body), DEFAULT_ALGORITHM, body)
        return Chunk(os.urandom(CHID_BYTES), DEFAULT_ALGORITHM, body, verify=False)


def _popped(waiting: list[memoryview]) -> Iterator[memoryview]:
    """Until nothing is left, whoever else takes from it."""
    while True:
        try:
            yield waiting.pop()
        except IndexError:
            return
