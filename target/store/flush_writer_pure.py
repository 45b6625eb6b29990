"""A thread that makes flushes durable, one at a time. Defines what native/_flush_writer.pyx does too.

Who gives it one does not wait for the disk: the thread writes, syncs, then makes an eventfd
readable. One eventfd may serve many writers.
"""

from __future__ import annotations

import errno
import os
import queue
from collections.abc import Callable
from functools import partial
from threading import Thread

from replicast.file_io import write_pieces_synced, write_synced

Job = Callable[[], None]  # writes and syncs


class FlushWriter:
    """submit(), take() and stop() are called by one thread at a time."""

    def __init__(self, notify_fd: int) -> None:
        """Start; `notify_fd` is an eventfd that outlives stop()."""
        self._notify_fd = notify_fd
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._busy = False
        self._thread: Thread | None = Thread(target=self._run, name="vdev-write", daemon=True)
        self._thread.start()

    def submit(self, fd: int, offset: int, data: bytes) -> None:
        """Write `data` at `offset` bytes and make the file's data durable.

        Who submits keeps `fd` open until take(). Raises RuntimeError when the one before was not yet
        taken, or after stop().
        """
        if type(data) is not bytes:
            raise TypeError("bytes are written")
        self._submit(partial(write_synced, fd, offset, data))

    def submit_pieces(
        self, fd: int, direct_fd: int, offset: int, pieces: list[bytes | memoryview]
    ) -> None:
        """submit() by write_pieces_synced(); whose memory the pieces are changes none until take()."""
        self._submit(partial(write_pieces_synced, fd, direct_fd, offset, list(pieces)))

    def _submit(self, job: Job) -> None:
        if self._thread is None or self._busy:
            raise RuntimeError("stopped, or busy")
        self._busy = True
        self._jobs.put(job)

    def take(self) -> int | None:
        """How what was submitted ended, once: 0 or the errno. None when it did not, or there is none."""
        try:
            error = self._ended.get_nowait()
        except queue.Empty:
            return None
        self._busy = False
        return error

    def stop(self) -> None:
        """Wait for what was submitted, and end the thread; take() still says how it ended."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            error = 0
            try:
                job()
            except OSError as failed:
                error = failed.errno or errno.EIO
            del job  # and what it holds: it may be long until the next
            self._ended.put(error)
            os.eventfd_write(self._notify_fd, 1)
