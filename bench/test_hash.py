"""The content hash of chunks: MiB/s by algorithm and size, one at a time and four at once.

Four at once are in threads, as an initiator hashes the chunks of several puts: of small ones that shows
what handing them over costs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from meter import Case, measure
from results import digest_of, size_text

from replicast.hashing import DEFAULT_ALGORITHM, HashAlgorithm, content_hash
from replicast.units import KIB, MIB

SIZES_BYTES = (4 * KIB, 64 * KIB, MIB)
AT_ONCE = 4


def chunks_of(size_bytes: int) -> list[bytes]:
    rng = random.Random(size_bytes)
    return [rng.randbytes(size_bytes) for _ in range(AT_ONCE)]


def case_of(algorithm: HashAlgorithm, size_bytes: int, at_once: int) -> Case:
    return Case(
        f"hash {algorithm.name} {size_text(size_bytes)} x{at_once}",
        operations=AT_ONCE,
        size_bytes=AT_ONCE * size_bytes,
    )


def joined(chids: list[bytes]) -> str:
    return digest_of(b"".join(chids))


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
@pytest.mark.parametrize("algorithm", HashAlgorithm, ids=lambda each: each.name)
def test_one_at_a_time(benchmark: Any, algorithm: HashAlgorithm, size_bytes: int) -> None:
    chunks, case = chunks_of(size_bytes), case_of(algorithm, size_bytes, 1)

    def work() -> list[bytes]:
        return [content_hash(algorithm, chunk) for chunk in chunks]

    measure(benchmark, case, work, digest=joined)


@pytest.fixture
def hash_at_once() -> Iterator[Callable[[list[bytes]], list[bytes]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield lambda chunks: list(pool.map(content_hash, [DEFAULT_ALGORITHM] * len(chunks), chunks))


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_four_at_once(
    benchmark: Any, hash_at_once: Callable[[list[bytes]], list[bytes]], size_bytes: int
) -> None:
    chunks, case = chunks_of(size_bytes), case_of(DEFAULT_ALGORITHM, size_bytes, AT_ONCE)
    chids = measure(benchmark, case, lambda: hash_at_once(chunks), digest=joined)
    assert chids == [content_hash(DEFAULT_ALGORITHM, chunk) for chunk in chunks]
