"""gateway/buckets.py with a control plane in memory."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.errors import Conflict, InvalidRequest, NotFound, Unavailable
from replicast.flexhash.commands import Code
from replicast.flexhash.versioning import Versioning
from replicast.gateway import buckets as module
from replicast.gateway.buckets import Buckets
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketVersioning,
)


class Directory:
    """Records as Raft would keep them; this gateway knows them as of its last refetch."""

    def __init__(self) -> None:
        self.raft: dict[tuple[str, str], Any] = {}
        self.buckets: dict[tuple[str, str], Any] = {}
        self.settings_version = self.settings_floor = 0
        self.removed = 0  # settings version of a removal, which nobody may have adopted
        self.refetches = self.incarnations = 0
        self.codes: dict[type, Code] = {}
        self.commands: list[Any] = []

    def wall_ns(self) -> int:
        return 1

    async def refetch_settings(self) -> None:
        self.refetches += 1
        self.buckets = dict(self.raft)
        self.settings_version = len(self.commands)

    async def command(self, message: Any, timeout_seconds: float = 1) -> Any:
        self.commands.append(message)
        key = (message.tenant, message.bucket)
        code = self.codes.get(type(message)) or self._apply(message, key)
        return SimpleNamespace(code=code, value=7)

    def _apply(self, message: Any, key: tuple[str, str]) -> Code:
        if isinstance(message, BucketCreate):
            if key in self.raft:
                return Code.EXISTS
            if message.settings_floor < self.removed:
                return Code.CONFLICT
            self.incarnations += 1
            self.raft[key] = SimpleNamespace(
                bucket=message.bucket, incarnation=self.incarnations, owner=message.owner
            )
        elif key not in self.raft:
            return Code.NO_SUCH
        elif isinstance(message, BucketDeleteEnd) and message.remove:
            del self.raft[key]
            self.removed = 7
        return Code.OK


class Names:
    """The listing that a deletion asks for."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.deleted: list[str] = []
        self.error: Exception | None = None

    async def list(self, bucket: str, *, tenant: str, deleted: bool) -> Any:
        if self.error is not None:
            raise self.error
        for name in self.names + self.deleted * deleted:
            yield name


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def buckets(directory: Any, names: Any, monkeypatch: Any) -> Buckets:
    monkeypatch.setattr(module, "ADOPTION_POLL_SECONDS", 0)
    directory.settings_floor = 1 << 30
    return Buckets(directory, names, 4096)


def test_create_list_find_delete(buckets, directory):
    async def run() -> None:
        await buckets.create("photos")
        await buckets.create("a-b.c", owner="c0ffee")
        made = [(record.bucket, record.owner) for record in await buckets.list()]
        assert made == [("a-b.c", "c0ffee"), ("photos", "")]
        assert (await buckets.find("photos")).incarnation == 1
        with pytest.raises(Conflict):
            await buckets.create("photos")
        await buckets.delete("photos")
        with pytest.raises(NotFound):
            await buckets.find("photos")
        await buckets.create("photos")
        assert (await buckets.find("photos")).incarnation == 3

    asyncio.run(run())


def test_find__one_made_elsewhere_is_looked_up_once(buckets, directory):
    async def run() -> None:
        directory.raft["default", "theirs"] = SimpleNamespace(bucket="theirs", incarnation=9)
        assert (await buckets.find("theirs")).incarnation == 9
        await buckets.find("theirs")
        assert directory.refetches == 1
        with pytest.raises(NotFound):
            await buckets.find("missing")

    asyncio.run(run())


def test_find__one_that_a_row_calls_gone_is_looked_up_anew(buckets, directory):
    async def run() -> None:
        await buckets.create("photos")
        directory.raft["default", "photos"] = SimpleNamespace(bucket="photos", incarnation=9)
        assert (await buckets.find("photos")).incarnation == 1  # as this gateway knows it
        assert (await buckets.find("photos", gone=1)).incarnation == 9
        with pytest.raises(NotFound):  # being deleted: it is there, and not for this
            await buckets.find("photos", gone=9)

    asyncio.run(run())


def test_create__waits_until_all_have_heard_of_a_removal(buckets, directory, monkeypatch):
    async def run() -> None:
        await buckets.create("photos")
        await buckets.delete("photos")
        directory.settings_floor = 6
        waited = 0

        async def sleep(seconds: float) -> None:
            nonlocal waited
            waited += 1
            directory.settings_floor += waited == 3

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        await buckets.create("photos")
        assert waited == 3 and directory.commands[-1].settings_floor == 7
        directory.removed = 8  # others remove faster than we can hear of it
        with pytest.raises(Unavailable, match="CONFLICT"):
            await buckets.create("videos")

    asyncio.run(run())


