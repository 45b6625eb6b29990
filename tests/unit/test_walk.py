"""gateway/walk.py: what verify and repair find and do, with targets in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.errors import DataLost, NotFound, Unavailable
from replicast.flexhash.table import VdevState
from replicast.gateway import walk as module
from replicast.gateway.walk import (
    ChunkFinding,
    NameFinding,
    NameRepair,
    RepairFinding,
    Walk,
    WalkError,
)
from replicast.metrics import Counters
from replicast.wire.chunk_messages import (
    HIT,
    MISS,
    VERIFIED,
    VERIFY_CORRUPT,
    ChunkAnswer,
    ChunkQuery,
    ChunkVerified,
    ChunkVerify,
    Refused,
    VdevAnswer,
)
from replicast.wire.name_messages import NameKey, NameVerified, NameVerify, VersionId
from replicast.wire.reasons import Reason

CHID = b"c" * 32
VERSION = VersionId(time_ns=1, segment_id=1, sequence=0)
VDEVS = (1, 2, 3, 4)


def answer(vdev: int, kind: int) -> VdevAnswer:
    return VdevAnswer(vdev_index=vdev, kind=kind, size_bytes=10, start_ns=0, duration_ns=0)


class Targets:
    """Target n owns VDEV n on a host of its own; `chunks` and `entries` say what is good there."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.algorithm = 1
        self.chunks: dict[int, str] = {1: "ok", 2: "ok", 3: "ok"}
        self.entries: dict[int, str] = {1: "ok", 2: "ok", 3: "ok"}
        self.heals_after = 0
        self.down: set[int] = set()
        self.put_copies = [3]  # of each put, the last one for ever
        self.puts = 0
        self.lost = False
        states = {v: SimpleNamespace(state=VdevState.UP, vdev_id=bytes(16)) for v in VDEVS}
        self.table: Any = SimpleNamespace(
            vdevs=states,
            row_of_chunk=lambda chid: 0,
            members=lambda row: VDEVS,
            draining=lambda row: (),
            name_replicas=lambda row: (1, 2, 3),
            target_of=lambda vdev: SimpleNamespace(node_id=vdev, name=f"t{vdev}"),
            host_of=lambda vdev: f"h{vdev}",
        )

    async def survey(self, requests: dict[int, Any]) -> Any:
        answers = {n: self._answer(n, r) for n, r in requests.items() if n not in self.down}
        return SimpleNamespace(answers=answers, silent=())

    def _answer(self, node: int, request: Any) -> Any:
        if isinstance(request, ChunkQuery):
            kind = HIT if node in self.chunks else MISS
            return ChunkAnswer(answers=(answer(node, kind),))
        if isinstance(request, ChunkVerify):
            good = self.chunks[node] == "ok"
            if not good:
                del self.chunks[node]  # set aside
            return ChunkVerified(
                vdev_index=node, result=VERIFIED if good else VERIFY_CORRUPT, detail=""
            )
        assert isinstance(request, NameVerify)
        if node not in self.entries:
            return Refused(
                reason=Reason.NOT_MEMBER,
                current_generation=2,
                vdevs=(),
                retry_after_ns=0,
                detail="",
            )
        good = self.entries[node] == "ok"
        if not good:
            self.heals_after -= 1
            if self.heals_after < 0:
                self.entries[node] = "ok"
        return NameVerified(vdev_index=node, result=VERIFIED if good else VERIFY_CORRUPT, detail="")

    async def get_chunk(self, reference: Any) -> bytes:
        if self.lost:
            raise DataLost("all members have none")
        return b"data"

    async def put_chunk(self, data: Any, *, negotiate: bool = False) -> Any:
        assert negotiate, "members that have a copy must be heard"
        self.chunks = dict.fromkeys((1, 2, 3), "ok")
        self.puts += 1
        return SimpleNamespace(copies=self.put_copies[min(self.puts, len(self.put_copies)) - 1])


