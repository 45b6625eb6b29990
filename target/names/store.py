"""What name rows want from a VDEV's store, and what they hand it to make durable.

Reads are synchronous (memory or page cache). Writes leave as records in an AppendRecords
event; the owner stores them in order and calls NameService.stored(). View changes
are applied in memory at once and reach the disk in the store's checkpoints; the
key `applied` (state.py) is among them, so a checkpoint is always consistent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from replicast.frozen import frozen
from replicast.machine import Event, NodeId
from replicast.target.store.record import (
    RowCut,
    RowEntry,
    RowStaged,
    RowTruncate,
    RowUnstage,
)
from replicast.wire.schema import Message


class View(Protocol):
    """An ordered map of bytes; scan is by key, start <= key < end, at most `limit` pairs; first gives
    the value of the first of them. No checkpoint falls between the changes (None deletes) of one write."""

    def view_get(self, key: bytes) -> bytes | None: ...
    def view_write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None: ...
    def view_scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...
    def view_first(self, start: bytes, end: bytes) -> bytes | None: ...


class RowStore(View, Protocol):
    """One VDEV. `span` is (highest index without a gap behind `after`, highest index): they differ
    after a crash between two appends of which only the second had room. `entry` gives
    (epoch, data), None also for one that cannot be read, whose `entry_epoch` is known. `base` is
    that of the newest CutRecord; `held` lists indices of entries behind `after`."""

    @property
    def open_count(self) -> int: ...
    def rows(self) -> Iterable[int]: ...
    def base(self, row: int) -> bytes | None: ...
    def span(self, row: int, after: int) -> tuple[int, int]: ...
    def held(self, row: int, after: int, limit: int) -> list[int]: ...
    def entry(self, row: int, index: int) -> tuple[int, bytes] | None: ...
    def entry_epoch(self, row: int, index: int) -> int | None: ...
    def names_full(self) -> bool: ...


# The records are the store's own, so that what a row appends goes to its log as it is.
EntryRecord = RowEntry
TruncateRecord = RowTruncate
StagedRecord = RowStaged
UnstageRecord = RowUnstage
CutRecord = RowCut
RowRecord = EntryRecord | TruncateRecord | StagedRecord | UnstageRecord | CutRecord
INDEX_MAX = (1 << 64) - 1


class StoreOutcome(IntEnum):
    """What became of an AppendRecords."""

    STORED = 1  # durable
    AGAIN = 2  # nothing was taken (queue or disk full): it comes again
    FAILED = 3  # the VDEV writes no more


@frozen
class AppendRecords(Event):
    """Make these durable in this order, then call stored(vdev_index, token, outcome, now_ns).
    Leaders keep to the gate for new names themselves, so these pass as what frees space."""

    vdev_index: int
    token: int
    records: tuple[RowRecord, ...]


@frozen
class SendPeer(Event):
    """One message to another target. May be lost; order is not needed. `size_bytes`: about so many.
    `again`: what was said before, and once more the same way, brought no answer."""

    node_id: NodeId
    message: Message
    size_bytes: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class FetchTable(Event):
    """A request or a peer knows a newer table: fetch at least `generation`."""

    generation: int


@dataclass(frozen=True, slots=True)
class RowsChange(Event):
    """One command to Raft: the leading VDEV `by` adds or removes `vdev_index` as replica of `rows`
    (at most ROWS_PER_COMMAND_MAX, so that all of them have the same outcome).

    It must be refused for a row whose names_since is newer than `seen`, and altogether when
    `by` is no longer at `by_open_count`: a leader that restarted has forgotten that it
    submitted an addition, so nothing sent in its earlier life may take effect late.
    `open_count` is the life of the replica that the leader talked to.
    """

    add: bool
    vdev_index: int
    open_count: int
    by: int
    by_open_count: int
    seen: int
    rows: tuple[int, ...]