def test_versioning__is_set_when_every_row_leader_has_heard(buckets, directory, monkeypatch):
    async def run() -> None:
        await buckets.create("photos")
        directory.settings_floor = 6
        heard = []

        async def sleep(seconds: float) -> None:
            heard.append(directory.settings_floor)
            directory.settings_floor += 1

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        await buckets.set_versioning("photos", Versioning.ENABLED)
        assert heard == [6] and isinstance(directory.commands[-1], BucketVersioning)
        with pytest.raises(NotFound):
            await buckets.set_versioning("videos", Versioning.ENABLED)

    asyncio.run(run())


def test_refresh__then_nothing_is_known_that_another_gateway_has_changed(buckets, directory):
    async def run() -> None:
        await buckets.create("photos")
        directory.raft["default", "photos"] = SimpleNamespace(bucket="photos", incarnation=9)
        assert (await buckets.find("photos")).incarnation == 1
        await buckets.refresh()
        assert (await buckets.find("photos")).incarnation == 9
        del directory.raft["default", "photos"]
        assert (await buckets.find("photos")).incarnation == 9
        await buckets.refresh()
        with pytest.raises(NotFound):
            await buckets.find("photos")

    asyncio.run(run())


@pytest.mark.parametrize(
    "name", ["", "ab", "A-B", "a" * 64, "-ab", "ab-", "a..b", "1.2.3.4", "a_b", "a/b", "é-bucket"]
)
def test_names__bad_ones_reach_nobody(buckets, directory, name):
    async def run() -> None:
        for work in (buckets.create(name), buckets.find(name)):
            with pytest.raises(InvalidRequest):
                await work
        assert not directory.commands and not directory.refetches

    asyncio.run(run())


def test_delete__not_empty_is_unlocked_again(buckets, directory, names):
    async def run() -> None:
        await buckets.create("photos")
        names.names = ["x"]
        with pytest.raises(Conflict, match="not empty"):
            await buckets.delete("photos")
        end = directory.commands[-1]
        assert isinstance(end, BucketDeleteEnd) and not end.remove and end.marked == 7
        await buckets.find("photos")

    asyncio.run(run())


def test_delete__versions_behind_a_marker_count_when_they_shall(buckets, directory, names):
    async def run() -> None:
        await buckets.create("photos")
        names.deleted = ["x"]
        with pytest.raises(Conflict, match="not empty"):
            await buckets.delete("photos", deleted_too=True)
        await buckets.delete("photos")

    asyncio.run(run())


def test_delete__a_listing_that_fails_unlocks_it_too(buckets, directory, names):
    async def run() -> None:
        await buckets.create("photos")
        names.error = Unavailable("a row does not answer")
        with pytest.raises(Unavailable):
            await buckets.delete("photos")
        end = directory.commands[-1]
        assert isinstance(end, BucketDeleteEnd) and not end.remove

    asyncio.run(run())


def test_delete__lists_only_when_every_target_refuses_new_names(buckets, directory, names):
    async def run() -> None:
        await buckets.create("photos")
        directory.settings_floor = 0
        names.names = ["never asked"]
        with pytest.raises(Unavailable, match="not heard"):
            await buckets.delete("photos")
        assert not directory.commands[-1].remove

    asyncio.run(run())


def test_delete__somebody_else_was_faster(buckets, directory):
    async def run() -> None:
        await buckets.create("photos")
        directory.codes = {BucketDeleteEnd: Code.NO_SUCH}
        with pytest.raises(NotFound):
            await buckets.delete("photos")

    asyncio.run(run())


@pytest.mark.parametrize("code", [Code.CONFLICT, Code.FULL, Code.NOT_FORMED])
def test_commands__that_raft_does_not_take_now(buckets, directory, code):
    async def run() -> None:
        directory.codes = {BucketCreate: code, BucketDeleteBegin: code}
        with pytest.raises(Unavailable):
            await buckets.create("photos")
        directory.raft["default", "photos"] = SimpleNamespace(bucket="photos", incarnation=1)
        with pytest.raises(Unavailable):
            await buckets.delete("photos")

    asyncio.run(run())
