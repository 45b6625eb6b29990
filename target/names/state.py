"""The state machine of one row: committed entries in, versions and results out. Pure.

Keys of the view (integers big-endian, so that byte order is row, bucket, name, newest first):

    row u32 | incarnation u64 | name | 00 | inverted version id   -> RowVersion
    row u32 | ff x 8 | 'A'                                        -> RowApplied
    row u32 | ff x 8 | 'R' | operation id                         -> RowOutcome
    row u32 | ff x 8 | 'E' | time u64 | operation id              -> entry index u64: expiry of 'R'
    row u32 | ff x 8 | 'S' | index u64                            -> key of a version: repair work
    row u32 | ff x 8 | 'D' | index u64                            -> empty: an entry of no more use

Every effect, expiry of results included, depends on the entries alone, so replicas that
applied the same entries have the same keys, less the 'D' of what each has cut from its log.
Bodies stay in the log. What a log that was cut lacks is not missed: see base.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from replicast.target.names.base import START, Base
from replicast.target.names.effects import entry_effects, name_prefix
from replicast.target.names.effects_pure import (
    ADDING,
    HEAD,
    META,
    U32_MAX,
    U64_MAX,
    Change,
    mark,
    result,
    summary_of,
    version_added,
    version_key,
    version_suffix,
)
from replicast.target.names.position import ZERO, Position
from replicast.target.names.store import View
from replicast.wire.codec import decode, encode
from replicast.wire.name_messages import NO_VERSION, NameKey, VersionId
from replicast.wire.row_messages import (
    REMOVE_VERSION,
    RESTORED,
    RowApplied,
    RowOperation,
    RowOutcome,
    RowVersion,
)

EXPIRED_PER_ENTRY = 4
NEVER_NS = U64_MAX
Changes = list[Change]

__all__ = ["HEAD", "META", "RowState", "after", "key_prefix", "name_prefix", "summary_of"]


def key_prefix(key: NameKey) -> bytes:
    """name_prefix of a request's key."""
    return name_prefix(key.row, key.bucket_incarnation, key.name)


def after(prefix: bytes) -> bytes:
    """The first key behind all keys that start with a name_prefix (which ends in 00)."""
    return prefix[:-1] + b"\x01"


