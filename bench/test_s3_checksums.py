"""What a put computes of its body: GB/s of each digest, and of a whole put's, native or pure.

Prints a hash of the results, so that nobody makes it faster by computing something else. MD5 is
the slowest and cannot be left out (ETag): the others have to be cheap beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from replicast.gateway.s3 import checksums, checksums_pure
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.hashing_threads import BodyHasher
from replicast.native import IMPLEMENTATION

TINY = os.environ.get("REPLICAST_BENCH_TINY") == "1"
SIZES_BYTES = [4096] if TINY else [4096, 64 << 10, 1 << 20, 16 << 20]
PURE_BYTES = 4096 if TINY else 1 << 20
NAMES = ["crc32", "crc32c", "crc64nvme"]
OTHERS: dict[str, Callable[[bytes], object]] = {
    "zlib.crc32": zlib.crc32,
    "md5": lambda body: hashlib.md5(body).hexdigest(),
    "sha1": lambda body: hashlib.sha1(body).hexdigest(),
    "sha256": lambda body: hashlib.sha256(body).hexdigest(),
}


def body_of(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


def report(benchmark: Any, what: str, size_bytes: int, result: object) -> None:
    check = hashlib.sha256(repr(result).encode()).hexdigest()[:16]
    if benchmark.enabled:
        rate = size_bytes / benchmark.stats.stats.min / 1e9
        print(f"\n{what}, {size_bytes} bytes: {rate:.2f} GB/s, {IMPLEMENTATION}, result {check}")


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
@pytest.mark.parametrize("name", NAMES)
def test_crc(benchmark, name: str, size_bytes: int) -> None:  # type: ignore[no-untyped-def]
    result = benchmark(getattr(checksums, name), 0, body_of(size_bytes))
    report(benchmark, name, size_bytes, result)


@pytest.mark.parametrize("name", NAMES)
def test_crc_in_python(benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    result = benchmark(getattr(checksums_pure, name), 0, body_of(PURE_BYTES))
    report(benchmark, f"{name} in Python", PURE_BYTES, result)


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
@pytest.mark.parametrize("name", OTHERS)
def test_beside_them(benchmark, name: str, size_bytes: int) -> None:  # type: ignore[no-untyped-def]
    report(benchmark, name, size_bytes, benchmark(OTHERS[name], body_of(size_bytes)))


@pytest.mark.parametrize("name", NAMES)
def test_combine(benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    """Of two parts of 5 GiB: what completing an upload costs for each part."""
    combine = getattr(checksums, f"combine_{name}")
    assert benchmark(combine, 1, 2, 5 << 30) == getattr(checksums_pure, f"combine_{name}")(
        1, 2, 5 << 30
    )


@pytest.mark.parametrize("payload", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_a_puts_body(benchmark, size_bytes: int, payload: bool) -> None:  # type: ignore[no-untyped-def]
    """In blocks of 1 MiB, as a put cuts them: MD5 and CRC32, with SHA-256 where it is signed."""
    body = memoryview(body_of(size_bytes))

    async def hash_it(executor: ThreadPoolExecutor) -> object:
        hasher = BodyHasher(executor, Digests([Algorithm.CRC32], payload_sha256=payload))
        for start in range(0, size_bytes, 1 << 20):
            await hasher.feed(body[start : start + (1 << 20)])
        return (await hasher.finish()).md5

    with asyncio.Runner() as runner, ThreadPoolExecutor(2) as executor:
        result = benchmark(lambda: runner.run(hash_it(executor)))
    what = "a signed put's body" if payload else "a put's body"
    report(benchmark, what, size_bytes, result)
