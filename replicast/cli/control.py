"""A command's own way to the control plane, where a gateway's does not reach: as an administrator.

    async with control(folder) as plane:
        plane.formation, plane.voters, await plane.newest_status()

The identity is that of the operator: DIR/admin of a cluster that `up` made, or a member that joined
with an admin token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from replicast.cli.find import find_cluster
from replicast.cli.layout import ADMIN
from replicast.errors import InvalidRequest, Unavailable
from replicast.flexhash.client import TableClient
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import VoterSet, formed_voters
from replicast.formation import (
    CLUSTER_FILE,
    Formation,
    load_cluster_file,
    load_formation,
)
from replicast.keys import Role, load_key_pair
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.runtime import SYSTEM
from replicast.wire.control_messages import StatusData

LEARN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """An open connection to all voters."""

    formation: Formation
    client: TableClient

    @property
    def voters(self) -> VoterSet:
        """The newest that is known here."""
        return self.client.voters

    async def statuses(self) -> Mapping[NodeId, StatusData | None]:
        """What each voter of the newest epoch that any of them knows says; None: nothing."""
        while True:
            voters = self.client.voters
            answers = await self.client.status()
            if voters.epoch != self.client.voters.epoch:
                continue
            newest = max((a.voter_epoch for a in answers if a is not None), default=0)
            if newest <= voters.epoch:
                return dict(zip(voters.node_ids, answers, strict=True))
            await self._learn(newest)

    async def _learn(self, epoch: int) -> None:
        client = self.client
        await client.until(lambda: client.voters.epoch >= epoch, LEARN_SECONDS, "the later voters")


def operator_folder(cluster_file: Path) -> Path:
    """The folder of the administrator; raises InvalidRequest."""
    folder = cluster_file.parent
    for each in (folder / ADMIN, folder):
        if (each / CLUSTER_FILE).exists() and load_cluster_file(each).role == Role.ADMIN:
            return each
    raise InvalidRequest(
        f"{folder}: not the folder of an administrator: give --cluster DIR, the folder of a "
        "member that joined with an admin token"
    )


def folder_of(context: click.Context) -> Path:
    """The folder of the administrator of the cluster that the command line names."""
    return operator_folder(find_cluster(context.find_root().params.get("cluster")).path)


@asynccontextmanager
async def control(folder: Path) -> AsyncIterator[ControlPlane]:
    """Connect; raises Unavailable when no voter answers."""
    formation, cluster = load_formation(folder), load_cluster_file(folder)
    file = VoterFile(SYSTEM.disk("real"), cluster.directory, cluster.cluster_id)
    counters = Counters()
    hub = SYSTEM.hub(counters)
    client = TableClient(
        hub,
        load_key_pair(cluster.node_key),
        cluster.node_id,
        file.load() or formed_voters(formation.voter_epoch, formation.voter_members()),
        clock_ns=SYSTEM.now_ns,
        wall_ns=SYSTEM.wall_ns,
        rng=SYSTEM.rng(),
        counters=counters,
        on_voters=file.save,
    )
    try:
        await client.start()
        try:
            await client.wait_settings()
        except Unavailable:
            raise Unavailable(
                "no voter answers; which run, and where? `replicast status`"
            ) from None
        yield ControlPlane(formation, client)
    finally:
        await client.stop()
        hub.close()
