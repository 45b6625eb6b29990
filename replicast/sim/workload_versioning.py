"""Buckets that keep no versions, and buckets whose versioning is enabled and suspended meanwhile.

In the bucket "single" versioning is off all the time: a put takes the place of what was there, a delete
ends it. The buckets "changing..." begin like this; clients enable and suspend their versioning, which
other clients hear of a moment later. Of names "k..." there nothing goes but versions that have a
later one, so the name model judges them, too; of names "x..." anything may, the null version by that
name as well. A client whose own change is the last one has to see it in its next put: no other has begun
since, and none that had begun before was still to end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from replicast.errors import Conflict
from replicast.flexhash.versioning import Versioning as Setting
from replicast.gateway.initiation import Source
from replicast.sim.models import REMOVED
from replicast.sim.workload_versions import Versions
from replicast.sim.workloads import (
    LATER,
    Seat,
    Version,
    WorkloadPlan,
    outcome_of_delete,
    version_of,
)
from replicast.wire.name_messages import NULL_VERSION

SINGLE = "single"
CHANGING = ("changing0", "changing1", "changing2")
AGAIN_SECONDS = 0.5
Steps: TypeAlias = list[tuple[int, Callable[[], Awaitable[Any]]]]  # weight, step


class Versioning(Versions):
    """See the module header."""

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        super().__init__(seat, plan)
        self._set: dict[str, tuple[Setting, int]] = {}  # by this process; how many were begun

    async def run(self) -> None:
        for bucket in (SINGLE, *CHANGING):
            await self._make(bucket)
        await self.work()

    async def _make(self, bucket: str) -> None:
        while not self._stopped():
            try:
                await self._client._opened.buckets.create(bucket, versioning=Setting.OFF)
            except Conflict:
                break
            except LATER:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                break
        self._ledger.buckets[bucket] = None

    async def step(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            self.bucket, name = SINGLE, f"o{rng.randrange(self._plan.names)}"
            await self._one_of(self._single(name))
            return
        self.bucket = rng.choice(CHANGING)
        free = rng.random() < 0.6
        name = f"{'x' if free else 'k'}{rng.randrange(self._plan.names)}"
        known = self._known(name)
        steps: Steps = [
            (5, lambda: self.put_in(name)),
            (1, lambda: self.put_absent_in(name)),
            (2, lambda: self._read(name)),
            (2, lambda: self.read_version(name, known)),
            (2, lambda: self.list_versions(name)),
            (1, lambda: self.read_null(name)),
            (1, self.change),
            (1, lambda: self._list("")),
        ]
        if free:
            steps += [
                (2, lambda: self.delete_in(name)),
                (1, lambda: self.remove_null(name)),
                (1, lambda: self.remove(name, known)),
            ]
        else:
            steps.append((2, lambda: self.remove_older(name, known[:-1])))
        await self._one_of(steps)

    def _single(self, name: str) -> Steps:
        return [
            (4, lambda: self.put_in(name)),
            (1, lambda: self.put_absent_in(name)),
            (2, lambda: self._delete(name)),
            (3, lambda: self._read(name)),
            (2, lambda: self.list_versions(name)),
            (1, lambda: self.read_null(name)),
            (1, lambda: self.read_version(name, self._known(name))),
            (1, lambda: self._list("")),
        ]

    async def _one_of(self, steps: Steps) -> None:
        await self._rng.choices([s for _, s in steps], [weight for weight, _ in steps])[0]()

    # -- steps ------------------------------------------------------------------------

    async def put_in(self, name: str) -> None:
        """Unconditional."""
        value = self._value()
        await self._write("put", name, value, lambda: self._put(name, value))

    async def put_absent_in(self, name: str) -> None:
        """If-None-Match: *."""
        value = self._value()
        await self._write(
            "put_if_absent", name, value, lambda: self._put(name, value, if_none_match="*")
        )

    async def _put(
        self, name: str, value: str, source: Source | None = None, **condition: str
    ) -> Version:
        bucket, ledger = self.bucket, self._ledger
        known = self._set.get(bucket)
        version = await super()._put(name, value, source, **condition)
        null = bool(version[3])
        if bucket == SINGLE and not null:
            self._wrong(f"a put in {bucket}/{name} made a version of its own")
        latest = known is not None and known[1] == ledger.changes.get(bucket)
        if latest and known is not None and null is (known[0] == Setting.ENABLED):
            self._wrong(f"a put in {bucket}/{name} after {known[0].name}: null is {null}")
        return version

    def _wrong(self, what: str) -> None:
        self._ledger.world.fail(what, checker="linearizable")

    async def delete_in(self, name: str) -> None:
        """What it does is the setting's affair, as far as its gateway has heard of that."""

        async def delete() -> Any:
            return outcome_of_delete(await self._client.delete(self.bucket, name))

        await self._write("delete_by_setting", name, None, delete)

    async def read_null(self, name: str) -> None:
        """The null version, whichever that is."""
        await self._ask(
            "get_null",
            name,
            None,
            lambda: self._client.read(self.bucket, name, version=NULL_VERSION),
        )

    async def remove_null(self, name: str) -> None:
        """The null version, whichever that is."""

        async def remove() -> Any:
            info = await self._client.delete(self.bucket, name, version=NULL_VERSION)
            return REMOVED, (*version_of(info)[:3], 1)

        await self._write("remove_null", name, None, remove)

    async def change(self) -> None:
        """Enable or suspend."""
        bucket, ledger = self.bucket, self._ledger
        setting = self._rng.choice((Setting.ENABLED, Setting.SUSPENDED))
        begun = ledger.changes[bucket] = ledger.changes.get(bucket, 0) + 1
        others = ledger.changing.setdefault(bucket, set())
        alone = not others
        others.add(begun)
        self._set.pop(bucket, None)
        with contextlib.suppress(*LATER):  # then it may still come to pass
            await self._client._opened.buckets.set_versioning(bucket, setting)
            ledger.world.note("client", "versioning", bucket=bucket, setting=setting.name)
            others.remove(begun)
            if alone:
                self._set[bucket] = setting, begun
