"""What a put hashes of its body, content hashes with the rest or apart: MiB/s, and CPU of all threads.

Apart is a second pass over each chunk in threads of its own, as for bodies that are not S3's. Blocks of
256 KiB, MD5 and CRC64NVME, chunks of 1 MiB. Both ways take turns, so that what else runs disturbs both
alike, and make the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from meter import RUNS, TINY
from results import Result, digest_of, report

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.hashing_threads import BodyHasher
from replicast.hashing import HashAlgorithm, content_hash

CHUNKS, TURNS = (1, 1) if TINY else (16, 8)  # of a body; of the two ways, in a run
BLOCK_BYTES, CHUNK_BYTES = 256 << 10, 1 << 20
Cut = list[tuple[bytes, list[bytes]]]  # chunks, and the blocks that each came in
WAYS = ("apart", "one pass")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one way took, and what it made."""

    wall: float
    cpu: float
    result: object


def cut_body() -> Cut:
    chunks = [random.Random(n).randbytes(CHUNK_BYTES) for n in range(CHUNKS)]
    starts = range(0, CHUNK_BYTES, BLOCK_BYTES)
    return [(each, [each[at : at + BLOCK_BYTES] for at in starts]) for each in chunks]


async def hash_it(body: Cut, algorithm: HashAlgorithm, pool: Any, second: Any, way: str) -> object:
    loop, apart = asyncio.get_running_loop(), way == "apart"
    made = None if apart else ChunkHashes(algorithm, CHUNK_BYTES)
    hasher = BodyHasher(HashExecutor(pool), Digests([Algorithm.CRC64NVME], chunks=made))
    chids: list[Awaitable[bytes | None]] = []
    for number, (chunk, blocks) in enumerate(body):
        for block in blocks:
            await hasher.feed(block)
        if apart:
            chids.append(loop.run_in_executor(second, content_hash, algorithm, chunk))
        else:
            chids.append(asyncio.ensure_future(hasher.chid(number * CHUNK_BYTES, CHUNK_BYTES)))
    sums = await hasher.finish()
    return sums.md5, sums.checksums, await asyncio.gather(*chids)


@pytest.mark.parametrize("algorithm", HashAlgorithm, ids=lambda each: each.name)
def test_a_puts_hashes(benchmark: Any, algorithm: HashAlgorithm) -> None:
    body = cut_body()
    taken: dict[str, list[list[Turn]]] = {way: [] for way in WAYS}  # by run
    with asyncio.Runner() as runner, ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as second:

        def turn(way: str) -> Turn:
            wall, cpu = time.perf_counter(), time.process_time()
            result = runner.run(hash_it(body, algorithm, pool, second, way))
            return Turn(time.perf_counter() - wall, time.process_time() - cpu, result)

        def one_run() -> None:
            turns = [[turn(way) for way in WAYS] for _ in range(TURNS)]
            for way, each in zip(WAYS, zip(*turns, strict=True), strict=True):
                taken[way].append(list(each))

        if not TINY:
            warm = [turn(way) for way in WAYS]
            assert warm[0].result == warm[1].result
        benchmark.pedantic(one_run, rounds=RUNS)
    for way, runs in taken.items():
        report(figure(f"a put's hashes {algorithm.name} {way}", runs))
    assert len({repr(turn.result) for runs in taken.values() for run in runs for turn in run}) == 1


def figure(name: str, runs: list[list[Turn]]) -> Result:
    """MiB/s of the runs, CPU of one chunk."""
    turns = [turn for run in runs for turn in run]
    rates = [len(run) * CHUNKS / sum(turn.wall for turn in run) for run in runs]
    cpu = sum(turn.cpu for turn in turns) / (len(turns) * CHUNKS) * 1000
    return Result(name, "MiB/s", rates, cpu, None, digest_of(turns[0].result))
