"""Row messages of other targets, item by item, to whom they concern here.

From a leader: the replica hears it and answers, and a leadership of ours that it outdates ends. From
a replica: the leadership of its row hears it. Who speaks must own the VDEV that it speaks for.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from replicast.flexhash.table import Table
from replicast.machine import NodeId
from replicast.target.names import base as bases
from replicast.target.names.context import RowContext
from replicast.target.names.give import Giver
from replicast.target.names.heal import Healer
from replicast.target.names.leader import Leadership
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica
from replicast.wire.row_messages import (
    ACCEPTED,
    INSTALLING,
    STALE,
    AppendItem,
    AskEntryItem,
    FetchedItem,
    FetchItem,
    GiveEntryItem,
    InstallItem,
    QueryItem,
    StatusItem,
)

Answer = StatusItem | FetchedItem | InstallItem


class Peers:
    """One per target; `end` gives a leadership up, `touched` hears of replicas that changed."""

    def __init__(
        self,
        context: RowContext,
        outbox: Outbox,
        healer: Healer,
        vdevs: Container[int],
        leaders: Mapping[int, Leadership],
        replica: Callable[[int, int], RowReplica],
        end: Callable[[int], None],
        touched: Callable[[RowReplica], None],
    ) -> None:
        self._context, self._outbox, self._healer = context, outbox, healer
        self._vdevs, self._leaders, self._replica = vdevs, leaders, replica
        self._end, self._touched = end, touched
        self._giver = Giver(context.limits, healer)

    def on_item(self, item: Any, sender: NodeId, now_ns: int) -> bool:
        """One item of a message that `sender` has sent. False: nothing follows from it."""
        kind = type(item)
        if kind is AppendItem:  # these two are nearly all
            speaker, hearer, from_leader = item.leader, item.replica, True
        elif kind is StatusItem:
            speaker, hearer, from_leader = item.replica, item.leader, False
        elif kind is AskEntryItem or kind is GiveEntryItem:
            self._healer.on_item(item, sender)
            return True
        else:
            speaker, hearer, from_leader = self._between(item)
        table = self._context.table
        news = table is None or item.epoch > table.generation
        if news:
            self._outbox.fetch_table(item.epoch)
        if table is None or item.row >= table.policy.row_count:
            return news
        if hearer not in self._vdevs:
            return news
        if self._context.nodes.get(speaker) != sender:
            self._context.counters.count("row_entries_refused", "sender")
            return news
        if from_leader:
            self._from_leader(item, sender, self._replica(item.row, hearer), table)
            return True
        lead = self._leaders.get(item.row)
        if lead is None or lead.vdev_index != hearer:
            return news
        if kind is StatusItem:
            if not lead.on_status(item, now_ns):
                return news or item.outcome == STALE  # then a newer table may be wanted
        elif kind is InstallItem:
            lead.on_piece(item, now_ns)
        else:
            lead.on_fetched(item, now_ns)
        self._touched(lead.replica)
        return True

    def _between(self, item: Any) -> tuple[int, int, bool]:
        """(VDEV that speaks, VDEV that hears, does the leader speak?) of what comes seldom."""
        if isinstance(item, InstallItem):
            lead = self._leaders.get(item.row)
            tenure = item.taker, item.epoch, item.tenure
            asked = lead and (lead.vdev_index, lead.epoch, lead.tenure) == tenure
            return item.giver, item.taker, not asked
        if isinstance(item, (QueryItem, FetchItem)):
            return item.leader, item.replica, True
        return item.replica, item.leader, False

    def _from_leader(self, item: Any, sender: NodeId, replica: RowReplica, table: Table) -> None:
        floor = table.leader_since(item.row)
        answer: Answer | None
        if isinstance(item, AppendItem):
            answer = replica.on_append(item, floor)
        elif isinstance(item, QueryItem):
            answer = replica.on_query(item, floor)
        elif isinstance(item, InstallItem):
            answer = replica.on_install(item, floor)
        else:
            answer = self._fetched(item, replica)
        lead = self._leaders.get(item.row)
        outdated = lead is not None and replica.promised > (lead.epoch, lead.tenure)
        if lead is not None and outdated and lead.replica is replica:
            self._end(item.row)
        if answer is not None:
            if isinstance(answer, StatusItem) and answer.outcome not in (ACCEPTED, INSTALLING):
                why = "stale" if answer.outcome == STALE else "mismatch"
                self._context.counters.count("row_entries_refused", why)
            self._outbox.item(sender, answer)
        self._touched(replica)

    def _fetched(self, item: FetchItem, replica: RowReplica) -> FetchedItem | InstallItem | None:
        if (item.epoch, item.tenure) != replica.promised or replica.takes_no_entries:
            return None
        base = replica.log.base
        if item.install or item.after_index < base.index:
            going_on = item.install and bases.from_wire(item.base) == base
            return self._install(item, replica, item.after_index if going_on else 0)
        answer = replica.fetched(item)
        if answer is not None and not answer.entries:
            self._healer.want_applied(replica, item.after_index + 1)
        return answer

    def _install(self, item: FetchItem, replica: RowReplica, after: int) -> InstallItem | None:
        piece = self._giver.piece(replica, after)
        if piece is None:
            return None
        return InstallItem(
            row=item.row,
            giver=item.replica,
            taker=item.leader,
            epoch=item.epoch,
            tenure=item.tenure,
            open_count=0,  # who asked knows that it did
            base=bases.to_wire(replica.log.base),
            after_index=after,
            done=piece[1],
            entries=piece[0],
        )