class RowState:
    """One row's part of a VDEV's view. `applied` and `time_ns` are of the last applied entry, results
    of entries up to `forgotten_index` are forgotten."""

    __slots__ = (
        "_base",
        "_meta",
        "_oldest_ns",
        "_view",
        "applied",
        "forgotten_index",
        "retention_ns",
        "row",
        "time_ns",
    )

    def __init__(self, row: int, view: View, retention_ns: int, base: Base = START) -> None:
        self.row = row
        self.retention_ns = retention_ns
        self._view = view
        self._meta = row.to_bytes(4, "big") + META
        self.applied, self.time_ns = ZERO, 0
        raw = view.view_get(self._meta + b"A")
        if raw is not None:
            known = decode(RowApplied.TYPE, raw)
            assert isinstance(known, RowApplied)
            self.applied = known.position
            self.time_ns = known.time_ns
        self._base = base
        start = self._meta + b"E"
        oldest = view.view_scan(start, self._meta + b"F", 1)
        self.forgotten_index = _index(oldest[0][1]) - 1 if oldest else self.applied.index
        # No result that is remembered is older: most entries need not look for one to forget.
        self._oldest_ns = _time_ns(oldest[0][0]) if oldest else NEVER_NS

    def follow(self, base: Base) -> None:
        """The log has this base from now on."""
        self._base = base

    def apply(self, position: Position, operation: RowOperation) -> None:
        """Apply the entry after `applied`."""
        index, kind, changes = position.index, operation.kind, Changes()
        assert index == self.applied.index + 1, "entries are applied in order"
        if kind in ADDING:
            if operation.superseded != NO_VERSION or operation.short_of_copies:
                self._add(index, operation, changes)
        elif kind == REMOVE_VERSION:
            self._remove(index, operation, changes)
        elif kind == RESTORED:
            self._restored(index, operation, changes)
        else:
            self._of_no_use(index, changes)
        if index > self._base.settled_index:
            changes += entry_effects(self.row, position, operation)
            self._oldest_ns = min(self._oldest_ns, operation.time_ns)
            if operation.time_ns - self.retention_ns > self._oldest_ns:
                self._expire(operation.time_ns, changes)
        else:
            if kind in ADDING:
                changes.append(version_added(self.row, index, operation))
            self._settle(index, operation, changes)
            changes.append(mark(self.row, position, operation.time_ns))
        self._view.view_write(changes)
        self.applied, self.time_ns = position, operation.time_ns

    # Each of these reads the view as it was before the entry, and says what changes. Where a key
    # comes twice, the last counts.

    def _add(self, index: int, operation: RowOperation, changes: Changes) -> None:
        """What comes with the version that is added."""
        if operation.superseded != NO_VERSION:
            self._drop(operation, operation.superseded, changes)
        if operation.short_of_copies:
            key = self._meta + b"S" + index.to_bytes(8, "big")
            changes.append((key, version_key(self.row, operation)))

    def _remove(self, index: int, operation: RowOperation, changes: Changes) -> None:
        self._of_no_use(index, changes)
        self._drop(operation, operation.version, changes)

    def _drop(self, operation: RowOperation, version: VersionId, changes: Changes) -> None:
        """Of the name that the operation is about."""
        prefix = name_prefix(self.row, operation.bucket_incarnation, operation.name)
        held = self.version(prefix, version)
        if held is None:
            return
        changes.append((prefix + version_suffix(version), None))
        self._not_short(held, changes)
        self._of_no_use(held.index, changes)
        if held.restored_index:
            self._of_no_use(held.restored_index, changes)

    def _restored(self, index: int, operation: RowOperation, changes: Changes) -> None:
        prefix = name_prefix(self.row, operation.bucket_incarnation, operation.name)
        held = self.version(prefix, operation.version)
        if held is None or not held.summary.short_chunks:
            self._of_no_use(index, changes)
            return
        self._not_short(held, changes)
        whole = replace(held, restored_index=index, summary=replace(held.summary, short_chunks=0))
        changes.append((prefix + version_suffix(operation.version), encode(whole)))

    def _of_no_use(self, index: int, changes: Changes) -> None:
        changes.append((self._meta + b"D" + index.to_bytes(8, "big"), b""))

    def _not_short(self, held: RowVersion, changes: Changes) -> None:
        if held.summary.short_chunks:
            changes.append((self._meta + b"S" + held.index.to_bytes(8, "big"), None))

    def _expire(self, now_ns: int, changes: Changes) -> None:
        """Forget a few results older than the retention; more than one entry adds, so it keeps up."""
        limit_ns = now_ns - self.retention_ns
        start = self._meta + b"E"
        pairs = self._view.view_scan(start, start + limit_ns.to_bytes(8, "big"), EXPIRED_PER_ENTRY)
        for key, value in pairs:
            self._forget(key, value, changes)
        self._oldest_ns = limit_ns if len(pairs) < EXPIRED_PER_ENTRY else _time_ns(pairs[-1][0])

    def _settle(self, index: int, operation: RowOperation, changes: Changes) -> None:
        """Replayed as the base says: what had been forgotten when the log was cut, no less, no more."""
        limit = self._base.forgotten_index
        if index > limit:
            changes += result(self.row, index, operation)
            self._oldest_ns = min(self._oldest_ns, operation.time_ns)
        start, end = self._meta + b"E", self._meta + b"F"
        while pairs := self._view.view_scan(start, end, EXPIRED_PER_ENTRY):
            for key, value in pairs:
                if _index(value) > limit:
                    return
                self._forget(key, value, changes)
            start = pairs[-1][0] + b"\0"
        if index <= limit:
            self.forgotten_index = index

    def _forget(self, key: bytes, value: bytes, changes: Changes) -> None:
        changes.append((key, None))
        changes.append((self._meta + b"R" + key[-16:], None))
        self.forgotten_index = _index(value)

    # -- what a log need not keep, and a view made of what it kept ----------------------

    def of_no_use(self, up_to_index: int, limit: int) -> list[int]:
        """Entries up to there that no version refers to, in order."""
        start = self._meta + b"D"
        end = start + (up_to_index + 1).to_bytes(8, "big")
        return [_index(key[-8:]) for key, _ in self._view.view_scan(start, end, limit)]

    def is_of_no_use(self, index: int) -> bool:
        """One of these."""
        return self._view.view_get(self._meta + b"D" + index.to_bytes(8, "big")) is not None

    def dropped(self, indices: Iterable[int]) -> None:
        """They are not in the log any more."""
        start = self._meta + b"D"
        self._view.view_write([(start + index.to_bytes(8, "big"), None) for index in indices])

    def refers_to(self, index: int, operation: RowOperation) -> bool:
        """Is there a version that needs this entry?"""
        prefix = name_prefix(self.row, operation.bucket_incarnation, operation.name)
        held = self.version(prefix, operation.version)
        return held is not None and index in (held.index, held.restored_index)

    def clear(self, limit: int) -> bool:
        """Forget up to so many keys, first of all what was applied; True when none is left."""
        row = self._meta[:4]
        end = (self.row + 1).to_bytes(4, "big") if self.row < U32_MAX else b"\xff" * 512
        pairs = self._view.view_scan(row, end, limit)
        self._view.view_write([(self._meta + b"A", None), *((key, None) for key, _ in pairs)])
        self.applied, self.time_ns, self.forgotten_index = ZERO, 0, 0
        return len(pairs) < limit

    def keep(self, index: int, operation: RowOperation) -> None:
        """An entry at or below the base, after those before it."""
        changes = Changes()
        if operation.kind == RESTORED:
            self._restored(index, operation, changes)
        else:
            self._add(index, operation, changes)
            changes.append(version_added(self.row, index, operation))
        self._view.view_write(changes)

    def begin(self, base: Base) -> None:
        """All kept entries are there: go on behind the base."""
        self._base = base
        self._view.view_write([mark(self.row, base.position, base.time_ns)])
        self.applied, self.time_ns = base.position, base.time_ns
        self.forgotten_index = base.index

    # -- questions --------------------------------------------------------------------

    def outcome(self, operation_id: bytes) -> RowOutcome | None:
        """What a committed operation answered, while it is remembered."""
        raw = self._view.view_get(self._meta + b"R" + operation_id)
        found = None if raw is None else decode(RowOutcome.TYPE, raw)
        assert found is None or isinstance(found, RowOutcome)
        return found

    def version(self, prefix: bytes, version: VersionId) -> RowVersion | None:
        """One version of a name, or its newest for NO_VERSION."""
        if version == NO_VERSION:
            return self.newest(prefix)
        raw = self._view.view_get(prefix + version_suffix(version))
        return None if raw is None else _row_version(raw)

    def newest(self, prefix: bytes) -> RowVersion | None:
        """The newest version of a name."""
        raw = self._view.view_first(prefix, after(prefix))
        return None if raw is None else _row_version(raw)

    def null_version(self, prefix: bytes) -> RowVersion | None:
        """The name's null version; where all are of that kind it is the only one."""
        return next((v for v in self.versions(prefix, U32_MAX) if v.summary.null), None)

    def versions(self, prefix: bytes, limit: int) -> Iterator[RowVersion]:
        """Versions of a name, newest first."""
        for _, raw in self._view.view_scan(prefix, after(prefix), limit):
            yield _row_version(raw)

    def short_of_copies(self, limit: int) -> list[tuple[int, bytes]]:
        """Repair's work: (entry index, key of the version), oldest first."""
        start = self._meta + b"S"
        pairs = self._view.view_scan(start, self._meta + b"T", limit)
        return [(_index(key[len(start) :]), value) for key, value in pairs]


def _time_ns(key: bytes) -> int:
    """Of a key below E: the time, then 16 bytes of operation id."""
    return int.from_bytes(key[-24:-16], "big")


def _index(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _row_version(raw: bytes) -> RowVersion:
    found = decode(RowVersion.TYPE, raw)
    assert isinstance(found, RowVersion)
    return found
