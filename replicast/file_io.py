"""Bytes at an offset of a file descriptor, all of them: past short reads and writes, and by O_DIRECT.

O_DIRECT takes whole blocks in page-aligned memory; `aligned_pieces` makes such of any
pieces and copies only what does not lie right already.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from typing import Any

import numpy as np

BLOCK_BYTES = 4096
COPY_BELOW_BYTES = 16 << 10  # cheaper to copy than to look at
SCRATCH_BYTES_MIN = 256 << 10
MAP_FROM_BYTES = 256 << 10  # less is copied faster than mapped
PIECES_MAX = 1000  # the kernel takes 1024 in one call
NO_DIRECT = (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP)  # not here, or its blocks are larger


def read_fully(fd: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes at `offset`; shorter only at the end of the file."""
    data = os.pread(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size:
        data = os.pread(fd, size - got, offset + got)
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def read_cached(fd: int, offset: int, size: int) -> bytes | None:
    """Exactly `size` bytes at `offset` if the page cache has them all, else None: nothing waits for the
    device. None also where the file system cannot tell."""
    data = bytearray(size)
    try:
        got = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return None
        raise
    return bytes(data) if got == size else None


def map_cached(fd: int, offset: int, size: int) -> Any | None:
    """As read_cached(), for who only hands the bytes to the kernel. The native twin need not copy them:
    it may give the pages of the page cache, where what happens to the file is seen.

    Should the system want their memory meanwhile they are read again when they are used: a system call
    waits for that, and gets EFAULT where the device fails (whoever reads them by himself: SIGBUS).
    """
    return read_cached(fd, offset, size)


def read_direct(fd: int, offset: int, size: int) -> bytes:
    """read_fully() of whole blocks past the page cache; OSError of NO_DIRECT where that cannot be."""
    direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        memory, got = SCRATCH.take(size)[:size], 0
        while got < size:
            count = os.preadv(direct, [memory[got:]], offset + got)
            got += count
            if count == 0 or count % BLOCK_BYTES:
                break  # the end of the file
        return bytes(memory[:got])
    finally:
        os.close(direct)


def write_fully(fd: int, offset: int, pieces: list[bytes | memoryview]) -> None:
    """All pieces, one behind the other from `offset`; short writes are carried on."""
    for start in range(0, len(pieces), PIECES_MAX):
        batch: list[bytes | memoryview] = pieces[start : start + PIECES_MAX]
        while batch:
            written = os.pwritev(fd, batch, offset)
            if written == 0 and any(len(piece) for piece in batch):
                raise OSError(errno.EIO, "wrote nothing")
            offset += written
            batch = _rest(batch, written)


def write_pieces_synced(
    fd: int, direct_fd: int, offset: int, pieces: list[bytes | memoryview]
) -> None:
    """Write the pieces and make the file's data durable; whole blocks past the page cache, by the
    descriptor with O_DIRECT, unless that is -1 or the file system refuses."""
    try:
        if direct_fd < 0:
            write_fully(fd, offset, pieces)
        else:
            write_fully(direct_fd, offset, aligned_pieces(pieces))
    except OSError as error:
        if direct_fd < 0 or error.errno not in NO_DIRECT:
            raise
        write_fully(fd, offset, pieces)
    os.fdatasync(fd)


def write_synced(fd: int, offset: int, piece: bytes | memoryview) -> None:
    """Write a piece, past short writes, and make the file's data durable."""
    write_fully(fd, offset, [piece])
    os.fdatasync(fd)


def _rest(pieces: list[bytes | memoryview], written: int) -> list[bytes | memoryview]:
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []


class Scratch(threading.local):
    """Page-aligned memory of a thread, for pieces that the device cannot take as they are."""

    memory = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """At least `size` bytes, aligned; valid until the next take()."""
        if len(self.memory) < size:
            self.memory = memoryview(mmap.mmap(-1, max(size, SCRATCH_BYTES_MIN)))
        return self.memory


SCRATCH = Scratch()


def aligned_pieces(pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """The same bytes as pieces that O_DIRECT takes; large aligned ones are not copied.

    Their sum must be whole blocks, and large pieces must begin at whole blocks.
    """
    plan: list[tuple[memoryview, bool]] = []  # piece, to be used as it is
    at = 0
    for piece in pieces:
        view = memoryview(piece).cast("B")
        whole = len(view) // BLOCK_BYTES * BLOCK_BYTES
        as_is = whole >= COPY_BELOW_BYTES and at % BLOCK_BYTES == 0 and is_aligned(view)
        at += len(view)
        if as_is:
            plan.append((view[:whole], True))
            view = view[whole:]
        if len(view):
            plan.append((view, False))
    return _copy_ragged(plan)


def is_aligned(view: memoryview) -> bool:
    """Does the memory begin at a whole block?"""
    return int(np.frombuffer(view, np.uint8).ctypes.data) % BLOCK_BYTES == 0


def _copy_ragged(plan: list[tuple[memoryview, bool]]) -> list[bytes | memoryview]:
    scratch = SCRATCH.take(sum(len(view) for view, as_is in plan if not as_is))
    result: list[bytes | memoryview] = []
    start = end = 0
    for view, as_is in plan:
        if as_is:
            result += [scratch[start:end]] if end > start else []
            result.append(view)
            start = end
        else:
            scratch[end : end + len(view)] = view
            end += len(view)
    return [*result, scratch[start:end]] if end > start else result
