"""One ordered key/value space: changes in memory over the last synced checkpoint.

Keys begin with one byte for what they hold (index.py). A checkpoint takes all
changes so far in one durable transaction: freeze() at a moment when they belong
together, then commit() from the one thread that commits, without holding up readers.
Those see the changes, then what is being committed, then the checkpoint. Whoever
changes several keys that belong together holds `lock`; single calls take it themselves.

What the checkpoint has not got is remembered: a chunk that is put is asked for several times
before it is there, and a checkpoint on disk takes longest to find nothing.
Invariant: a key in `_absent` is not in the checkpoint. Only commit() changes that, of which it is
made anew before readers look past what was committed; changes in memory are looked at first.

Limits: the owner commits before the changes grow large; `change_count` and
`change_bytes` tell. ABSENT_MAX keys are remembered as absent.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable
from typing import Protocol

CHANGES_BYTES_MAX = 256 << 20  # in memory while commits fail; then the owner stops writing

ABSENT_MAX = 1024
INSERTS_MAX = 64  # about where sorting again becomes cheaper than inserting
KEY_BYTES = 100  # what an entry costs in memory beside its key and value, about
# What is looked at together, by first byte of a key (index.py): all of its kind; the entries of a row;
# of a view, the versions of a row's bucket, or what else the row has there (names/state.py).
GROUP_BYTES = [1] * 256
GROUP_BYTES[ord("i")] = GROUP_BYTES[ord("r")] = GROUP_BYTES[ord("s")] = 5
GROUP_BYTES[ord("v")] = 13

Changes = dict[bytes, bytes | None]  # None: deleted
Change = tuple[bytes, bytes | None]
Pair = tuple[bytes, bytes]
Page = list[Pair]


class CheckpointFull(Exception):
    """No room for the transaction; nothing of it was kept."""


class CheckpointTooSmall(CheckpointFull):
    """It needs grow() first."""


class CheckpointBroken(Exception):
    """The checkpoint cannot be opened or read: rebuild it from the log."""


class Checkpoint(Protocol):
    """What was committed, and only that, survives; commit() returns after the sync."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, start: bytes, end: bytes, limit: int) -> Page: ...
    def first(self, start: bytes, end: bytes) -> Pair | None: ...
    def commit(self, changes: Changes) -> None: ...
    def grow(self) -> None: ...
    def size_bytes(self) -> int: ...
    def close(self) -> None: ...


class MemoryCheckpoint:
    """For tests and the simulator: keep the object over a crash, that is what was synced."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def scan(self, start: bytes, end: bytes, limit: int) -> Page:
        first = bisect.bisect_left(self._keys, start)
        last = min(bisect.bisect_left(self._keys, end), first + limit)
        return [(key, self._values[key]) for key in self._keys[first:last]]

    def first(self, start: bytes, end: bytes) -> Pair | None:
        return next(iter(self.scan(start, end, 1)), None)

    def commit(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._keys = sorted(self._values)

    def grow(self) -> None:
        """Grows by itself."""

    def size_bytes(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing to close."""


def group_of(key: bytes) -> bytes:
    """The first part of a key. Of two keys the lower one has the lower part, or the same."""
    return key[: GROUP_BYTES[key[0]]] if key else key


class Run:
    """The keys of one group, put in order when they are asked for."""

    __slots__ = ("_keys", "fresh")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self.fresh: list[bytes] = []  # not yet in order

    def keys(self) -> list[bytes]:
        """All, in order."""
        if len(self.fresh) > INSERTS_MAX:
            self._keys += self.fresh
            self._keys.sort()  # one long run and a short one: nearly linear
            self.fresh = []
        elif self.fresh:  # a name operation scans after a few puts: no walk over all keys for each
            for key in self.fresh:
                bisect.insort(self._keys, key)
            self.fresh = []
        return self._keys


