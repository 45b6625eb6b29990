"""Walks over names and their chunks: verify every copy, restore what is missing.

Both are foreground walks of one client: nothing is remembered between runs. They
visit every version of every name, older ones and those under a delete marker too.
A chunk that many versions reference is looked at once a walk. Repair puts the
chunk again through the ordinary path: members that have a good copy answer
"already stored" and hold it, others receive it, so that afterwards it has the
copies that its reference wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from replicast.errors import DataLost, NotFound, ReplicastError
from replicast.flexhash.table import VdevState
from replicast.gateway.in_order import in_order
from replicast.gateway.initiation import Block, ChunkPlaced, Initiator
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.survey import SurveyDone
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.wire.chunk_messages import (
    HIT,
    MISS,
    VERIFIED,
    VERIFY_CORRUPT,
    VERIFY_MISSING,
    ChunkAnswer,
    ChunkQuery,
    ChunkVerified,
    ChunkVerify,
    Refused,
)
from replicast.wire.documents import Reference
from replicast.wire.name_messages import NameVerified, NameVerify
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

NAMES_AT_ONCE, CHUNKS_AT_ONCE = 8, 8
NAME_LOOKS_MAX = 50
NAME_LOOK_SECONDS = 0.1
RESTORES_MAX = 10
RESTORE_AGAIN_SECONDS = 0.1
SEEN_KEY_BYTES = 16  # of the CHID: enough to tell chunks of one walk apart


class Surveyor(Initiator, Protocol):
    """An initiator that can also ask several targets at once."""

    @property
    def counters(self) -> Counters: ...
    async def survey(self, requests: dict[NodeId, Message]) -> SurveyDone: ...


@dataclass(frozen=True, slots=True)
class CopyFinding:
    """One copy that was looked at. state: ok, corrupt, missing, error, silent."""

    bucket: str
    name: str
    chid: bytes
    vdev_index: int
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ChunkFinding:
    """One chunk after its copies were looked at; `hosts` counts good copies in distinct hosts."""

    bucket: str
    name: str
    reference: Reference
    copies: tuple[CopyFinding, ...]
    hosts: int

    @property
    def wanted(self) -> int:
        return self.reference.copies


@dataclass(frozen=True, slots=True)
class NameFinding:
    """One version's log entry on the replicas of its row; `chid` of the copies is empty.

    A replica that finds its entry damaged fetches it from another one by itself.
    """

    copies: tuple[CopyFinding, ...]

    @property
    def whole(self) -> bool:
        return all(copy.state == "ok" for copy in self.copies)


@dataclass(frozen=True, slots=True)
class NameRepair:
    """A version's entries before and after; action restored or failed."""

    found: NameFinding
    now: NameFinding

    @property
    def action(self) -> str:
        return "restored" if self.now.whole else "failed"


@dataclass(frozen=True, slots=True)
class RepairFinding:
    """What repair did for one chunk: action restored, short (too few copies still), lost or failed."""

    chunk: ChunkFinding
    action: str
    copies_now: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WalkError:
    """A version, or what its manifest chunks reference, that could not be looked at."""

    bucket: str
    name: str
    detail: str


Finding = ChunkFinding | NameFinding | WalkError
Repair = RepairFinding | NameRepair
R = TypeVar("R", RepairFinding, NameRepair)


@dataclass(slots=True)
class _Version:
    """`whole`: everything could be read, and no chunk is known to be below its copies."""

    info: ObjectInfo
    name: NameFinding
    references: tuple[Reference, ...] = ()
    whole: bool = True


async def holders(initiator: Surveyor, chid: bytes) -> dict[int, int]:
    """VDEV index -> HIT, MISS or UNSURE of all members and draining VDEVs that answered."""
    table = initiator.table
    row = table.row_of_chunk(chid)
    asked = dict.fromkeys(
        table.target_of(index).node_id for index in (*table.members(row), *table.draining(row))
    )
    done = await initiator.survey({t: ChunkQuery(row=row, chid=chid) for t in asked})
    found: dict[int, int] = {}
    for answer in done.answers.values():
        if isinstance(answer, ChunkAnswer):
            found.update((a.vdev_index, a.kind) for a in answer.answers)
    return found


