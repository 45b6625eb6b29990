"""Everything that leaves the rows of a target, gathered until the owner's wake-up ends.

One message per peer process and kind carries the items of all rows; one AppendRecords
per VDEV carries all records; one RowsChange per VDEV carries all rows (as many as one command
may: so it has one outcome). What is meant for a VDEV
of this very target comes back through take_local().
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from replicast.buggify import buggified, buggify
from replicast.machine import Event, Incoming, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.target.names.store import AppendRecords, FetchTable, RowsChange, SendPeer
from replicast.units import MS
from replicast.wire.chunk_messages import Refused
from replicast.wire.control_messages import ROWS_PER_COMMAND_MAX
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import (
    AppendItem,
    AskEntryItem,
    FetchedItem,
    FetchItem,
    GiveEntryItem,
    InstallItem,
    QueryItem,
    RowAppend,
    RowAskEntry,
    RowFetch,
    RowFetched,
    RowGiveEntry,
    RowInstall,
    RowQuery,
    RowStatus,
    StatusItem,
)
from replicast.wire.schema import Message

Item = (
    AppendItem
    | StatusItem
    | QueryItem
    | FetchItem
    | FetchedItem
    | AskEntryItem
    | GiveEntryItem
    | InstallItem
)
WITH_ENTRIES = frozenset((AppendItem, FetchedItem, GiveEntryItem, InstallItem))
ITEM_BYTES, ENTRY_BYTES = 96, 24  # without data
FETCH_AGAIN_NS = 200 * MS
ITEMS_PER_MESSAGE_MAX = 8192

MESSAGE_OF: dict[type[Any], type[Any]] = {  # all row messages, by what they list
    AppendItem: RowAppend,
    StatusItem: RowStatus,
    QueryItem: RowQuery,
    FetchItem: RowFetch,
    FetchedItem: RowFetched,
    AskEntryItem: RowAskEntry,
    GiveEntryItem: RowGiveEntry,
    InstallItem: RowInstall,
}
ChangeKey = tuple[bool, int, int, int, int, int]


class Outbox:
    """`generation` goes into the header of every reply."""

    def __init__(self, node_id: NodeId, message_bytes_max: int, counters: Counters) -> None:
        self.generation = 0
        self._node_id = node_id
        self._bytes_max = message_bytes_max
        self._counters = counters
        self.items: dict[tuple[NodeId, type[Any], bool], list[Item]] = {}
        self._replies: list[Outgoing] = []
        self._events: list[Event] = []
        self._changes: dict[ChangeKey, dict[int, None]] = {}
        self._fetch_generation = 0
        self._asked = (0, 0)  # generation last asked for, and when

    def item(self, node_id: NodeId | None, item: Item, *, again: bool = False) -> None:
        """One item for a peer; a VDEV without owner hears nothing. `again`: see SendPeer."""
        if node_id is not None:
            self.items.setdefault((node_id, type(item), again), []).append(item)

    def reply(self, to: Incoming, message: Message) -> None:
        """Answer a request."""
        self._replies.append(Outgoing(message, to.sender, to.operation_id, self.generation))

    def refuse(
        self, to: Incoming, reason: Reason, *, retry_after_ns: int = 0, detail: str = ""
    ) -> None:
        """A typed refusal, counted."""
        self._counters.count("refusals", reason.name.lower())
        refused = Refused(
            reason=reason,
            current_generation=self.generation,
            vdevs=(),
            retry_after_ns=retry_after_ns,
            detail=detail,
        )
        self.reply(to, refused)

    def change(self, key: ChangeKey, row: int) -> None:
        """Ask Raft: key is (add, vdev_index, open_count, by, by_open_count, seen)."""
        self._changes.setdefault(key, {})[row] = None

    def fetch_table(self, generation: int) -> None:
        """A newer table is known to exist."""
        self._fetch_generation = max(self._fetch_generation, generation)

    def event(self, event: Event) -> None:
        """Anything else."""
        self._events.append(event)

    def take_local(self) -> list[Message]:
        """Pack what waits; returns the messages of this target to itself."""
        local: list[Message] = []
        for (node_id, kind, again), items in self.items.items():
            size_bytes = _size_bytes(kind, items)
            if len(items) == 1 or self._fits(len(items), size_bytes):  # nearly always
                batches: Iterable[tuple[list[Item], int]] = ((items, size_bytes),)
            else:
                batches = self._batches(kind, items)
            for batch, batch_bytes in batches:
                message = MESSAGE_OF[kind](items=tuple(batch))
                if node_id == self._node_id:
                    local.append(message)
                else:
                    self._events.append(SendPeer(node_id, message, batch_bytes, again))
        self.items.clear()
        return local

    def take_outgoing(self) -> list[Outgoing]:
        """Replies."""
        replies, self._replies = self._replies, []
        return replies

    def take_events(self, now_ns: int, records: Iterable[AppendRecords] = ()) -> list[Event]:
        """Peer messages, these records, row changes, wanted tables."""
        self._events.extend(records)
        if self._changes:
            self._take_changes()
        if self._fetch_generation:
            self._take_fetch(now_ns)
        events, self._events = self._events, []
        return events

    def _take_changes(self) -> None:
        for key, rows in self._changes.items():
            every = tuple(rows)
            for start in range(0, len(every), ROWS_PER_COMMAND_MAX):
                part = every[start : start + ROWS_PER_COMMAND_MAX]
                if not buggify("names/change-lost"):
                    self._events.append(RowsChange(*key, part))
        self._changes.clear()

    def _take_fetch(self, now_ns: int) -> None:
        wanted, self._fetch_generation = self._fetch_generation, 0
        if wanted > self._asked[0] or now_ns >= self._asked[1] + FETCH_AGAIN_NS:
            self._asked = (wanted, now_ns)
            self._events.append(FetchTable(wanted))

    def _fits(self, count: int, size_bytes: int) -> bool:
        count_max = buggified("names/one-item", ITEMS_PER_MESSAGE_MAX, 1)
        return size_bytes <= self._bytes_max and count <= count_max

    def _batches(self, kind: type[Any], items: list[Item]) -> Iterator[tuple[list[Item], int]]:
        """At least one item each, and how many bytes that makes."""
        batch: list[Item] = []
        size_bytes = 0
        for item in items:
            item_bytes = _size_bytes(kind, (item,))
            if batch and not self._fits(len(batch) + 1, size_bytes + item_bytes):
                yield batch, size_bytes
                batch, size_bytes = [], 0
            batch.append(item)
            size_bytes += item_bytes
        yield batch, size_bytes


def _size_bytes(kind: type[Any], items: Sequence[Any]) -> int:
    """About so many in a message."""
    size_bytes = ITEM_BYTES * len(items)
    if kind in WITH_ENTRIES:
        for item in items:
            for entry in item.entries:
                size_bytes += len(entry.data) + ENTRY_BYTES
    return size_bytes