class Names:
    """One object of one chunk."""

    def __init__(self) -> None:
        self.info = SimpleNamespace(
            bucket="b", name="n", version=VERSION, delete_marker=False, short_chunks=0
        )
        self.reference = SimpleNamespace(chid=CHID, copies=3, hash_algorithm=1)
        self.under_marker = False
        self.count = 2
        self.unreadable = False
        self.removed = False
        self.cleared: list[str] = []
        self.bodies = self

    async def list(self, bucket: str, prefix: str, *, deleted: bool) -> AsyncIterator[Any]:
        assert deleted, "names under a delete marker have versions, too"
        for _ in range(self.count):
            yield self.info

    async def versions(self, bucket: str, name: str) -> list[Any]:
        if self.removed:
            raise NotFound("no such object")
        marker = SimpleNamespace(**vars(self.info) | {"delete_marker": True, "short_chunks": 0})
        return [marker, self.info] if self.under_marker else [self.info]

    async def head(self, bucket: str, name: str, *, version: Any) -> Any:
        if self.unreadable:
            raise Unavailable("no replica can read it")
        return self.info, SimpleNamespace(references=(self.reference,))

    async def key(self, bucket: str, name: str) -> NameKey:
        return NameKey(row=0, tenant="t", bucket=bucket, bucket_incarnation=1, name=name)

    async def all_references(self, references: Any) -> AsyncIterator[Any]:
        for reference in references:
            yield reference

    async def restored(self, bucket: str, name: str, version: Any) -> None:
        self.cleared.append(name)


@pytest.fixture
def targets(monkeypatch: Any) -> Targets:
    monkeypatch.setattr(module, "ObjectInfo", SimpleNamespace)
    monkeypatch.setattr(module, "NAME_LOOK_SECONDS", 0)
    monkeypatch.setattr(module, "RESTORE_AGAIN_SECONDS", 0)
    return Targets()


@pytest.fixture
def names() -> Names:
    return Names()


def run(targets: Any, names: Any, operation: str) -> tuple[list[Any], Walk]:
    walk = Walk(targets, names)

    async def work() -> list[Any]:
        return [finding async for finding in getattr(walk, operation)("b")]

    return asyncio.run(work()), walk


def test_verify__all_good(targets, names):
    findings, walk = run(targets, names, "verify")
    (chunk,) = findings  # of two objects with the same chunk
    assert isinstance(chunk, ChunkFinding) and chunk.hosts == 3
    assert (walk.objects_walked, walk.chunks_walked, walk.copies_read) == (2, 1, 3 + 2 * 3)
    assert not walk.errors


def test_verify__a_damaged_chunk_and_a_damaged_entry(targets, names):
    targets.chunks[2] = targets.entries[3] = "bad"
    targets.heals_after = 100
    findings, _ = run(targets, names, "verify")
    chunks = [f for f in findings if isinstance(f, ChunkFinding)]
    entries = [f for f in findings if isinstance(f, NameFinding)]
    assert [(c.vdev_index, c.state) for c in chunks[0].copies if c.state != "ok"] == [
        (2, "corrupt")
    ]
    assert chunks[0].hosts == 2
    assert len(entries) == 2  # of either object
    assert [c.vdev_index for c in entries[0].copies if c.state != "ok"] == [3]


def test_verify__a_replica_that_is_down_is_not_waited_for(targets, names):
    targets.down = {3}
    targets.table.vdevs[3].state = VdevState.DOWN
    findings, _ = run(targets, names, "verify")
    assert [type(f) for f in findings] == [ChunkFinding] and findings[0].hosts == 2
    targets.table.vdevs[3].state = VdevState.UP  # silent, and nobody knows why
    findings, _ = run(targets, names, "verify")
    assert [c.state for f in findings for c in f.copies].count("silent") == 2


@pytest.mark.parametrize(("reads", "state"), [(3, "ok"), (1_000, "error")])
def test_verify__looks_again_when_the_row_has_moved(targets, names, reads, state):
    """VDEV 3 is no replica any more; our table says so after a few looks, or never."""
    names.count = 1
    del targets.entries[3]
    looked = iter(range(10_000))
    targets.table.name_replicas = lambda row: (1, 2, 3) if next(looked) < reads else (1, 2)
    findings, _ = run(targets, names, "verify")
    bad = [c.state for f in findings if isinstance(f, NameFinding) for c in f.copies]
    assert bad == ([] if state == "ok" else ["ok", "ok", "error"])


