"""Encryption over the object layer in memory: known cluster keys, counted randomness."""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import wraps
from hashlib import md5
from typing import Any, ParamSpec

from replicast.gateway.bodies import Description, ObjectLimits, known
from replicast.gateway.manifest import with_metadata
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.s3.sse import Encryption
from replicast.gateway.s3.sse_bodies import Tools
from replicast.gateway.s3.sse_envelope import ObjectSeal, Place
from replicast.gateway.s3.sse_headers import CustomerKey, Wanted
from replicast.hashing import content_hash
from replicast.keys import ClusterKeys
from replicast.metrics import Counters
from replicast.wire.documents import ManifestBody

from ..object_memory import ALGORITHM, BUCKET, CHUNK, MemoryInitiator, blocks

CLUSTER_ID = bytes(range(16))
KEYS = ClusterKeys(2, {1: b"1" * 32, 2: b"2" * 32})
EXECUTOR = ThreadPoolExecutor(2)
SERVER = Wanted(server=True)


def customer(letter: str) -> CustomerKey:
    key = letter.encode() * 32
    return CustomerKey(key, b64encode(md5(key).digest()).decode())


MINE = Wanted(customer("m"))
P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that is a coroutine."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def tools(seed: int = 0, keys: ClusterKeys = KEYS) -> Tools:
    return Tools(ObjectSeal(CLUSTER_ID, keys), EXECUTOR, random.Random(seed).randbytes, Counters())


def place(name: str) -> Place:
    return Place(BUCKET.incarnation, name)


class Sealed:
    """A bucket in memory, and what S3 does with keys in it."""

    def __init__(self, seed: int = 0) -> None:
        self.memory = MemoryInitiator()
        limits = ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4, get_read_ahead=3)
        self.objects = Objects(self.memory, limits)
        self.tools = tools(seed)
        self.encryption = Encryption(self.tools, "loopback")

    async def put(self, name: str, data: bytes, wanted: Wanted) -> ObjectInfo:
        return await self.objects.put(
            "b",
            name,
            blocks(data, 50),
            describe=known(Description({"m": "1"}, "etag")),
            sealer=self.encryption.sealer(wanted, place(name)),
        )

    async def read(
        self, name: str, key: CustomerKey | None = None, span: tuple[int, int] | None = None
    ) -> bytes:
        _, body = await self.objects.head("b", name)
        opener = self.encryption.opener(body, place(name), key)
        found = self.objects.bodies.read(body, span, opener)
        return b"".join([bytes(block) async for block in found])

    async def body(self, name: str) -> ManifestBody:
        return (await self.objects.head("b", name))[1]

    def plant(self, name: str, body: ManifestBody) -> None:
        """As who may write to the disks of the cluster: all hashes are right."""
        metadata = {item.key: item.value for item in body.metadata}
        raw = with_metadata(body, metadata)
        summary, _ = self.memory.names[name][0]
        changed = replace(
            summary, body_hash=content_hash(ALGORITHM, raw), logical_size=body.logical_bytes
        )
        self.memory.names[name][0] = (changed, raw)
