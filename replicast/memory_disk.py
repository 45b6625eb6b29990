"""A disk in memory for tests and the simulator: it loses, tears, flips, fills up and fails.

Everything is deterministic given the random source handed to power_loss(). What was
not synced is kept or lost per 4 KiB block then, of a torn block any of its 512-byte
sectors survive, and of unsynced directory changes a prefix. Without a random
source all of it is lost. As in Linux, what a failed sync was to write is never
written any more, though read() still shows it: read_device() does not.

`fault` is called before each operation with its name and path and may raise OSError;
`spoil` is given what each read finds and returns what the reader is told.
"""

from __future__ import annotations

import errno
import os
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path

from replicast.buggify import buggify
from replicast.disk import File
from replicast.disks import Lock

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
Fault = Callable[[str, Path], None]
Spoil = Callable[[bytes], bytes]


def no_fault(operation: str, path: Path) -> None:
    """Nothing goes wrong."""


def as_it_is(data: bytes) -> bytes:
    """What was read is what the disk holds."""
    return data


class Content:
    """Bytes of a file: the pieces that were written, in order, none over another, zeros between.

    A piece is the very object that was handed in, so a write costs no copy, however large the
    file is, and what is synced shares it with what is live.
    """

    def __init__(self) -> None:
        self.size = 0
        self._starts: list[int] = []
        self._pieces: list[bytes] = []

    def read(self, offset: int, size: int) -> bytes:
        """From `offset` on, at most to the end."""
        end = min(offset + size, self.size)
        first = max(bisect_right(self._starts, offset) - 1, 0)
        found: list[bytes] = []
        at = offset
        for index in range(first, len(self._starts)):
            start, piece = self._starts[index], self._pieces[index]
            if start >= end:
                break
            if start <= at and start + len(piece) >= end and not found:
                return piece[at - start : end - start]
            if start + len(piece) > at:
                found += [bytes(max(start - at, 0)), piece[max(at - start, 0) : end - start]]
                at = min(start + len(piece), end)
        return b"".join([*found, bytes(max(end - at, 0))])

    def put(self, offset: int, data: bytes | bytearray) -> None:
        """Write, zeros between the end and `offset`."""
        end = offset + len(data)
        self.size = max(self.size, end)
        if self._starts and offset < self._starts[-1] + len(self._pieces[-1]):
            self._clear(offset, end)
        if data:
            index = bisect_right(self._starts, offset)
            self._starts.insert(index, offset)
            self._pieces.insert(index, bytes(data))

    def resize(self, size: int) -> None:
        """Cut off or grow with zeros."""
        self._clear(size, max(size, self.size))
        self.size = size

    def flip_bit(self, offset: int, bit: int) -> None:
        """One bit changes; IndexError behind the end."""
        self.put(offset, bytes([self.read(offset, 1)[0] ^ 1 << bit]))

    def copy(self) -> Content:
        """Another one with the same bytes."""
        made = Content()
        made.size, made._starts, made._pieces = self.size, self._starts[:], self._pieces[:]
        return made

    def whole(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)

    def _clear(self, start: int, end: int) -> None:
        """No piece from `start` to `end`; of one that reaches over a border the rest stays."""
        if start == end:
            return
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_left(self._starts, end)
        kept: list[tuple[int, bytes]] = []
        for at, piece in zip(self._starts[first:last], self._pieces[first:last], strict=True):
            if at < start:
                kept.append((at, piece[: start - at]))
            if at + len(piece) > end:
                kept.append((end, piece[end - at :]))
        self._starts[first:last] = [at for at, _ in kept]
        self._pieces[first:last] = [piece for _, piece in kept]


class Inode:
    """Synced content, live content, and what was done since the sync."""

    def __init__(self) -> None:
        self.durable = Content()
        self.live = Content()
        self.writes: list[tuple[int, bytes | None]] = []  # None: truncated or grown to offset
        self._gave_up = False  # a sync failed: `live` shows what is not on its way to `durable`

    def write(self, offset: int, data: bytes) -> None:
        self.live.put(offset, data)
        self.writes.append((offset, data))

    def resize(self, size: int) -> None:
        self.live.resize(size)
        self.writes.append((size, None))

    def sync(self) -> None:
        if self._gave_up:
            self.durable = self.device()
        else:
            self._write_back(self.durable)
        self.writes.clear()

    def fail_sync(self) -> None:
        """What was to be written counts as written, and is not."""
        self.writes.clear()
        self._gave_up = True

    def read_device(self, offset: int, size: int) -> bytes:
        content = self.device() if self._gave_up else self.live
        return content.read(offset, size)

    def device(self) -> Content:
        """What the disk holds once it has written what is on its way."""
        if not self._gave_up:
            return self.live.copy()
        content = self.durable.copy()
        self._write_back(content)
        return content

    def _write_back(self, content: Content) -> None:
        for offset, data in self.writes:
            if data is None:
                content.resize(offset)
            else:
                content.put(offset, data)

    def lose(self, rng: random.Random | None) -> None:
        """Power was lost: some of what was not synced may have arrived."""
        for offset, data in self.writes if rng is not None else ():
            assert rng is not None
            if data is None:
                if rng.random() < 0.5:
                    self.durable.resize(offset)
                continue
            for at, block in blocks_of(offset, data):
                fate = rng.random()
                if fate < 0.4:
                    self.durable.put(at, block)
                elif fate < 0.5:
                    for within in range(0, len(block), SECTOR_BYTES):
                        if rng.random() < 0.5:
                            self.durable.put(at + within, block[within : within + SECTOR_BYTES])
        self.live = self.durable.copy()
        self.writes.clear()
        self._gave_up = False