def test_verify__a_version_that_nobody_can_read_is_an_error_and_the_walk_goes_on(targets, names):
    names.unreadable = True
    findings, walk = run(targets, names, "verify")
    assert findings == [WalkError("b", "n", "no replica can read it")] * 2 and walk.errors == 2


def test_verify__versions_under_a_delete_marker(targets, names):
    names.count, names.under_marker = 1, True
    targets.chunks[2] = "bad"
    (chunk,), walk = run(targets, names, "verify")
    assert chunk.hosts == 2 and walk.objects_walked == 1


def test_verify__a_name_that_was_removed_meanwhile(targets, names):
    names.removed = True
    findings, walk = run(targets, names, "verify")
    assert findings == [] and walk.errors == 0


def test_repair__puts_a_short_chunk_again_and_clears_its_version(targets, names):
    names.count, names.info.short_chunks = 1, 1
    del targets.chunks[2]
    findings, _ = run(targets, names, "repair")
    (repair,) = [f for f in findings if isinstance(f, RepairFinding)]
    assert (repair.action, repair.copies_now) == ("restored", 3)
    assert names.cleared == ["n"]
    assert [type(f) for f in run(targets, names, "verify")[0]] == [ChunkFinding]


def test_repair__puts_again_what_was_put_with_too_few_copies(targets, names):
    names.count, targets.put_copies = 1, [2, 2, 3]
    del targets.chunks[2]
    findings, _ = run(targets, names, "repair")
    assert [f.action for f in findings if isinstance(f, RepairFinding)] == ["restored"]
    assert targets.puts == 3


def test_repair__does_not_put_again_for_hosts_that_are_down(targets, names):
    names.count, targets.put_copies = 1, [2]
    del targets.chunks[2]
    for vdev in (2, 4):
        targets.table.vdevs[vdev].state = VdevState.DOWN
    findings, _ = run(targets, names, "repair")
    assert [f.action for f in findings if isinstance(f, RepairFinding)] == ["short"]
    assert targets.puts == 1


def test_repair__what_cannot_be_restored_stays_short(targets, names):
    names.count, names.info.short_chunks = 1, 1
    del targets.chunks[2]
    targets.put_copies = [2]
    findings, _ = run(targets, names, "repair")
    assert [f.action for f in findings if isinstance(f, RepairFinding)] == ["short"]
    assert names.cleared == []
    targets.chunks, targets.lost = {}, True
    findings, _ = run(targets, names, "repair")
    assert [f.action for f in findings if isinstance(f, RepairFinding)] == ["lost"]


def test_repair__a_version_that_shares_a_short_chunk_stays_short(targets, names):
    """The second version's chunk was seen with the first: it is as short as there."""
    names.count, names.info.short_chunks = 2, 1
    del targets.chunks[2]
    targets.put_copies = [2]
    run(targets, names, "repair")
    assert names.cleared == []


def test_repair__a_version_that_cannot_be_read_stays_short(targets, names):
    names.count, names.info.short_chunks, names.unreadable = 2, 1, True
    findings, walk = run(targets, names, "repair")
    assert names.cleared == [] and walk.errors == 2 == len(findings)


def test_repair__fewer_hosts_than_copies_is_short_for_ever(targets, names):
    names.count, names.info.short_chunks = 1, 1
    targets.chunks = {1: "ok", 2: "ok"}
    targets.table.host_of = lambda vdev: f"h{vdev % 2}"
    findings, _ = run(targets, names, "repair")
    assert [type(f) for f in findings] == [ChunkFinding] and findings[0].hosts == 2
    assert names.cleared == []


@pytest.mark.parametrize(("heals_after", "action"), [(1, "restored"), (1000, "failed")])
def test_repair__waits_for_a_replica_to_fetch_its_entry(targets, names, heals_after, action):
    names.count = 1
    targets.entries[2] = "bad"
    targets.heals_after = heals_after
    findings, _ = run(targets, names, "repair")
    assert [f.action for f in findings if isinstance(f, NameRepair)] == [action]
