"""VDEVs that keep no chunks, for benches that leave the disk out.

All else is done as for a disk: chunks are hashed, laid out as records, flushed in their turn, and entered in the index. Only
the writes that would pass the page cache by, as those of chunks are, have ended as soon as they begin and go
nowhere, and segments are not allocated ahead. So no chunk can be read back. Row records and headers of
segments are small and are written: such a cluster has its files on a tmpfs (tmpfs.py).

A tmpfs alone is not enough. A write there costs more CPU than one past the page cache of a disk: it copies, and each page is new,
which on a virtual machine may be new to its host, too.

The product has no switch for this: `no_disk()` changes replicast.disks and the VDEVs of the process that calls it, and
nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from replicast.disks import DIRECT_ABOVE_BYTES, RealFile
from replicast.target.store import vdev
from replicast.target.store.flush_writer import FlushWriter

Pieces = list[bytes | memoryview]
Write = Callable[[RealFile, int, Pieces], None]


class SmallWriter:
    """A FlushWriter that gives only what is small to a real one."""

    def __init__(self, notify_fd: int) -> None:
        self._small, self._notify_fd = FlushWriter(notify_fd), notify_fd
        self._left_out = False  # what is given at the moment
        self.submit, self.stop = self._small.submit, self._small.stop

    def submit_pieces(self, fd: int, direct_fd: int, offset: int, pieces: Pieces) -> None:
        """Ended at once where the pieces are large."""
        self._left_out = is_large(pieces)
        if self._left_out:
            os.eventfd_write(self._notify_fd, 1)
        else:
            self._small.submit_pieces(fd, direct_fd, offset, pieces)

    def take(self) -> int | None:
        """No error, once, of what was left out."""
        if not self._left_out:
            return self._small.take()
        self._left_out = False
        return 0


def is_large(pieces: Pieces) -> bool:
    """Would they go past the page cache?"""
    return sum(map(len, pieces)) >= DIRECT_ABOVE_BYTES


def _small_only(write: Write) -> Write:
    def small(file: RealFile, offset: int, pieces: Pieces) -> None:
        if not is_large(pieces):
            write(file, offset, pieces)

    return small


@contextmanager
def no_disk() -> Iterator[None]:
    """In this process, until the end of the block."""
    instead: dict[str, Any] = {
        "write": _small_only(RealFile.write),
        "write_synced": _small_only(RealFile.write_synced),
        "allocate": RealFile.truncate,
    }
    with patch.multiple(RealFile, **instead), patch.object(vdev, "FlushWriter", SmallWriter):
        yield