def blocks_of(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """`data` cut at block boundaries of the file."""
    at = 0
    while at < len(data):
        count = min(BLOCK_BYTES - (offset + at) % BLOCK_BYTES, len(data) - at)
        yield offset + at, data[at : at + count]
        at += count


class MemoryFile:
    """An open file; fails after a power loss."""

    def __init__(self, disk: MemoryDisk, path: Path, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._boot = disk.boot

    def read(self, offset: int, size: int) -> bytes:
        self._check("read")
        return self._disk.spoil(self._inode.live.read(offset, size))

    def read_cached(self, offset: int, size: int) -> bytes | None:
        if not buggify("store/cached"):
            return None
        data = self.read(offset, size)
        return data if len(data) == size else None

    map_cached = read_cached

    def read_device(self, offset: int, size: int) -> bytes:
        self._check("read")
        return self._disk.spoil(self._inode.read_device(offset, size))

    def write(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        self._check("write")
        data = b"".join(pieces)
        self._disk.need(offset + len(data) - self._inode.live.size)
        self._inode.write(offset, data)

    def sync(self) -> None:
        try:
            self._check("sync")
        except OSError:
            if self._boot == self._disk.boot:
                self._inode.fail_sync()
            raise
        self._inode.sync()

    def write_synced(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        self.write(offset, pieces)
        self.sync()

    def size(self) -> int:
        return self._inode.live.size

    def allocate(self, size: int) -> None:
        self._check("allocate")
        self._disk.need(size - self._inode.live.size)
        if size > self._inode.live.size:
            self._inode.resize(size)

    def truncate(self, size: int) -> None:
        self._check("truncate")
        self._inode.resize(size)

    def close(self) -> None:
        """Nothing to close."""

    def _check(self, operation: str) -> None:
        if self._boot != self._disk.boot:
            raise OSError(errno.EIO, "power was lost")
        self._disk.fault(operation, self._path)


class MemoryLock:
    """Claim of a directory."""

    def __init__(self, held: dict[Path, MemoryLock], directory: Path) -> None:
        self._held = held
        self._directory = directory
        held[directory] = self

    def close(self) -> None:
        if self._held.get(self._directory) is self:
            del self._held[self._directory]


class MemoryDisk:
    """Names and files in memory; see the module header."""

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self.capacity_bytes = capacity_bytes
        self.fault: Fault = no_fault
        self.spoil: Spoil = as_it_is
        self.boot = 0
        self._durable: dict[Path, Inode] = {}
        self._live: dict[Path, Inode] = {}
        self._changes: list[tuple[Path, Path | None, Inode]] = []  # source, target or None
        self._directories: dict[Path, bool] = {}
        self._locks: dict[Path, MemoryLock] = {}

    def open(self, path: Path, *, create: bool = False) -> File:
        self.fault("open", path)
        inode = self._live.get(path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            inode = self._live[path] = Inode()
            self._changes.append((path, path, inode))
        return MemoryFile(self, path, inode)

    def rename(self, source: Path, target: Path) -> None:
        self.fault("rename", source)
        self.open(source)
        inode = self._live[target] = self._live.pop(source)
        self._changes.append((source, target, inode))

    def remove(self, path: Path) -> None:
        self.fault("remove", path)
        self.open(path)
        self._changes.append((path, None, self._live.pop(path)))

    def list(self, directory: Path) -> list[str]:
        names = [path.name for path in self._live if path.parent == directory]
        names += [path.name for path in self._directories if path.parent == directory]
        if not names and directory not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
        return sorted(names)

    def make_directory(self, path: Path) -> None:
        self.fault("make_directory", path)
        self._directories[path] = True

    def sync_directory(self, path: Path) -> None:
        self.fault("sync_directory", path)
        kept = []
        for change in self._changes:
            if change[0].parent == path:
                self._apply(change)
            else:
                kept.append(change)
        self._changes = kept

    def free_bytes(self, path: Path) -> int:
        return max(0, self.capacity_bytes - self.used_bytes())

    def takes_no_writes(self, directory: Path) -> bool:
        try:
            self.fault("write", directory)
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def lock(self, directory: Path) -> Lock:
        if directory not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
        if directory in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked")
        return MemoryLock(self._locks, directory)

    def need(self, more_bytes: int) -> None:
        """Raise ENOSPC when the disk has not so much left."""
        if more_bytes > 0 and more_bytes > self.capacity_bytes - self.used_bytes():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def power_loss(self, rng: random.Random | None = None) -> None:
        """Lose what was not synced; open files fail from here on, locks are released."""
        survivors = rng.randint(0, len(self._changes)) if rng is not None else 0
        for change in self._changes[:survivors]:
            self._apply(change)
        self._changes.clear()
        self._live = dict(self._durable)
        for inode in self._live.values():
            inode.lose(rng)
        self._locks.clear()
        self.boot += 1

    def process_death(self) -> None:
        """Its only process died: locks are released; what was written stays in the page cache."""
        self._locks.clear()

    def used_bytes(self) -> int:
        """Of all files."""
        return sum([inode.live.size for inode in self._live.values()])

    def files(self) -> dict[Path, bytes]:
        """All files as a reader finds them, for whoever wants to harm one."""
        return {path: inode.live.whole() for path, inode in self._live.items()}

    def flip_bit(self, path: Path, offset: int, bit: int = 0) -> None:
        """Rot: one bit of a file changes, synced or not."""
        inode = self._live[path]
        inode.live.flip_bit(offset, bit)
        if offset < inode.durable.size:
            inode.durable.flip_bit(offset, bit)

    def _apply(self, change: tuple[Path, Path | None, Inode]) -> None:
        source, target, inode = change
        if source != target:
            self._durable.pop(source, None)
        if target is not None:
            self._durable[target] = inode
