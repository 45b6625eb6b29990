"""What a put hashes of its body, content hashes with the rest or apart: GB/s, and CPU of all threads.

Apart is a second pass over each chunk in threads of its own, as for bodies that are not S3's. Blocks of
256 KiB, MD5 and CRC64NVME, chunks of 1 MiB. Both ways take turns, so that what else runs disturbs both
alike, and make the same, of which a hash is printed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import statistics
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from replicast.gateway.chunk_hashes import ChunkHashes
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.hashing_threads import BodyHasher
from replicast.hashing import HashAlgorithm, content_hash

CHUNKS = 1 if os.environ.get("REPLICAST_BENCH_TINY") == "1" else 16
BLOCK_BYTES, CHUNK_BYTES = 256 << 10, 1 << 20
Cut = list[tuple[bytes, list[bytes]]]  # chunks, and the blocks that each came in
WAYS = ("apart", "one pass")


def cut_body() -> Cut:
    chunks = [random.Random(n).randbytes(CHUNK_BYTES) for n in range(CHUNKS)]
    starts = range(0, CHUNK_BYTES, BLOCK_BYTES)
    return [(each, [each[at : at + BLOCK_BYTES] for at in starts]) for each in chunks]


async def hash_it(body: Cut, algorithm: HashAlgorithm, pool: Any, second: Any, way: str) -> object:
    loop, apart = asyncio.get_running_loop(), way == "apart"
    made = None if apart else ChunkHashes(algorithm, CHUNK_BYTES)
    hasher = BodyHasher(pool, Digests([Algorithm.CRC64NVME], chunks=made))
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
    wall_ms: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu_ms: dict[str, list[float]] = {way: [] for way in WAYS}
    with asyncio.Runner() as runner, ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as second:

        def both() -> list[object]:
            results = []
            for way in WAYS:
                wall, cpu = time.perf_counter(), time.process_time()
                results.append(runner.run(hash_it(body, algorithm, pool, second, way)))
                wall_ms[way].append((time.perf_counter() - wall) * 1e3)
                cpu_ms[way].append((time.process_time() - cpu) * 1e3)
            return results

        first, other = benchmark.pedantic(both, rounds=40 if CHUNKS > 1 else 1, warmup_rounds=1)
    assert first == other
    check = hashlib.sha256(repr(first).encode()).hexdigest()[:16]
    print(f"\n{algorithm.name}, ms a MiB, least and median; result {check}")
    for way in WAYS:
        wall, cpu = (
            f"{min(each[way]) / CHUNKS:.2f} {statistics.median(each[way]) / CHUNKS:.2f}"
            for each in (wall_ms, cpu_ms)
        )
        print(f"  {way}: wall {wall}, CPU {cpu}")
