"""Versions of names: made, listed, read by version id, removed for good.

Of names "v..." a client removes only versions of which it knows a later one, so the newest stays
the newest, and the name model judges them too. Of names "x..." any may go, the newest and delete
markers too; those are judged by replicast/sim/versions.py alone.
"""

from __future__ import annotations

from replicast.embed import Cluster
from replicast.errors import NotFound
from replicast.sim.workloads import BUCKET, LATER, Ledger, Program, Version, version_of
from replicast.wire.name_messages import VersionId

WEIGHTS = (5, 1, 3, 2, 2, 2)  # in the order of step()


class Versions(Program):
    """See the module header."""

    async def step(self) -> None:
        rng = self._rng
        free = rng.random() < 0.4
        name = f"{'x' if free else 'v'}{rng.randrange(self._plan.names)}"
        kinds = ("put", "delete", "read", "list", "remove", "get")
        kind = rng.choices(kinds, WEIGHTS)[0]
        if kind == "put":
            value = self._value()
            await self._write("put", name, value, lambda: self._put(name, value))
        elif kind == "delete":
            await self._delete(name)
        elif kind == "read":
            await self.read_version(name, self._known(name))
        elif kind == "list":
            await self.list_versions(name)
        elif kind == "remove":
            known = self._known(name)
            await (self.remove(name, known) if free else self.remove_older(name, known[:-1]))
        else:
            await self._read(name)

    def _known(self, name: str) -> list[Version]:
        """All versions that any client was told of, removed ones too, oldest first."""
        return sorted(self._ledger.versions.get(f"{self.bucket}/{name}", ()))

    async def read_version(self, name: str, known: list[Version]) -> None:
        """One of `known`, whole."""
        if known:
            version = self._rng.choice(known)
            await self._ask(
                "get_version",
                name,
                version,
                lambda: self._client.read(self.bucket, name, version=version_id(version)),
            )

    async def list_versions(self, name: str) -> None:
        """As `replicast stat --versions`."""
        await list_versions(self._ledger, self._number, self._client, name, self.bucket)

    async def remove(self, name: str, known: list[Version]) -> None:
        """One of `known`, whichever is the newest now."""
        if known:
            await self._remove("remove", name, self._rng.choice(known))

    async def remove_older(self, name: str, known: list[Version]) -> None:
        """One of `known`, all of which have a later one."""
        if known:
            await self._remove("remove_older", name, self._rng.choice(known))

    async def _remove(self, kind: str, name: str, version: Version) -> None:
        async def remove() -> str:
            await self._client.delete(self.bucket, name, version=version_id(version))
            return "removed"

        await self._write(kind, name, version, remove)


async def list_versions(
    ledger: Ledger, number: int, client: Cluster, name: str, bucket: str = BUCKET
) -> bool:
    """Client `number` asks for all versions of a name; whether it was told."""
    key = f"{bucket}/{name}"
    token = ledger.begin(number, key, "versions", None)
    try:
        infos = await client.versions(bucket, name)
    except NotFound:
        infos = []
    except LATER as error:
        ledger.fail(token, error)
        return False
    ledger.ok(token, [(version_of(info), info.delete_marker) for info in infos])
    for info in infos:
        ledger.learned(key, version_of(info))
    return True


def version_id(version: Version) -> VersionId:
    """As clients say it."""
    time_ns, segment_id, sequence, _ = version
    return VersionId(time_ns=time_ns, segment_id=segment_id, sequence=sequence)
