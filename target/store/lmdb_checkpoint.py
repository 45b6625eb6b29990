"""The checkpoint of a VDEV on disk: LMDB, always fully synced (never NOSYNC, never WRITEMAP).

Without sync LMDB reuses freed pages before its meta page is durable and then
answers wrongly without an error; so each commit is a synced transaction, and
commits are made rarely (a few seconds or MiB of changes) off the event loop.
Reads share one transaction that begins with each commit: nothing else changes what they see, and
the pages of the last commit are kept for it by LMDB anyway.

LMDB takes keys up to 511 bytes, names are longer: a key above LONG_KEY_BYTES is
kept as its first LONG_KEY_BYTES, a zero and a hash of the rest, the rest standing
in the value. Keys that share such a prefix are sorted when a scan meets them.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import lmdb

from replicast.target.store.overlay import (
    Changes,
    CheckpointBroken,
    CheckpointFull,
    CheckpointTooSmall,
    Page,
    Pair,
)

MAP_BYTES = 1 << 30  # address space, not disk; doubled when a commit does not fit
MAP_BYTES_MAX = 1 << 44
LONG_KEY_BYTES = 440
BROKEN = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
FULL = (errno.ENOSPC, errno.EDQUOT)


class LmdbCheckpoint:
    """One LMDB environment in its own directory; reads from any thread, one at a time, which may go
    on during a commit.

    With `read_only` nothing in the directory is written, locks neither, and commit() fails.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        """Raises CheckpointBroken for content that is not LMDB's, else OSError."""
        if not read_only:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._env = lmdb.open(
                str(directory),
                map_size=MAP_BYTES,
                sync=True,
                metasync=True,
                max_readers=64,
                readonly=read_only,
                lock=not read_only,
            )
            self._committed = self._env.begin()
            self._committed.get(b"m")
        except BROKEN as error:
            raise CheckpointBroken(f"{directory}: {error}") from error
        except lmdb.Error as error:
            raise _os_error(error, directory) from error

    def get(self, key: bytes) -> bytes | None:
        long = len(key) > LONG_KEY_BYTES
        try:
            value: bytes | None = self._committed.get(_stored_key(key) if long else key)
        except lmdb.Error as error:
            raise _os_error(error) from error
        return _unpack_long(value)[1] if long and value is not None else value

    def scan(self, start: bytes, end: bytes, limit: int) -> Page:
        try:
            return self._scan(start, end, limit)
        except lmdb.Error as error:
            raise _os_error(error) from error

    def first(self, start: bytes, end: bytes) -> Pair | None:
        """One look into the tree, unless long keys have to be sorted."""
        try:
            with self._committed.cursor() as cursor:
                if not cursor.set_range(start[:LONG_KEY_BYTES]):
                    return None
                key, value = cursor.item()
        except lmdb.Error as error:
            raise _os_error(error) from error
        if len(start) <= LONG_KEY_BYTES and len(key) <= LONG_KEY_BYTES:
            return (key, value) if key < end else None
        return next(iter(self.scan(start, end, 1)), None)

    def _scan(self, start: bytes, end: bytes, limit: int) -> Page:
        page: Page = []
        with self._committed.cursor() as cursor:
            for key, value in _in_order(cursor, start):
                if key >= end or len(page) >= limit:
                    break
                if key >= start:
                    page.append((key, value))
        return page

    def commit(self, changes: Changes) -> None:
        try:
            self._commit(changes)
            self._committed = self._env.begin()
        except lmdb.MapFullError as error:
            raise CheckpointTooSmall("the index needs a larger map") from error
        except lmdb.Error as error:
            if error.code in FULL:
                raise CheckpointFull(str(error)) from error
            raise _os_error(error) from error

    def grow(self) -> None:
        size = 2 * self._env.info()["map_size"]
        if size > MAP_BYTES_MAX:
            raise CheckpointFull("the index has no more address space")
        self._committed.abort()  # the map moves under no transaction
        try:
            self._env.set_mapsize(size)
        except lmdb.Error as error:
            raise CheckpointFull(f"the map cannot grow to {size} bytes: {error}") from error
        finally:
            self._committed = self._env.begin()

    def size_bytes(self) -> int:
        return self._env.stat()["psize"] * (self._env.info()["last_pgno"] + 1)

    def close(self) -> None:
        self._env.close()

    def _commit(self, changes: Changes) -> None:
        with self._env.begin(write=True) as transaction:
            for key in sorted(changes):
                value = changes[key]
                stored = _stored_key(key)
                if value is None:
                    transaction.delete(stored)
                elif len(key) <= LONG_KEY_BYTES:
                    transaction.put(stored, value)
                else:
                    transaction.put(stored, _pack_long(key, value))


def _os_error(error: lmdb.Error, where: Path | str = "index") -> OSError:
    """`code` is the system's, or below 0 one of LMDB's own."""
    return OSError(error.code if error.code > 0 else errno.EIO, f"{where}: {error}")


def _stored_key(key: bytes) -> bytes:
    if len(key) <= LONG_KEY_BYTES:
        return key
    rest = hashlib.sha256(key[LONG_KEY_BYTES:]).digest()
    return key[:LONG_KEY_BYTES] + b"\0" + rest


def _pack_long(key: bytes, value: bytes) -> bytes:
    rest = key[LONG_KEY_BYTES:]
    return len(rest).to_bytes(2, "little") + rest + value


def _unpack_long(stored: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(stored[:2], "little")
    return stored[2:end], stored[end:]


def _in_order(cursor: lmdb.Cursor, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Whole keys with their values, ascending, from the group of `start` on."""
    if not cursor.set_range(start[:LONG_KEY_BYTES]):
        return
    prefix = b""
    group: Page = []
    for found in cursor:
        key, value = bytes(found[0]), bytes(found[1])
        if len(key) > LONG_KEY_BYTES:
            if key[:LONG_KEY_BYTES] != prefix:
                yield from sorted(group)
                prefix, group = key[:LONG_KEY_BYTES], []
            rest, whole = _unpack_long(value)
            group.append((prefix + rest, whole))
            continue
        yield from sorted(group)
        group = []
        yield key, value
    yield from sorted(group)
