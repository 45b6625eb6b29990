"""What a target does between being told to stop and stopping, so that nobody has to wait for it.

    Raft      while its voter leads: another one is told to take over
    rows      its VDEVs are STOPPING; done when every target that may act has adopted a table in
              which they lead nothing
    chunks    what is on its way is answered, transfers under way end

It goes on serving meanwhile, under its lease: row leaders change under the floor, as in every
planned move, so there is never more than one that acts. What leads Raft goes first, since all that
is known of leases and adoptions dies with a term. The owner gives the lease back and closes.

Bounds: `seconds` in all; a step ends early when nobody is there to hand over to. Nothing depends on
a hand-over: who stops without one is found out when its lease has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from replicast.buggify import buggify
from replicast.errors import ReplicastError
from replicast.flexhash.client import TableClient
from replicast.flexhash.commands import Code
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.raft.shell import RaftShell
from replicast.flexhash.state import STOPPING
from replicast.flexhash.table import Table, VdevState
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.target.service import TargetService
from replicast.wire import control_messages as cm

log = logging.getLogger("replicast.target")

RAFT_SECONDS = 2.0  # two elections
CHUNKS_SECONDS = 3.0
POLL_SECONDS = 0.02
LATE_SECONDS = 0.25  # requests by an older table: on their way, or sent once more after silence


class HandOver:
    """One per stop of a target that has joined."""

    def __init__(
        self,
        node_id: NodeId,
        client: TableClient,
        lease: LeaseHolder,
        service: TargetService,
        raft: RaftShell | None,
        now_ns: Callable[[], int],
        counters: Counters,
    ) -> None:
        self._node_id, self._client, self._lease = node_id, client, lease
        self._service, self._raft, self._now_ns = service, raft, now_ns
        self._counters = counters

    async def run(self, seconds: float) -> None:
        """All steps, as far as they get in that time."""
        if buggify("target/stop-soon"):
            return
        step, handed = "", False
        try:
            async with asyncio.timeout(seconds):
                step = "of the Raft leadership"
                await self._hand_over_raft()
                step = "of the rows"
                handed = await self._hand_over_rows()
                step = "of the transfers"
                if handed:
                    await self._finish_chunks()
        except (TimeoutError, ReplicastError) as error:
            log.warning("stopping before the hand-over %s is done: %s", step, error or "too late")
            self._counters.count("hand_overs", "cut_short")
        else:
            self._counters.count("hand_overs", "done" if handed else "nobody_there")

    # -- Raft ---------------------------------------------------------------------------

    async def _hand_over_raft(self) -> None:
        """Ask again until another voter leads: one that lags behind is not asked."""
        raft = self._raft
        if raft is None or len(raft.node.settings.voters) == 1:
            return
        for _ in range(round(RAFT_SECONDS / POLL_SECONDS)):
            if not raft.node.is_leader:
                return
            raft.node.transfer_leadership(self._now_ns())
            raft.wake()
            await asyncio.sleep(POLL_SECONDS)
        log.warning("no other voter takes over")

    # -- rows ---------------------------------------------------------------------------

    async def _hand_over_rows(self) -> bool:
        """False when there is nobody to take them."""
        table = self._client.table
        if table is None or not self._useful(table):
            return False
        changes = tuple(
            cm.VdevChange(index=index, open_count=table.vdevs[index].open_count, state=STOPPING)
            for index in table.vdevs_of(self._node_id)
            if table.vdevs[index].state == VdevState.UP
        )
        if changes:
            result = await self._client.command(cm.VdevStates(changes=changes))
            if result.code != Code.OK:  # no longer up: nothing is led by them
                log.info("the VDEVs of this target are not up: %s", Code(result.code).name)
        led_until = 0  # the first generation in which nothing is led here

        def handed_over() -> bool:
            nonlocal led_until
            table = self._client.table
            if table is None or not self._useful(table):
                return True
            if not led_until and not self._leads(table):
                led_until = table.generation
            return led_until > 0 and self._lease.floor >= led_until

        await self._client.until(handed_over, None, "a table without rows led here")
        return led_until > 0

    def _leads(self, table: Table) -> bool:
        mine = (table.vdevs[index] for index in table.vdevs_of(self._node_id))
        return any(vdev.state == VdevState.UP for vdev in mine)

    def _useful(self, table: Table) -> bool:
        """Whether we may act, and somebody else can be the next to."""
        others = any(
            vdev.target != self._node_id and vdev.state == VdevState.UP
            for vdev in table.vdevs.values()
        )
        return others and self._lease.valid(self._now_ns())

    # -- chunks -------------------------------------------------------------------------

    async def _finish_chunks(self) -> None:
        """Gateways know by now that these VDEVs take nothing new."""
        await asyncio.sleep(LATE_SECONDS)
        for _ in range(round(CHUNKS_SECONDS / POLL_SECONDS)):
            if not self._service.transfers:
                return
            await asyncio.sleep(POLL_SECONDS)