class Walk:
    """One walk over buckets and prefixes; remembers which chunks it has seen."""

    def __init__(self, initiator: Surveyor, objects: Objects) -> None:
        self._initiator, self._objects = initiator, objects
        self._seen: set[bytes] = set()
        self._short: set[bytes] = set()  # of those seen, below their copies when left
        self.objects_walked = 0
        self.chunks_walked = 0
        self.copies_read = 0
        self.errors = 0
        self._untold: list[NameFinding | WalkError] = []  # of versions that are read ahead

    async def verify(self, bucket: str, prefix: str = "") -> AsyncIterator[Finding]:
        """Every version under the prefix and its chunks, each copy read from disk and hashed."""
        chunks = self._chunks(bucket, prefix)
        async for finding in in_order(chunks, self._verify_chunk, CHUNKS_AT_ONCE):
            yield finding
            for untold in self._take_untold():
                yield untold
        for untold in self._take_untold():
            yield untold

    async def repair(self, bucket: str, prefix: str = "") -> AsyncIterator[Finding | Repair]:
        """As verify; a chunk with fewer good copies than wanted is put again. A version whose
        chunks all have their copies is no longer counted as short of them."""
        async for version in self._versions(bucket, prefix):
            info = version.info
            if not version.name.whole:
                yield version.name
                yield self._counted(NameRepair(version.name, await self._await_name(info)))
            chunks = self._references(version)
            async for finding in in_order(chunks, self._verify_chunk, CHUNKS_AT_ONCE):
                yield finding
                copies = finding.hosts
                if copies < min(finding.wanted, self._hosts_available()):
                    repaired = self._counted(await self._restore(finding))
                    yield repaired
                    copies = repaired.copies_now
                if copies < finding.wanted:
                    self._short.add(_seen_key(finding.reference))
                    version.whole = False
            for untold in self._take_untold():
                yield untold
            if info.short_chunks and version.whole:
                await self._note_restored(version)
            for untold in self._take_untold():
                yield untold

    def _counted(self, repair: R) -> R:
        self._initiator.counters.count("repairs", repair.action)
        return repair

    async def _versions(self, bucket: str, prefix: str) -> AsyncIterator[_Version]:
        listed = self._objects.list(bucket, prefix, deleted=True)
        async for versions in in_order(listed, self._versions_of, NAMES_AT_ONCE):
            for each in versions:
                yield each

    async def _versions_of(self, listed: ObjectInfo | str) -> list[_Version]:
        assert isinstance(listed, ObjectInfo)
        found = []
        try:
            infos = await self._objects.versions(listed.bucket, listed.name)
        except NotFound:
            return []  # all its versions were removed since it was listed
        for info in infos:
            self.objects_walked += not info.delete_marker
            version = _Version(info, await self._verify_name(info))
            if not info.delete_marker:
                await self._read_references(version)
            found.append(version)
        return found

    async def _read_references(self, version: _Version) -> None:
        info = version.info
        try:
            _, body = await self._objects.head(info.bucket, info.name, version=info.version)
        except NotFound:
            return  # removed meanwhile
        except ReplicastError as error:
            self._note_error(version, error)
        else:
            version.references = body.references

    async def _note_restored(self, version: _Version) -> None:
        info = version.info
        try:
            await self._objects.restored(info.bucket, info.name, info.version)
        except NotFound:
            return  # removed meanwhile
        except ReplicastError as error:
            self._note_error(version, error)

    def _note_error(self, version: _Version, error: ReplicastError) -> None:
        version.whole = False
        self.errors += 1
        self._untold.append(WalkError(version.info.bucket, version.info.name, str(error)))

    def _take_untold(self) -> list[NameFinding | WalkError]:
        taken, self._untold = self._untold, []
        return taken

    async def _chunks(
        self, bucket: str, prefix: str
    ) -> AsyncIterator[tuple[ObjectInfo, Reference]]:
        async for version in self._versions(bucket, prefix):
            if not version.name.whole:
                self._untold.append(version.name)
            async for chunk in self._references(version):
                yield chunk

    async def _references(self, version: _Version) -> AsyncIterator[tuple[ObjectInfo, Reference]]:
        """Chunks not seen before; a manifest chunk that cannot be read ends its version."""
        try:
            async for reference in self._objects.bodies.all_references(version.references):
                key = _seen_key(reference)
                if key in self._short:
                    version.whole = False
                if key not in self._seen:
                    self._seen.add(key)
                    self.chunks_walked += 1
                    yield version.info, reference
        except ReplicastError as error:
            self._note_error(version, error)

    async def _verify_name(self, info: ObjectInfo) -> NameFinding:
        """Its entries on the row's replicas; again by a newer table when these were moved."""
        for _ in range(NAME_LOOKS_MAX):
            copies, moved = await self._look_at_name(info)
            self.copies_read += len(copies)
            if not moved:
                break
            await asyncio.sleep(NAME_LOOK_SECONDS)
        return NameFinding(tuple(copies))

    async def _look_at_name(self, info: ObjectInfo) -> tuple[list[CopyFinding], bool]:
        key = await self._objects.key(info.bucket, info.name)
        table, algorithm = self._initiator.table, int(self._initiator.algorithm)
        copies: list[CopyFinding] = []
        moved = False
        # One that is down is no news to anybody who asks for the status.
        up = [v for v in table.name_replicas(key.row) if table.vdevs[v].state != VdevState.DOWN]
        for batch in self._one_per_target(up):
            requests: dict[NodeId, Message] = {
                target: NameVerify(
                    key=key, version=info.version, hash_algorithm=algorithm, vdev_index=index
                )
                for target, index in batch.items()
            }
            done = await self._initiator.survey(requests)
            for target, index in batch.items():
                answer = done.answers.get(target)
                moved = moved or _is_moved(answer)
                state, detail = _state(answer)
                copies.append(CopyFinding(info.bucket, info.name, b"", index, state, detail))
        return copies, moved

    async def _await_name(self, info: ObjectInfo) -> NameFinding:
        """The replica that found damage fetches the entry: look again until it has."""
        finding = await self._verify_name(info)
        for _ in range(NAME_LOOKS_MAX):
            if finding.whole:
                break
            await asyncio.sleep(NAME_LOOK_SECONDS)
            finding = await self._verify_name(info)
        return finding

    async def _verify_chunk(self, chunk: tuple[ObjectInfo, Reference]) -> ChunkFinding:
        info, reference = chunk
        found = await holders(self._initiator, reference.chid)
        held = sorted(index for index, kind in found.items() if kind not in (MISS,))
        copies: list[CopyFinding] = []
        for batch in self._one_per_target(held):
            copies += await self._verify_copies(info, reference, batch)
        # An unsure VDEV (a target that is just catching up) never said that it had a copy.
        copies = [c for c in copies if c.state != "missing" or found[c.vdev_index] == HIT]
        good = {
            self._initiator.table.host_of(copy.vdev_index) for copy in copies if copy.state == "ok"
        }
        self.copies_read += len(copies)
        return ChunkFinding(info.bucket, info.name, reference, tuple(copies), len(good))

    def _one_per_target(self, held: Iterable[int]) -> list[dict[NodeId, int]]:
        batches: list[dict[NodeId, int]] = []
        for index in held:
            target = self._initiator.table.target_of(index).node_id
            batch = next((b for b in batches if target not in b), None)
            if batch is None:
                batch = {}
                batches.append(batch)
            batch[target] = index
        return batches

    async def _verify_copies(
        self, info: ObjectInfo, reference: Reference, batch: dict[NodeId, int]
    ) -> list[CopyFinding]:
        requests: dict[NodeId, Message] = {
            target: ChunkVerify(
                chid=reference.chid, hash_algorithm=reference.hash_algorithm, vdev_index=index
            )
            for target, index in batch.items()
        }
        done = await self._initiator.survey(requests)
        findings = []
        for target, index in batch.items():
            state, detail = _state(done.answers.get(target))
            findings.append(
                CopyFinding(info.bucket, info.name, reference.chid, index, state, detail)
            )
        return findings

    async def _restore(self, finding: ChunkFinding) -> RepairFinding:
        try:
            data = await self._initiator.get_chunk(finding.reference)
            placed = await self._put_whole(data, finding)
        except DataLost as error:
            return RepairFinding(finding, "lost", 0, str(error))
        except ReplicastError as error:
            return RepairFinding(finding, "failed", finding.hosts, str(error))
        enough = placed.copies >= min(finding.wanted, self._hosts_available())
        return RepairFinding(finding, "restored" if enough else "short", placed.copies)

    async def _put_whole(self, data: Block, finding: ChunkFinding) -> ChunkPlaced:
        """Put it until all copies are there that can be: a put soon settles for min_copies when
        members are busy or late, which is right for a writer who waits, and not for repair."""
        wanted = min(finding.wanted, self._hosts_up(finding.reference.chid))
        for _ in range(RESTORES_MAX - 1):
            placed = await self._initiator.put_chunk(data, negotiate=True)
            if placed.copies >= wanted:
                return placed
            await asyncio.sleep(RESTORE_AGAIN_SECONDS)
        return await self._initiator.put_chunk(data, negotiate=True)

    def _hosts_up(self, chid: bytes) -> int:
        """Hosts that may take a copy of this chunk now."""
        table = self._initiator.table
        members = table.members(table.row_of_chunk(chid))
        return len({table.host_of(v) for v in members if table.vdevs[v].state == VdevState.UP})

    def _hosts_available(self) -> int:
        table = self._initiator.table
        return len({table.host_of(i) for i, v in table.vdevs.items() if v.state != VdevState.OUT})


def _seen_key(reference: Reference) -> bytes:
    return reference.chid[:SEEN_KEY_BYTES]


def _is_moved(answer: Message | None) -> bool:
    """It is no replica by its table, which is another one than ours."""
    return isinstance(answer, Refused) and answer.reason == Reason.NOT_MEMBER


def _state(answer: Message | None) -> tuple[str, str]:
    if answer is None:
        return "silent", "no answer"
    if not isinstance(answer, (ChunkVerified, NameVerified)):
        return "error", getattr(answer, "detail", "refused")
    names = {VERIFIED: "ok", VERIFY_CORRUPT: "corrupt", VERIFY_MISSING: "missing"}
    return names.get(answer.result, "error"), answer.detail


__all__ = [
    "HIT",
    "ChunkFinding",
    "CopyFinding",
    "NameFinding",
    "NameRepair",
    "RepairFinding",
    "Walk",
    "WalkError",
    "holders",
]
