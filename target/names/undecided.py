"""What a row's leader has ordered and not yet seen committed: by index, operation and name.

Conditions are checked against everything ordered before, so the newest version of a name
is what the view holds plus what is undecided. Replies wait here for their commit.
Limits: a row's own, and where all rows of a target together have too much, a share for each: one
replica that is up and does not answer, and may not be removed, stops all rows that it has part in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from replicast.machine import Incoming
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry
from replicast.target.names.state import RowState, name_prefix, summary_of
from replicast.wire.name_messages import NO_VERSION, VersionId, VersionSummary
from replicast.wire.row_messages import MARK_DELETED, PUT, REMOVE_VERSION, RowOperation

WAITERS_MAX = 4


@dataclass(slots=True)
class Pending:
    """One undecided entry, and who asked for it (the last few of its retries)."""

    entry: LogEntry
    prefix: bytes  # of its name
    waiters: dict[int, Incoming] = field(default_factory=dict)


class AllRows:
    """`bytes`: of what is undecided in all rows that a target leads."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Undecided:
    """Undecided entries of one row in log order. `inherited_index`: the last one made before
    this leadership; it may be committed and answered already without our knowing."""

    __slots__ = ("_all", "_names", "_operations", "_state", "bytes", "entries", "inherited_index")

    def __init__(self, state: RowState, all_rows: AllRows) -> None:
        self._state, self._all = state, all_rows
        self._operations: dict[bytes, int] = {}
        self._names: dict[bytes, list[int]] = {}
        self.entries: dict[int, Pending] = {}
        self.bytes = 0
        self.inherited_index = 0

    def full(self, limits: NameLimits) -> bool:
        """Are there so many that the row takes no more?"""
        if len(self.entries) >= limits.row_entries_max or self.bytes >= limits.row_bytes_max:
            return True
        return self._all.bytes >= limits.rows_bytes_max and self.bytes >= limits.row_share_bytes

    def add(self, entry: LogEntry) -> Pending:
        """Order one more entry."""
        index, operation = entry.position.index, entry.operation
        prefix = name_prefix(self._state.row, operation.bucket_incarnation, operation.name)
        pending = self.entries[index] = Pending(entry, prefix)
        self._operations[operation.operation_id] = index
        self._names.setdefault(prefix, []).append(index)
        self.bytes += len(entry.data)
        self._all.bytes += len(entry.data)
        return pending

    def decided(self, applied_index: int) -> list[Pending]:
        """Take out what is committed and applied, in order."""
        done: list[Pending] = []
        for index, pending in self.entries.items():
            if index > applied_index:
                break
            done.append(pending)
            operation_id = pending.entry.operation.operation_id
            if self._operations.get(operation_id) == index:
                del self._operations[operation_id]
            indices = self._names[pending.prefix]
            indices.remove(index)
            if not indices:
                del self._names[pending.prefix]
            self.bytes -= len(pending.entry.data)
            self._all.bytes -= len(pending.entry.data)
        for pending in done:
            del self.entries[pending.entry.position.index]
        return done

    def of_operation(self, operation_id: bytes) -> Pending | None:
        """The undecided entry of an operation."""
        index = self._operations.get(operation_id)
        return None if index is None else self.entries[index]

    def inherited(self, prefix: bytes) -> bool:
        """True while an entry of an earlier leadership concerns the name."""
        return any(index <= self.inherited_index for index in self._names.get(prefix, ()))

    def any_inherited(self) -> bool:
        """True while any entry of an earlier leadership is undecided."""
        return bool(self.entries) and next(iter(self.entries)) <= self.inherited_index

    def any_of_bucket(self, incarnation: int) -> bool:
        """True while any entry concerns a name of this bucket."""
        entries = (pending.entry.operation for pending in self.entries.values())
        return any(operation.bucket_incarnation == incarnation for operation in entries)

    def newest(self, prefix: bytes) -> VersionSummary | None:
        """The newest version of a name with all undecided entries applied."""
        removed: set[VersionId] = set()
        if prefix in self._names:
            for operation in self._ordered(prefix):
                if operation.kind in (PUT, MARK_DELETED) and operation.version not in removed:
                    return summary_of(operation)
                removed |= _removed_by(operation)
        if not removed:
            held = self._state.newest(prefix)
            return None if held is None else held.summary
        for version in self._state.versions(prefix, len(removed) + 1):
            if version.summary.version not in removed:
                return version.summary
        return None

    def null(self, prefix: bytes) -> VersionSummary | None:
        """The null version of a name with all undecided entries applied."""
        removed: set[VersionId] = set()
        for operation in self._ordered(prefix):
            added = operation.kind in (PUT, MARK_DELETED) and operation.null
            if added and operation.version not in removed:
                return summary_of(operation)
            removed |= _removed_by(operation)
        held = self._state.null_version(prefix)
        return None if held is None or held.summary.version in removed else held.summary

    def _ordered(self, prefix: bytes) -> Iterable[RowOperation]:
        """Undecided operations on a name, the last first; nearly always none."""
        indices = self._names.get(prefix)
        if indices is None:
            return ()
        return [self.entries[index].entry.operation for index in reversed(indices)]

    def find(self, prefix: bytes, version: VersionId) -> VersionSummary | None:
        """One version of a name with all undecided entries applied."""
        found: VersionSummary | None = None
        held = self._state.version(prefix, version)
        if held is not None:
            found = held.summary
        for index in self._names.get(prefix, ()):
            operation = self.entries[index].entry.operation
            if version in _removed_by(operation):
                found = None
            elif operation.version == version and operation.kind in (PUT, MARK_DELETED):
                found = summary_of(operation)
        return found

    def clear(self) -> list[Pending]:
        """Forget everything (the leadership ended); returns what was undecided."""
        dropped = list(self.entries.values())
        self.entries.clear()
        self._operations.clear()
        self._names.clear()
        self._all.bytes -= self.bytes
        self.bytes = 0
        return dropped


def _removed_by(operation: RowOperation) -> set[VersionId]:
    removed = operation.version if operation.kind == REMOVE_VERSION else operation.superseded
    return {removed} - {NO_VERSION}
