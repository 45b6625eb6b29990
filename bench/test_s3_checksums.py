"""What a put computes of its body: MiB/s of each digest, and of a whole put's, native or pure.

MD5 is the slowest and cannot be left out (ETag): the others have to be cheap beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from meter import TINY, Case, measure
from results import size_text

from replicast.gateway.s3 import checksums, checksums_pure
from replicast.gateway.s3.algorithms import Algorithm
from replicast.gateway.s3.digests import Digests
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.hashing_threads import BodyHasher

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


def case_of(what: str, size_bytes: int) -> Case:
    return Case(f"{what} {size_text(size_bytes)}", size_bytes=size_bytes)


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
@pytest.mark.parametrize("name", NAMES)
def test_crc(benchmark: Any, name: str, size_bytes: int) -> None:
    function, body = getattr(checksums, name), body_of(size_bytes)
    measure(benchmark, case_of(name, size_bytes), lambda: function(0, body))


@pytest.mark.parametrize("name", NAMES)
def test_crc_in_python(benchmark: Any, name: str) -> None:
    function, body = getattr(checksums_pure, name), body_of(PURE_BYTES)
    measure(benchmark, case_of(f"{name} in Python", PURE_BYTES), lambda: function(0, body))


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
@pytest.mark.parametrize("name", OTHERS)
def test_beside_them(benchmark: Any, name: str, size_bytes: int) -> None:
    body = body_of(size_bytes)
    measure(benchmark, case_of(name, size_bytes), lambda: OTHERS[name](body))


@pytest.mark.parametrize("name", NAMES)
def test_combine(benchmark: Any, name: str) -> None:
    """Of two parts of 5 GiB: what completing an upload costs for each part."""
    combine = getattr(checksums, f"combine_{name}")
    result = measure(benchmark, Case(f"combine {name}"), lambda: combine(1, 2, 5 << 30))
    assert result == getattr(checksums_pure, f"combine_{name}")(1, 2, 5 << 30)


@pytest.mark.parametrize("payload", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_a_puts_body(benchmark: Any, size_bytes: int, payload: bool) -> None:
    """In blocks of 1 MiB, as a put cuts them: MD5 and CRC32, with SHA-256 where it is signed."""
    body = memoryview(body_of(size_bytes))

    async def hash_it(executor: ThreadPoolExecutor) -> object:
        hasher = BodyHasher(
            HashExecutor(executor), Digests([Algorithm.CRC32], payload_sha256=payload)
        )
        for start in range(0, size_bytes, 1 << 20):
            await hasher.feed(body[start : start + (1 << 20)])
        return await hasher.finish()

    what = "a signed put's body" if payload else "a put's body"
    with asyncio.Runner() as runner, ThreadPoolExecutor(2) as executor:
        measure(benchmark, case_of(what, size_bytes), lambda: runner.run(hash_it(executor)))
