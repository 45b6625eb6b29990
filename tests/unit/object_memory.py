"""An initiator in memory, for tests of the object layer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.errors import ConditionFailed, NoSpace, NotFound, Unavailable
from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.initiation import ChunkPlaced
from replicast.gateway.known_holders import KnownHolders
from replicast.gateway.listing import ListDone
from replicast.gateway.objects import Objects
from replicast.hashing import HashAlgorithm, content_hash
from replicast.wire.name_messages import (
    DELETE_MARKER,
    IF_ABSENT,
    IF_ETAG,
    IF_NOT_ETAG,
    IF_PRESENT,
    IF_VERSION,
    INCARNATION_MAX,
    NO_VERSION,
    NULL_VERSION,
    OBJECT,
    ListEntry,
    NameDelete,
    NameGet,
    NamePut,
    NameResult,
    NameVersionList,
    NameVersions,
    VersionId,
    VersionSummary,
)

ALGORITHM = HashAlgorithm.BLAKE3_256
CHUNK = 64
INLINE = 16
BUCKET = SimpleNamespace(
    tenant="default", bucket="b", incarnation=1, spread=2, inline_max_bytes=INLINE, versioning=1
)


class MemoryInitiator:
    """Chunks and names in dictionaries; counts what is in flight; fails when told to."""

    def __init__(self) -> None:
        self.table: Any = SimpleNamespace(policy=SimpleNamespace(copies=3, row_count=8))
        self.algorithm = ALGORITHM
        self.chunks: dict[bytes, bytes] = {}
        self.names: dict[str, list[tuple[VersionSummary, bytes]]] = {}
        self.spaces: dict[
            int, dict[str, list[Any]]
        ] = {}  # beside them, by what the incarnation has more
        self.versioning = BUCKET.versioning
        self.clock_ns = 1000
        self.in_flight = self.in_flight_most = self.cancelled = 0
        self.gate: asyncio.Event | None = None
        self.fail_at: int | None = None
        self.copies = 3
        self.page_entries = 1000
        self.pages = 0
        self.given = 0  # chunks that came with their hash
        self.reads: list[bytes] = []
        self.holds: list[bytes] = []
        self.lost: set[bytes] = set()
        self.known_holders = KnownHolders()
        self.holders: dict[VersionId, Any] = {}  # as names say
        self.decided: dict[bytes, Any] = {}  # what operations of given ids have got

    def wall_ns(self) -> int:
        return self.clock_ns

    async def bucket(self, tenant: str, bucket: str, gone: int = 0) -> Any:
        if bucket != "b":
            raise NotFound("no such bucket")
        return SimpleNamespace(**vars(BUCKET) | {"versioning": self.versioning})

    async def put_chunk(
        self, data: Any, *, chid: bytes | None = None, negotiate: bool = False
    ) -> ChunkPlaced:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            await self._pass()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if self.fail_at is not None and len(self.chunks) >= self.fail_at:
            raise NoSpace("full")
        raw = bytes(data)
        given, chid = chid, content_hash(ALGORITHM, raw)
        assert given in (None, chid)
        self.given += given is not None
        new = chid not in self.chunks
        self.chunks[chid] = raw
        stored = self.copies if new else 0
        self.known_holders.put(chid, (1, 2, 3))
        return ChunkPlaced(chid, len(raw), self.copies, (1, 2, 3), len(raw) * new, stored)

    async def hold_chunk(self, reference: Any) -> ChunkPlaced:
        self.holds.append(reference.chid)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            await self._pass()
        finally:
            self.in_flight -= 1
        if reference.chid in self.lost:
            raise Unavailable("the chunk cannot be read")
        size_bytes = len(self.chunks[reference.chid])
        self.known_holders.put(reference.chid, (1, 2, 3))
        return ChunkPlaced(reference.chid, size_bytes, self.copies, (1, 2, 3), 0, 0)

    async def get_chunk(self, reference: Any, section: Any = None) -> bytes:
        self.reads.append(reference.chid)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            await self._pass()
        finally:
            self.in_flight -= 1
        if section is not None:
            section.fill(self.chunks[reference.chid])
        return self.chunks[reference.chid]

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)

    async def named(self, request: Any, row: int, operation: bytes = b"") -> Any:
        if operation and operation not in self.decided:
            try:
                self.decided[operation] = self._named(request, row)
            except ConditionFailed as error:
                self.decided[operation] = error
        answer = self.decided[operation] if operation else self._named(request, row)
        if isinstance(answer, ConditionFailed):
            raise answer
        return answer

    def _named(self, request: Any, row: int) -> Any:
        assert row == request.key.row
        versions = self._space(request.key.bucket_incarnation).setdefault(request.key.name, [])
        if isinstance(request, NameVersions):
            return NameVersionList(versions=tuple(summary for summary, _ in versions))
        if isinstance(request, NameGet):
            found = [v for v in versions if _is_it(request.version, v[0])]
            if not found:
                raise NotFound("no such object", reason="NO_SUCH_NAME")
            summary, body = found[0]
            holders = self.holders.get(summary.version, ())
            if not request.want_body:
                body, holders = b"", ()
            return NameResult(summary=summary, copies=3, holders=holders, body=body)
        self._judge(request.condition, versions)
        if isinstance(request, NameDelete) and request.version != NO_VERSION:
            found = [v for v in versions if _is_it(request.version, v[0])]
            if not found:
                raise NotFound("no such version", reason="NO_SUCH_NAME")
            versions.remove(found[0])
            return NameResult(summary=found[0][0], copies=3, holders=(), body=b"")
        kind = DELETE_MARKER if isinstance(request, NameDelete) else OBJECT
        summary = self._order(request, kind, versions)
        return NameResult(summary=summary, copies=3, holders=(), body=b"")

    def _judge(self, when: Any, versions: list[Any]) -> None:
        newest = versions[0][0] if versions else None
        holds = {
            IF_ABSENT: newest is None or newest.kind == DELETE_MARKER,
            IF_VERSION: when.version == (newest.version if newest else NO_VERSION),
            IF_PRESENT: newest is not None,
            IF_ETAG: newest is not None and newest.etag == when.etag,
            IF_NOT_ETAG: newest is None or newest.etag != when.etag,
        }
        if not holds.get(when.kind, True):
            raise ConditionFailed("the condition does not hold")

    def _order(self, request: Any, kind: int, versions: list[Any]) -> VersionSummary:
        self.clock_ns += 1
        put = isinstance(request, NamePut)
        summary = VersionSummary(
            version=VersionId(time_ns=self.clock_ns, segment_id=1, sequence=0),
            replaces=versions[0][0].version if versions else NO_VERSION,
            kind=kind,
            null=request.null,
            logical_size=request.logical_size if put else 0,
            etag=request.etag if put else "",
            operation_id=bytes(16),
            body_hash=request.body_hash if put else b"h" * 32,
            short_chunks=len(request.short_of_copies) if put else 0,
        )
        if request.null:
            versions[:] = [v for v in versions if not v[0].null]
        versions.insert(0, (summary, request.body if put else b""))
        if put:
            self.holders[summary.version] = request.holders
        return summary

    def _space(self, incarnation: int) -> dict[str, list[Any]]:
        within = incarnation & ~INCARNATION_MAX
        return self.spaces.setdefault(within, {}) if within else self.names

    async def list_page(self, request: Any) -> ListDone:
        self.pages += 1
        space = self._space(request.bucket_incarnation)
        names = sorted((name for name, versions in space.items() if versions), key=str.encode)
        found = [
            ListEntry(name=name, summary=space[name][0][0])
            for name in names
            if name.startswith(request.prefix)
            and name.encode() > request.after.encode()
            and (request.deleted or space[name][0][0].kind == OBJECT)
        ]
        size = min(request.limit, self.page_entries)
        return ListDone(tuple(found[:size]), len(found) > size)


def _is_it(wanted: VersionId, held: VersionSummary) -> bool:
    return wanted in (NO_VERSION, held.version) or (wanted == NULL_VERSION and held.null)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def blocks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(objects: Objects, name: str, span: tuple[int, int] | None = None) -> bytes:
    return b"".join([bytes(block) async for block in objects.get("b", name, range=span)])


@pytest.fixture
def memory() -> MemoryInitiator:
    return MemoryInitiator()


@pytest.fixture
def objects(memory: MemoryInitiator) -> Objects:
    limits = ObjectLimits(chunk_size_bytes=CHUNK, put_pipeline=4, get_read_ahead=3)
    return Objects(memory, limits)
