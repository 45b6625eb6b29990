"""Copies of objects: a version that was seen is copied to a name of its own, and read there.

To the name model a copy is a put of the value that its source had. Each has a fresh name, so
that every write of a name still has a value of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from replicast.gateway.objects import ObjectInfo
from replicast.gateway.put_stream import PutReport
from replicast.sim.workload_large import Large
from replicast.sim.workloads import Seat, Version, WorkloadPlan, version_of


class Copies(Large):
    """See the module header."""

    prefix = "s"  # of the sources

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        super().__init__(seat, plan)
        self._copies: list[str] = []

    async def step(self) -> None:
        steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.put_source, 3),
            (self.copy, 5),
            (self.read_copy, 3),
            (self.delete, 1),
        ]
        step = self._rng.choices([s for s, _ in steps], [weight for _, weight in steps])[0]
        await step()

    async def put_source(self) -> None:
        """In the manifest, in one chunk, or in a few."""
        if self._rng.random() < 0.5:
            await self.put()
        else:
            await self.put_large(self._name())

    async def copy(self) -> None:
        """Look at a source, then copy the version that was seen, whatever becomes of the name."""
        name = self._name()
        seen = await self._head(name)
        if seen is None:
            return
        info, value = seen
        to_name = f"copy-{self._number}-{self._ledger.world.time_ns}"
        await self._write("put", to_name, value, lambda: self._copy(info, to_name))

    async def _copy(self, source: ObjectInfo, to_name: str) -> Version:
        report = PutReport()
        info = await self._client.copy(
            self.bucket, source.name, self.bucket, to_name, version=source.version, report=report
        )
        self._copies.append(to_name)
        self._ledger.world.note(
            "client", "copied", chunks=report.chunks, sent_bytes=report.sent_bytes
        )
        return version_of(info)

    async def read_copy(self) -> None:
        """One that this program has made."""
        if self._copies:
            await self._read(self._rng.choice(self._copies))
