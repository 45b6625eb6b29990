"""What encryption costs: MiB/s of chunks sealed and opened, in one thread and in a gateway's two.

What is stored differs each time (nonces), so the digest is of the bytes that come back.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from meter import TINY, Case, measure
from results import digest_of, size_text

from replicast.gateway.manifest import payload_reference
from replicast.gateway.s3.sse_bodies import BodyOpener, BodySealer, Tools
from replicast.gateway.s3.sse_cipher import PartCipher
from replicast.gateway.s3.sse_envelope import RANDOM_BYTES, ObjectSeal, Place
from replicast.hashing import HashAlgorithm
from replicast.keys import ClusterKeys
from replicast.metrics import Counters
from replicast.wire.documents import SEAL_BYTES

SIZES_BYTES = [4096] if TINY else [4096, 64 << 10, 1 << 20]
CHUNK_BYTES = 128 << 10 if TINY else 1 << 20  # goes to threads
CHUNKS = 8  # of one put in flight
KEY, NOISE = bytes(range(32)), b"noise!"
PLACE = Place(1, "object")


def body_of(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


def case_of(what: str, size_bytes: int) -> Case:
    return Case(f"{what} {size_text(size_bytes)}", size_bytes=size_bytes)


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_seal(benchmark: Any, size_bytes: int) -> None:
    cipher, body = PartCipher(KEY, 1), body_of(size_bytes)

    def digest(stored: bytes) -> str:
        assert cipher.open(stored, size_bytes) == (0, body)
        return digest_of(body)

    case = case_of("seal", size_bytes)
    measure(benchmark, case, lambda: cipher.seal(body, 0, NOISE), digest=digest)


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_open(benchmark: Any, size_bytes: int) -> None:
    cipher, body = PartCipher(KEY, 1), body_of(size_bytes)
    stored = cipher.seal(body, 0, NOISE)
    case = case_of("open", size_bytes)
    assert measure(benchmark, case, lambda: cipher.open(stored, size_bytes)) == (0, body)


def test_object_key(benchmark: Any) -> None:
    """Of every put and get: a data key wrapped and unwrapped, a root of a small body twice."""
    seal, body = ObjectSeal(bytes(16), ClusterKeys(1, {1: KEY})), body_of(4096)

    def both() -> bytes:
        envelope = seal.wrap(KEY, PLACE, None, bytes(RANDOM_BYTES))
        seal.check_root(seal.root(body, PLACE, 1), body, PLACE, 1)
        return seal.unwrap(envelope, PLACE, None)

    assert measure(benchmark, Case("a data key there and back"), both) == KEY


@pytest.mark.parametrize("what", ["seal", "open"])
def test_in_threads(benchmark: Any, what: str) -> None:
    bodies = [random.Random(n).randbytes(CHUNK_BYTES) for n in range(CHUNKS)]
    with ThreadPoolExecutor(2) as executor:
        seal = ObjectSeal(bytes(16), ClusterKeys(1, {1: KEY}))
        tools = Tools(seal, executor, os.urandom, Counters())
        sealer = BodySealer(tools, KEY, seal.wrap(KEY, PLACE, None, bytes(RANDOM_BYTES)), PLACE)
        opener = BodyOpener(tools, KEY, PLACE)
        reference = payload_reference(
            offset=0,
            size_bytes=CHUNK_BYTES + SEAL_BYTES,
            algorithm=HashAlgorithm.BLAKE3_256,
            chid=bytes(32),
            copies=3,
            encryption_key_id=sealer.key_id,
        )

        async def seal_all() -> list[Any]:
            works = [sealer.seal(body, n * CHUNK_BYTES) for n, body in enumerate(bodies)]
            return await asyncio.gather(*works)

        async def open_all() -> list[Any]:
            places = [replace(reference, offset=n * CHUNK_BYTES) for n in range(CHUNKS)]
            works = [opener.open(*each) for each in zip(places, stored, strict=True)]
            return await asyncio.gather(*works)

        stored = asyncio.run(seal_all())
        work: Callable[[], Any] = seal_all if what == "seal" else open_all
        case = Case(
            f"{what} {CHUNKS} x {size_text(CHUNK_BYTES)} in threads",
            operations=CHUNKS,
            size_bytes=CHUNKS * CHUNK_BYTES,
        )
        with asyncio.Runner() as runner:
            run = runner.get_loop().run_until_complete  # Runner.run() takes the repr of megabytes

            def digest(_: list[Any]) -> str:
                opened = run(open_all())
                assert opened == bodies
                return digest_of(b"".join(opened))

            measure(benchmark, case, lambda: run(work()), digest=digest)
