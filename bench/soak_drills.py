"""What bench/soak.py does to a cluster as a whole, between its rounds: drills of docs/operations.md.

`rolling` restarts every process, one after the other, each when all is well. `voter_lost` takes a
voter's Raft files and gives its vote to another target. `away` leaves one target off for so long that
the logs of its rows are cut behind it, while the others have their faults: its replicas catch up by
snapshot.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from busy_name import BusyName
from namespaces import Cluster
from soak_faults import Member

AWAY_SECONDS = 150.0
Drill = Callable[[random.Random], Awaitable[None]]


@dataclass
class Drills:
    """Of one soak. `whole` waits until all is well; `faults` makes faults of others for so long."""

    cluster: Cluster
    members: dict[str, Member]
    busy: BusyName
    whole: Callable[[str], Awaitable[None]]
    faults: Callable[[set[str], float], Awaitable[None]]

    async def rolling(self, rng: random.Random) -> None:
        """Targets and gateways, in any order."""
        for name in rng.sample(sorted(self.members), len(self.members)):
            await asyncio.to_thread(self.members[name].end, signal.SIGTERM)
            self.members[name].start()
            await self.whole(f"restart of {name}")

    async def voter_lost(self, rng: random.Random) -> None:
        """It comes back without its files, as a target that votes no more."""
        report = json.loads(await self._administer("raft", "status", "--json"))
        voters = [voter["name"] for voter in report["voters"]]
        lost = self.members[rng.choice(voters)]
        heir = rng.choice([name for name in self.cluster.targets if name not in voters])
        await asyncio.to_thread(lost.end, signal.SIGKILL)
        for folder in (self.cluster.data / lost.name).glob("raft*"):
            shutil.rmtree(folder)
        (self.cluster.data / lost.name / "raft").mkdir()
        await self._administer("raft", "replace", lost.name, heir)
        lost.start()
        await self.whole(f"{heir} votes in the place of {lost.name}")

    async def away(self, rng: random.Random) -> None:
        """Longer than the retry window; one that has the row whose log is cut meanwhile."""
        absent = self.members[rng.choice(await self.busy.targets())]
        await asyncio.to_thread(absent.end, signal.SIGKILL)
        await self.faults({absent.name}, AWAY_SECONDS)
        absent.start()
        await self.whole(f"{absent.name} was away")

    async def _administer(self, *arguments: str) -> bytes:
        return await asyncio.to_thread(self.cluster.administer, *arguments)

    def all(self) -> list[Drill]:
        """Each of them."""
        return [self.rolling, self.voter_lost, self.away]
