"""A file system that turns read-only is told from one that fails, on an ext4 that does either."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from loop_disk import LoopDisk

from replicast.disks import RealDisk
from replicast.units import KIB

WRITERS = 4


class Writers:
    """Threads that write and sync until they are refused; `told` is what each was told, by number."""

    def __init__(self, place: Path, data) -> None:
        self.told: list[int] = []
        self._body = data(8 * KIB)
        self._started = threading.Barrier(WRITERS + 1)
        self._threads = [
            threading.Thread(target=self._run, args=(place / f"file{number}",))
            for number in range(WRITERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._started.wait()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, path: Path) -> None:
        file = RealDisk().open(path, create=True)
        file.write(0, [self._body])
        file.sync()
        self._started.wait()
        offset = 0
        while True:
            offset += len(self._body)
            try:
                file.write(offset, [self._body])
                file.sync()
            except OSError as error:
                self.told.append(error.errno or 0)
                return


def test_takes_no_writes__from_the_first_refusal_on(require, tmp_path, data):
    require("loopmount")
    disk = LoopDisk(tmp_path)
    try:
        assert not RealDisk().takes_no_writes(disk.place)
        writers = Writers(disk.place, data)
        writers.start()
        disk.make_read_only()
        writers.join()
        print([errno.errorcode[number] for number in writers.told])
        assert len(writers.told) == WRITERS
        assert set(writers.told) <= {errno.EIO, errno.EROFS}  # which, is a race within the kernel
        assert RealDisk().takes_no_writes(disk.place)
        assert os.listdir(disk.place)
    finally:
        disk.unmount()


def test_takes_no_writes__is_not_said_of_a_disk_that_fails(require, tmp_path):
    require("loopmount")
    disk = LoopDisk(tmp_path)
    try:
        disk.fail_everything()
        assert not RealDisk().takes_no_writes(disk.place)
        assert not RealDisk().takes_no_writes(tmp_path / "nowhere")
    finally:
        disk.unmount()
