"""Entries that cannot be read any more come back from another replica of their row.

    replica                                    another in-sync replica
      | -- ROW_ASK_ENTRY row, index ----------> |  applied there? then it is the same entry
      | <-- ROW_GIVE_ENTRY entry -------------- |  none: the next replica is asked

NameService drives it: want() when a read failed, step() in each wake-up, on_item() for both
messages. What comes back has to be the version that the view knows (id, operation, hash of
the body), where one is read; it is kept in memory at once and appended to the VDEV's log anew.
Limits: WANTED_MAX entries at a time, each asked for TRIES_MAX times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicast.machine import NodeId
from replicast.target.names.context import RowContext
from replicast.target.names.log import LogEntry, read_entry
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica
from replicast.wire.codec import WireError
from replicast.wire.name_messages import VersionSummary
from replicast.wire.row_messages import AskEntryItem, GiveEntryItem

WANTED_MAX = 256
TRIES_MAX = 20

FindReplica = Callable[[int, int], RowReplica | None]


@dataclass(slots=True)
class _Wanted:
    replica: RowReplica
    summary: VersionSummary | None
    tries: int = 0
    due_ns: int = 0


class Healer:
    """See the module header; `touched` hears of replicas that have records to store. `wanted` is read
    at every wake-up: mostly there is nothing."""

    def __init__(
        self,
        context: RowContext,
        outbox: Outbox,
        find: FindReplica,
        touched: Callable[[RowReplica], None],
    ) -> None:
        self._context, self._outbox = context, outbox
        self._find, self._touched = find, touched
        self.wanted: dict[tuple[int, int, int], _Wanted] = {}  # row, VDEV, index

    def want(self, replica: RowReplica, index: int, summary: VersionSummary | None) -> None:
        """Entry `index` cannot be read; `summary` is what is known of it."""
        key = (replica.row, replica.vdev_index, index)
        if key not in self.wanted and len(self.wanted) < WANTED_MAX:
            self._context.counters.count("row_entries_unreadable")
            self.wanted[key] = _Wanted(replica, summary)

    def want_applied(self, replica: RowReplica, index: int) -> None:
        """Entry `index` was not to be had: when it is applied, it cannot be read."""
        if index <= replica.state.applied.index:
            self.want(replica, index, None)

    def forget(self, vdev_index: int) -> None:
        """The VDEV is gone."""
        self.wanted = {k: w for k, w in self.wanted.items() if k[1] != vdev_index}

    def step(self, now_ns: int) -> None:
        """Ask what is due."""
        for key, wanted in list(self.wanted.items()):
            if wanted.due_ns > now_ns:
                continue
            others = self._others(*key[:2])
            if wanted.tries >= TRIES_MAX or not others:
                del self.wanted[key]
                continue
            replica = others[wanted.tries % len(others)]
            wanted.tries += 1
            wanted.due_ns = now_ns + self._context.limits.resend_ns
            row, asker, index = key
            item = AskEntryItem(row=row, asker=asker, replica=replica, index=index)
            self._outbox.item(self._context.node_of(replica), item)

    def deadline_ns(self) -> int | None:
        """When step() has something to do."""
        if not self.wanted:
            return None
        return min(wanted.due_ns for wanted in self.wanted.values())

    def on_item(self, item: AskEntryItem | GiveEntryItem, sender: NodeId) -> None:
        """A question or an answer of a peer."""
        asked = isinstance(item, AskEntryItem)
        speaker, hearer = (item.asker, item.replica) if asked else (item.replica, item.asker)
        if self._context.table is None or self._context.node_of(speaker) != sender:
            self._context.counters.count("row_entries_refused", "sender")
            return
        known = item.row < self._context.table.policy.row_count
        replica = self._find(item.row, hearer) if known else None
        if replica is None:
            return
        if isinstance(item, AskEntryItem):
            self._give(item, replica)
        else:
            self._take(item)

    def _others(self, row: int, vdev_index: int) -> list[int]:
        if self._context.table is None:
            return []
        replicas = self._context.name_replicas(row)
        return [v for v in replicas if v != vdev_index and self._context.is_up(v)]

    def _give(self, item: AskEntryItem, replica: RowReplica) -> None:
        applied = 1 <= item.index <= replica.state.applied.index
        entry = replica.log.get(item.index) if applied else None
        answer = GiveEntryItem(
            row=item.row,
            asker=item.asker,
            replica=item.replica,
            index=item.index,
            entries=() if entry is None else (entry.wire(),),
        )
        self._outbox.item(self._context.node_of(item.asker), answer)

    def _take(self, item: GiveEntryItem) -> None:
        key = (item.row, item.asker, item.index)
        wanted = self.wanted.get(key)
        if wanted is None:
            return
        entry = _entry_of(item)
        if entry is None or not _is_version(entry, wanted.summary):
            wanted.due_ns = 0  # the next replica
            return
        del self.wanted[key]
        if not wanted.replica.restore(entry):
            return
        self._context.counters.count("row_entries_restored")
        self._touched(wanted.replica)


def _entry_of(item: GiveEntryItem) -> LogEntry | None:
    for wire in item.entries:
        if wire.index == item.index:
            try:
                return read_entry(wire.epoch, wire.index, wire.data)
            except WireError:
                return None
    return None


def _is_version(entry: LogEntry, summary: VersionSummary | None) -> bool:
    if summary is None:
        return True
    operation = entry.operation
    found = (operation.version, operation.operation_id, operation.body_hash)
    return found == (summary.version, summary.operation_id, summary.body_hash)
