"""A thread that makes flushes durable, one at a time. Defines what native/_flush_writer.pyx does too.

Who gives it one does not wait for the disk: the thread writes, syncs, then makes an eventfd
readable. One eventfd may serve many writers.
"""

from __future__ import annotations

import errno
import os
import queue
from threading import Thread

from replicast.file_io import write_synced

Job = tuple[int, int, bytes]  # descriptor, offset, data


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
        if self._thread is None or self._busy:
            raise RuntimeError("stopped, or busy")
        self._busy = True
        self._jobs.put((fd, offset, data))

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
                write_synced(*job)
            except OSError as failed:
                error = failed.errno or errno.EIO
            self._ended.put(error)
            os.eventfd_write(self._notify_fd, 1)
