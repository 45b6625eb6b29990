"""The disks behind replicast/disk.py: the operating system, and one that forgets.

`RealDisk` is thin: pread, pwritev, fdatasync. `ForgetfulDisk` keeps every
unsynced byte and every unsynced directory change in this process's memory and
hands them to the file system only when sync() or sync_directory() is called.
So `power_loss()`, and kill -9 of a daemon run on it, lose exactly what no
returned sync covered. Its memory is what one flush holds; it is not for
production. Both are safe to use from several threads for different offsets.

Directories themselves are durable as soon as they are made, on both.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from pathlib import Path
from typing import Any, Protocol

from replicast.disk import Disk, File
from replicast.fast_file_io import map_cached, read_cached, write_pieces_synced, write_synced
from replicast.file_io import (
    BLOCK_BYTES,
    NO_DIRECT,
    aligned_pieces,
    read_direct,
    read_fully,
    write_fully,
)

DIRECT_ABOVE_BYTES = 256 << 10  # smaller writes go through the page cache
STAGED_PREFIX = ".forgetful-"


class Lock(Protocol):
    """Held until close(), or until the process ends."""

    def close(self) -> None: ...


class LockableDisk(Disk, Protocol):
    """A disk on which a directory can be claimed by one opener at a time."""

    def lock(self, directory: Path) -> Lock:
        """Claim `directory`; raises BlockingIOError when somebody else has it."""


class DirectoryLock:
    """flock on a directory: gone with the process, never left behind as a stale file."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealFile:
    """One open file; with `direct`, a second descriptor past the page cache for large writes."""

    def __init__(self, fd: int, *, direct: bool = False) -> None:
        self._fd = fd
        self._direct = direct
        self._direct_fd = -1  # opened by the first large write

    def read(self, offset: int, size: int) -> bytes:
        return read_fully(self._fd, offset, size)

    def read_cached(self, offset: int, size: int) -> bytes | None:
        return read_cached(self._fd, offset, size)

    def map_cached(self, offset: int, size: int) -> Any | None:
        return map_cached(self._fd, offset, size)

    def read_device(self, offset: int, size: int) -> bytes:
        start = offset // BLOCK_BYTES * BLOCK_BYTES
        end = -(-(offset + size) // BLOCK_BYTES) * BLOCK_BYTES
        try:
            return read_direct(self._fd, start, end - start)[offset - start :][:size]
        except OSError as error:
            if error.errno not in NO_DIRECT:
                raise
        # Second best; the whole file, since a range spares the pages (and larger folios)
        # that straddle its ends.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return self.read(offset, size)

    def write(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        try:
            self._write(offset, pieces)
        except OSError as error:
            _raise_as_read_only(error)
            raise

    def _write(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        direct_fd = self.direct_fileno(offset, sum(map(len, pieces)))
        if direct_fd < 0:
            write_fully(self._fd, offset, pieces)
            return
        try:
            write_fully(direct_fd, offset, aligned_pieces(pieces))
        except OSError as error:
            if error.errno not in NO_DIRECT:
                raise
            self._direct = False  # its blocks are larger
            write_fully(self._fd, offset, pieces)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def write_synced(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        size = sum(map(len, pieces))
        try:
            if len(pieces) == 1 and size < DIRECT_ABOVE_BYTES:
                write_synced(self._fd, offset, pieces[0])
            else:
                direct_fd = self.direct_fileno(offset, size)
                write_pieces_synced(self._fd, direct_fd, offset, pieces)
        except OSError as error:
            _raise_as_read_only(error)
            raise

    def fileno(self) -> int:
        """For who writes and syncs by himself; open as long as this is kept."""
        return self._fd

    def direct_fileno(self, offset: int, size: int) -> int:
        """Another for what goes past the page cache, as large writes of whole blocks do; -1: this does not."""
        whole = offset % BLOCK_BYTES == size % BLOCK_BYTES == 0
        if not (self._direct and whole and size >= DIRECT_ABOVE_BYTES):
            return -1
        if self._direct_fd < 0:
            flags = os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC
            try:
                self._direct_fd = os.open(f"/proc/self/fd/{self._fd}", flags)
            except OSError as error:
                if error.errno not in NO_DIRECT:
                    raise
                self._direct = False  # not on this file system
        return self._direct_fd

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def allocate(self, size: int) -> None:
        if size > 0:
            os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct_fd = -1

    def __del__(self) -> None:
        # A reader may still use a file that its owner dropped: the last reference closes.
        self.close()


def _raise_as_read_only(error: OSError) -> None:
    if error.errno == errno.EBADF:
        raise failed_write(errno.EBADF) from error


def failed_write(number: int) -> OSError:
    """What RealFile raises for this errno of a write: EROFS for a file opened for reading only."""
    if number == errno.EBADF:  # open_fd() could not do better
        number = errno.EROFS
    return OSError(number, os.strerror(number))


def open_fd(path: Path, *, create: bool) -> int:
    """Read-write, or read-only where the file system has become so."""
    flags = os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        return os.open(path, flags | os.O_RDWR, 0o600)
    except OSError as error:
        if create or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return os.open(path, flags | os.O_RDONLY)


def file_system(path: Path) -> tuple[bytes, int]:
    """(id, free bytes) of the file system that `path` lies on. The id is equal for all processes
    of a machine until its next boot, and no other machine's; (zeros, 0) when it cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        device, figures = os.stat(path).st_dev, os.statvfs(path)
    except OSError:
        return bytes(16), 0
    identity = hashlib.blake2b(boot + device.to_bytes(8, "little"), digest_size=16).digest()
    return identity, figures.f_bavail * figures.f_frsize


def make_directory(path: Path) -> None:
    """`path` and what is missing above it, each entry durable before this returns."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class RealDisk:
    """The operating system's file system.

    With `direct`, large block-aligned writes go past the page cache (where the file
    system can): a tenth of the CPU per byte, measured; reads are cached all the same.
    """

    def __init__(self, *, direct: bool = True) -> None:
        self._direct = direct

    def open(self, path: Path, *, create: bool = False) -> File:
        return RealFile(open_fd(path, create=create), direct=self._direct)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        os.remove(path)

    def list(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))

    def make_directory(self, path: Path) -> None:
        make_directory(path)

    def sync_directory(self, path: Path) -> None:
        sync_directory(path)

    def free_bytes(self, path: Path) -> int:
        figures = os.statvfs(path)
        return figures.f_bavail * figures.f_frsize

    def takes_no_writes(self, directory: Path) -> bool:
        # By trying: the flags of statvfs do not tell of an ext4 that stopped after an error.
        try:
            os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def lock(self, directory: Path) -> Lock:
        return DirectoryLock(directory)


class ForgetfulFile:
    """A file whose unsynced blocks live in memory; shared by all who open its path."""

    def __init__(self, fd: int) -> None:
        self._real = RealFile(fd)
        self._lock = threading.Lock()
        self._blocks: dict[int, bytearray] = {}
        self._size = self._kept = self._real.size()  # behind _kept the file's bytes are void
        self._allocated = 0
        self._lost = False

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._check()
            size = max(0, min(size, self._size - offset))
            data = bytearray(self._read_real(offset, size))
            for block in range(offset // BLOCK_BYTES, -(-(offset + size) // BLOCK_BYTES)):
                if block in self._blocks:
                    start = max(offset, block * BLOCK_BYTES)
                    end = min(offset + size, (block + 1) * BLOCK_BYTES)
                    at = start - block * BLOCK_BYTES
                    data[start - offset : end - offset] = self._blocks[block][at : at + end - start]
            return bytes(data)

    def read_cached(self, offset: int, size: int) -> bytes | None:
        return None

    map_cached = read_cached

    def read_device(self, offset: int, size: int) -> bytes:
        return self.read(offset, size)

    def write(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        with self._lock:
            self._check()
            for piece in pieces:
                self._write_piece(offset, memoryview(piece).cast("B"))
                offset += len(piece)

    def sync(self) -> None:
        with self._lock:
            self._check()
            if self._kept < self._real.size():
                self._real.truncate(self._kept)
            if self._allocated > self._real.size():
                self._real.allocate(self._allocated)
            for block, data in sorted(self._blocks.items()):
                self._real.write(block * BLOCK_BYTES, [bytes(data)])
            if self._real.size() != self._size:
                self._real.truncate(self._size)
            self._real.sync()
            self._kept = self._size
            self._blocks.clear()
            self._allocated = 0

    def write_synced(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        self.write(offset, pieces)
        self.sync()

    def size(self) -> int:
        return self._size

    def allocate(self, size: int) -> None:
        with self._lock:
            self._check()
            self._allocated = max(self._allocated, size)
            self._size = max(self._size, size)

    def truncate(self, size: int) -> None:
        with self._lock:
            self._check()
            self._blocks = {b: d for b, d in self._blocks.items() if b * BLOCK_BYTES < size}
            self._kept = min(self._kept, size)
            last = self._blocks.get(size // BLOCK_BYTES)
            if last is not None:
                last[size % BLOCK_BYTES :] = bytes(BLOCK_BYTES - size % BLOCK_BYTES)
            self._size = size
            self._allocated = min(self._allocated, size)

    def close(self) -> None:
        """Nothing: close() makes nothing durable, and others may share the file."""

    def forget(self) -> None:
        """Lose what is unsynced; every further use fails as on a disk that is gone."""
        with self._lock:
            self._lost = True
            self._blocks.clear()

    def _write_piece(self, offset: int, piece: memoryview) -> None:
        at = 0
        while at < len(piece):
            block, within = divmod(offset + at, BLOCK_BYTES)
            count = min(BLOCK_BYTES - within, len(piece) - at)
            if block not in self._blocks:
                self._blocks[block] = bytearray(self._read_real(block * BLOCK_BYTES, BLOCK_BYTES))
            self._blocks[block][within : within + count] = piece[at : at + count]
            at += count
        self._size = max(self._size, offset + len(piece))

    def _read_real(self, offset: int, size: int) -> bytes:
        valid = max(0, min(size, self._kept - offset))
        return self._real.read(offset, valid).ljust(size, b"\0")

    def _check(self) -> None:
        if self._lost:
            raise OSError(errno.EIO, "power was lost")


class ForgetfulDisk:
    """A file system that loses, at power_loss() or kill -9, all that was not synced."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._live: dict[Path, ForgetfulFile | None] = {}  # None: removed, not yet durably
        self._changes: dict[Path, list[tuple[Path, Path | None]]] = {}
        self._locks: list[DirectoryLock] = []
        self._staged_count = 0

    def open(self, path: Path, *, create: bool = False) -> File:
        with self._mutex:
            found = self._live.get(path)
            if found is None and (path in self._live or not path.exists()):
                if not create:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
                found = self._create(path)
            elif found is None:
                found = ForgetfulFile(open_fd(path, create=False))
            self._live[path] = found
            return found

    def rename(self, source: Path, target: Path) -> None:
        file = self.open(source)
        with self._mutex:
            assert isinstance(file, ForgetfulFile)
            self._live[target], self._live[source] = file, None
            self._change(source, target)

    def remove(self, path: Path) -> None:
        self.open(path)
        with self._mutex:
            self._live[path] = None
            self._change(path, None)

    def list(self, directory: Path) -> list[str]:
        with self._mutex:
            names = dict.fromkeys(os.listdir(directory), True)
            for path, file in self._live.items():
                if path.parent == directory:
                    names[path.name] = file is not None
            return sorted(
                n for n, here in names.items() if here and not n.startswith(STAGED_PREFIX)
            )

    def make_directory(self, path: Path) -> None:
        make_directory(path)

    def sync_directory(self, path: Path) -> None:
        with self._mutex:
            for source, target in self._changes.pop(path, []):
                if target is None:
                    os.remove(source)
                else:
                    os.rename(source, target)
            sync_directory(path)

    def free_bytes(self, path: Path) -> int:
        return RealDisk().free_bytes(path)

    def takes_no_writes(self, directory: Path) -> bool:
        return RealDisk().takes_no_writes(directory)

    def lock(self, directory: Path) -> Lock:
        lock = DirectoryLock(directory)
        self._locks.append(lock)
        return lock

    def power_loss(self) -> None:
        """Forget all that is unsynced; open files fail from here on, locks are released."""
        with self._mutex:
            for file in self._live.values():
                if file is not None:
                    file.forget()
            for changes in self._changes.values():
                for source, _ in changes:
                    if source.name.startswith(STAGED_PREFIX):
                        with contextlib.suppress(FileNotFoundError):
                            os.remove(source)
            self._live.clear()
            self._changes.clear()
            for lock in self._locks:
                lock.close()
            self._locks.clear()

    def _create(self, path: Path) -> ForgetfulFile:
        # Born under a name that list() hides; its real name appears with the directory's sync.
        self._staged_count += 1
        staged = path.parent / f"{STAGED_PREFIX}{os.getpid()}-{id(self)}-{self._staged_count}"
        file = ForgetfulFile(open_fd(staged, create=True))
        self._change(staged, path)
        return file

    def _change(self, source: Path, target: Path | None) -> None:
        self._changes.setdefault(source.parent, []).append((source, target))


def disk_named(name: str) -> LockableDisk:
    """The disk of a daemon's setting: "real" or "forgetful"."""
    if name not in ("real", "forgetful"):
        raise ValueError(f"disk {name!r}: must be real or forgetful")
    return RealDisk() if name == "real" else ForgetfulDisk()
