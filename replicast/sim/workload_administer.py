"""What an administrator asks of the control plane: VDEVs to drain and to take back, and freezes.

Only clients that are administrators do it (Shape.admins). A VDEV that drains is no member of its
rows any more: new chunks and the names go elsewhere, what it has is read from it still. No more are
drained than leave enough hosts for all copies; in the end all are taken back.
"""

from __future__ import annotations

import asyncio
import contextlib

from replicast.errors import Unavailable
from replicast.flexhash.entries import VdevState
from replicast.flexhash.table import Table
from replicast.sim.workloads import Program, Seat, WorkloadPlan
from replicast.units import SECOND
from replicast.wire import control_messages as cm

FREEZE_NS_MAX = 5 * SECOND
FREEZE_CHANCE = 0.2
POLL_SECONDS = 0.5
BEHIND_POLLS = 16  # our table may be behind the cluster's by a freeze, and a little more


class Administer(Program):
    """See the module header."""

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        super().__init__(seat, plan)
        self._asked: dict[int, None] = {}  # VDEVs to be drained, whatever became of it

    async def run(self) -> None:
        if self._number >= self._seat.admins:
            return
        await super().run()
        # Our table need not show yet what we asked for, nor how often a VDEV was opened since.
        for _ in range(BEHIND_POLLS if self._asked else 0):
            await self._change(list(self._asked), VdevState.UP)
            await asyncio.sleep(POLL_SECONDS)

    async def step(self) -> None:
        rng = self._rng
        may, drained = self._may_drain(), self._drained()
        if rng.random() < FREEZE_CHANCE:
            now_ns = self._client._opened.initiator.wall_ns()
            until_ns = now_ns + rng.randrange(FREEZE_NS_MAX)
            await self._command(cm.Freeze(now_wall_ns=now_ns, until_wall_ns=until_ns))
        elif may and (not drained or rng.random() < 0.5):
            index = rng.choice([each for each in may if self._leads(each)] or may)
            self._asked[index] = None
            await self._change([index], VdevState.DRAINING)
        elif drained:
            await self._change([rng.choice(drained)], VdevState.UP)

    @property
    def _table(self) -> Table:
        table = self._client._opened.client.table
        assert table is not None
        return table

    def _leads(self, index: int) -> bool:
        table = self._table
        return any(table.row_leader(row) == index for row in range(table.policy.row_count))

    def _drained(self) -> list[int]:
        vdevs = self._table.vdevs
        return sorted(index for index in vdevs if vdevs[index].state == VdevState.DRAINING)

    def _may_drain(self) -> list[int]:
        """VDEVs without which there are hosts for all copies."""
        table = self._table
        left = [index for index in sorted(table.vdevs) if table.vdevs[index].state == VdevState.UP]
        return [
            index
            for index in left
            if len({table.host_of(other) for other in left if other != index})
            >= table.policy.copies
        ]

    async def _change(self, indexes: list[int], state: VdevState) -> None:
        vdevs = self._table.vdevs
        await self._command(
            cm.VdevStates(
                changes=tuple(
                    cm.VdevChange(index=index, open_count=vdevs[index].open_count, state=state)
                    for index in indexes
                )
            )
        )

    async def _command(self, command: cm.Freeze | cm.VdevStates) -> None:
        self._ledger.world.note(f"c{self._number + 1}", "administers", command=str(command))
        with contextlib.suppress(Unavailable):  # it may happen later: nothing here depends on it
            await self._client._opened.client.command(command)
