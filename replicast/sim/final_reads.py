"""After repair everything is read once more, so that histories end in what is there now.

Every name, the list of its versions, all names of the bucket, and versions by their id: all of
names on which programs worked with versions or made trees; of others those that nobody was told
of, and the last few (that all their bytes are there is what `verify` has just found).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from replicast.embed import Cluster
from replicast.errors import NotFound, ReplicastError
from replicast.sim.checkers import OPERATOR
from replicast.sim.history import Operation
from replicast.sim.uploads import KEY
from replicast.sim.versions import KINDS
from replicast.sim.workload_versions import list_versions, version_id
from replicast.sim.workloads import Ledger, Version, list_names

WIDTH = 8  # names at once
LAST_VERSIONS = 3


class FinalReads:
    """One operator's reads of all names in the ledger's history."""

    def __init__(self, client: Cluster, ledger: Ledger) -> None:
        self._client, self._ledger = client, ledger
        self._told: dict[str, dict[Version, None]] = {}
        self._whole: dict[str, None] = {}  # names whose versions are all read

    async def run(self) -> None:
        """Fails the world where something cannot be read; checkers judge what was."""
        operations = self._ledger.history.operations()
        keys = sorted(
            {o.key for o in operations if not o.key.endswith("/") and not o.key.startswith(KEY)}
        )
        for one in operations:
            self._note(one)
        waiting = iter(keys)

        async def one_after_the_other() -> None:
            for key in waiting:
                await self._name(key)

        await asyncio.gather(*(one_after_the_other() for _ in range(WIDTH)))
        for bucket in self._ledger.buckets:
            await list_names(self._ledger, OPERATOR, self._client, "", bucket)

    def _note(self, one: Operation) -> None:
        if one.kind in KINDS:
            self._whole[one.key] = None
        elif isinstance(one.result, tuple) and one.kind != "list":
            self._told.setdefault(one.key, {})[one.result] = None  # type: ignore[index]

    async def _name(self, key: str) -> None:
        bucket, _, name = key.partition("/")
        await self._ask(key, "get", None, lambda: self._client.read(bucket, name))
        if bucket not in self._ledger.buckets:
            return  # its versions went with the bucket, if that was removed and made anew
        if not await list_versions(self._ledger, OPERATOR, self._client, name, bucket):
            self._ledger.world.fail(
                f"{key}: its versions cannot be listed in the end", checker="durability"
            )
        for version in self._chosen(key):
            await self._ask(
                key,
                "get_version",
                version,
                lambda v=version: self._client.read(bucket, name, version=version_id(v)),  # type: ignore[misc]
            )

    def _chosen(self, key: str) -> list[Version]:
        known = sorted(self._ledger.versions.get(key, ()))
        if key in self._whole:
            return known
        told = self._told.get(key, {})
        return [
            v for at, v in enumerate(known, 1) if v not in told or at > len(known) - LAST_VERSIONS
        ]

    async def _ask(
        self, key: str, kind: str, argument: Any, work: Callable[[], Awaitable[bytes]]
    ) -> None:
        ledger = self._ledger
        token = ledger.begin(OPERATOR, key, kind, argument)
        try:
            ledger.ok(token, ledger.read(key, await work()))
        except NotFound:
            ledger.ok(token, None)
        except ReplicastError as error:
            ledger.world.fail(
                f"{key} cannot be read in the end: {kind} {argument}: {error!r}",
                checker="durability",
            )