class Layer:
    """Changes not yet committed. The keys of a group are put in order when a scan asks for it: nobody
    does for most of what followers write before it is committed."""

    def __init__(self) -> None:
        self.changes: Changes = {}
        self.bytes = 0
        self._fresh: list[bytes] = []  # in no run yet
        self._runs: dict[bytes, Run] = {}  # by group
        self._groups: list[bytes] = []  # in order

    def write(self, prefix: bytes, changes: Iterable[Change]) -> None:
        held, size = self.changes, 0
        for rest, value in changes:
            key = prefix + rest
            if key not in held:
                self._fresh.append(key)
                size += len(key) + KEY_BYTES
            if value is not None:
                size += len(value)
            held[key] = value
        self.bytes += size

    def keys_between(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        found: list[bytes] = []
        for run in self._runs_between(start, end):
            keys = run.keys()
            first = bisect.bisect_left(keys, start)
            last = min(bisect.bisect_left(keys, end, first), first + limit - len(found))
            found += keys[first:last]
            if len(found) == limit:
                break
        return found

    def first_key(self, start: bytes, end: bytes) -> bytes | None:
        for run in self._runs_between(start, end):
            keys = run.keys()
            at = bisect.bisect_left(keys, start)
            if at < len(keys):
                return keys[at] if keys[at] < end else None
        return None

    def _runs_between(self, start: bytes, end: bytes) -> list[Run]:
        """Those that such keys may be in."""
        if self._fresh:
            self._sort_out()
        group, last = group_of(start), group_of(end)
        if group == last:  # as for one name
            run = self._runs.get(group)
            return [] if run is None else [run]
        first = bisect.bisect_left(self._groups, group)
        groups = self._groups[first : bisect.bisect_right(self._groups, last, first)]
        return [self._runs[group] for group in groups]

    def _sort_out(self) -> None:
        runs = self._runs
        for key in self._fresh:
            group = key[: GROUP_BYTES[key[0]]]
            if group not in runs:
                runs[group] = Run()
                bisect.insort(self._groups, group)
            runs[group].fresh.append(key)
        self._fresh = []


class Overlay:
    """get, put, delete, scan, first over a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.lock = threading.RLock()
        self._checkpoint = checkpoint
        self._active = Layer()
        self._frozen = Layer()
        self._absent: set[bytes] = set()

    @property
    def change_count(self) -> int:
        """Keys changed since the last freeze."""
        return len(self._active.changes)

    @property
    def change_bytes(self) -> int:
        """About what all uncommitted changes hold in memory."""
        return self._active.bytes + self._frozen.bytes

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        with self.lock:
            if key in self._active.changes:
                return self._active.changes[key]
            if key in self._frozen.changes:
                return self._frozen.changes[key]
            if key in self._absent:
                return None
            value = self._checkpoint.get(key)
            if value is None:
                if len(self._absent) >= ABSENT_MAX:
                    self._absent.clear()
                self._absent.add(key)
            return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set a key."""
        with self.lock:
            self._active.write(b"", ((key, value),))

    def write(self, prefix: bytes, changes: Iterable[Change]) -> None:
        """Several changes, all together for freeze(); `prefix` comes before each key."""
        with self.lock:
            self._active.write(prefix, changes)

    def delete(self, key: bytes) -> None:
        """Remove a key; nothing happens when it is not there."""
        with self.lock:
            self._active.write(b"", ((key, None),))

    def scan(self, start: bytes, end: bytes, limit: int) -> Page:
        """Up to `limit` pairs with start <= key < end, in byte order."""
        found: Page = []
        with self.lock:
            while len(found) < limit and start < end:
                page, start = self._scan_page(start, end, limit)
                found += page
        return found[:limit]

    def first(self, start: bytes, end: bytes) -> Pair | None:
        """The one that scan() finds first, for less: this is how the newest version is looked up."""
        with self.lock:
            found = self._checkpoint.first(start, end)
            upper = end if found is None else found[0] + b"\0"
            for layer in (self._frozen, self._active):  # each hides what is below it
                key = layer.first_key(start, upper) if layer.changes else None
                if key is not None:
                    value, upper = layer.changes[key], key + b"\0"
                    found = None if value is None else (key, value)
            if found is None and upper != end:  # deleted: what comes behind it?
                return next(iter(self.scan(upper, end, 1)), None)
            return found

    def freeze(self) -> int:
        """Set all changes aside for commit(), which must follow; how many there are."""
        with self.lock:
            self._frozen, self._active = self._active, Layer()
            return len(self._frozen.changes)

    def commit(self) -> None:
        """Make what was frozen durable; when that fails it stays in memory, and raises.

        Raises CheckpointFull or OSError.
        """
        committed = False
        try:
            self._commit_frozen()
            committed = True
        finally:
            self._thaw(committed)

    def size_bytes(self) -> int:
        """Disk space of the checkpoint."""
        with self.lock:
            return self._checkpoint.size_bytes()

    def close(self) -> None:
        """Close the checkpoint; changes not committed are in the log."""
        with self.lock:
            self._checkpoint.close()

    def _commit_frozen(self) -> None:
        while True:
            try:
                return self._checkpoint.commit(self._frozen.changes)
            except CheckpointTooSmall:
                with self.lock:  # no reader may be inside while the map moves
                    self._checkpoint.grow()

    def _thaw(self, committed: bool) -> None:
        with self.lock:
            if not committed:
                merged = Layer()
                for layer in (self._frozen, self._active):
                    merged.write(b"", layer.changes.items())
                self._active = merged
            self._frozen = Layer()
            self._absent.clear()

    def _scan_page(self, start: bytes, end: bytes, limit: int) -> tuple[Page, bytes]:
        """Pairs from `start` on and where to go on; ends early rather than reading twice."""
        base = self._checkpoint.scan(start, end, limit)
        upper = base[-1][0] + b"\0" if len(base) == limit else end
        slices = []
        for layer in (self._frozen, self._active):
            keys = layer.keys_between(start, upper, limit)
            if len(keys) == limit:
                upper = min(upper, keys[-1] + b"\0")
            slices.append((layer, keys))
        merged: Changes = dict(base)
        for layer, keys in slices:
            for key in keys:
                merged[key] = layer.changes[key]
        page = [(k, v) for k in sorted(merged) if k < upper and (v := merged[k]) is not None]
        return page, upper
