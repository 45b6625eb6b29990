"""What name rows want from a VDEV's store, and what they hand it to make durable.

Reads are synchronous (memory or page cache). Writes leave as records in an AppendRecords
event; the owner stores them in order and calls NameService.stored(). View changes
are applied in memory at once and reach the disk in the store's checkpoints; the
key `applied` (state.py) is among them, so a checkpoint is always consistent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from replicast.machine import Event, NodeId
from replicast.wire.schema import Message


class View(Protocol):
    """An ordered map of bytes; scan is by key, start <= key < end, at most `limit` pairs."""

    def view_get(self, key: bytes) -> bytes | None: ...
    def view_put(self, key: bytes, value: bytes) -> None: ...
    def view_delete(self, key: bytes) -> None: ...
    def view_scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...


class RowStore(View, Protocol):
    """One VDEV. `last_entry` is the highest index without a gap from 1 on (0: no entries)."""

    @property
    def open_count(self) -> int: ...
    def rows(self) -> Iterable[int]: ...
    def last_entry(self, row: int) -> int: ...
    def entry(self, row: int, index: int) -> tuple[int, bytes] | None: ...
    def names_full(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """One log entry to append."""

    row: int
    epoch: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TruncateRecord:
    """Entries from `from_index` on are void."""

    row: int
    from_index: int


RowRecord = EntryRecord | TruncateRecord


@dataclass(frozen=True, slots=True)
class AppendRecords(Event):
    """Make these durable in this order, then call stored(vdev_index, token, ok, now_ns)."""

    vdev_index: int
    token: int
    records: tuple[RowRecord, ...]


@dataclass(frozen=True, slots=True)
class SendPeer(Event):
    """One message to the peer channel of a target. May be lost; order is not needed."""

    node_id: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class FetchTable(Event):
    """A request or a peer knows a newer table: fetch at least `generation`."""

    generation: int


@dataclass(frozen=True, slots=True)
class RowsChange(Event):
    """Command to Raft: the leading VDEV `by` adds or removes `vdev_index` as replica of `rows`.

    It must be refused for a row whose names_since is newer than `seen`, and altogether when
    `by` is no longer at `by_open_count`: a leader that restarted has forgotten that it
    submitted an addition, so nothing sent in its earlier life may take effect late.
    """

    add: bool
    vdev_index: int
    by: int
    by_open_count: int
    seen: int
    rows: tuple[int, ...]
