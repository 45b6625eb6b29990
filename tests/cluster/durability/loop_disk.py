"""A disk that fails in every way that can be had without special hardware.

What happens to it is what kernels do to disks: ext4 remounts itself read-only after an error that
it is told of, and fails every read and write after a forced shutdown.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

from replicast.units import MIB

DISK_BYTES = 256 * MIB
SHUTDOWN_IOCTL, NO_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN: all input and output fails from now


class LoopDisk:
    """An ext4 in a file, mounted at `place`."""

    def __init__(self, folder: Path) -> None:
        self._image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", self._image)
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop,errors=remount-ro", self._image, self.place)

    def unmount(self) -> None:
        if os.path.ismount(self.place):
            run("umount", self.place)

    def mount_again(self) -> None:
        """Another disk with what was durable on this one, in a file of its own: whoever has made a mount
        namespace meanwhile (`ip netns exec` does) holds this one as it is, and to mount the same file
        again would be to get that."""
        subprocess.run(["sync", "-f", self.place], capture_output=True, check=False)
        self.unmount()
        another = self._image.with_name("another")
        run("cp", "--sparse=always", self._image, another)
        another.replace(self._image)
        self.mount()

    def make_read_only(self) -> None:
        """As after an error in a structure on disk: `mount -o remount,ro` refuses open files."""
        Path(f"/sys/fs/ext4/{self._device()}/trigger_fs_error").write_text("a test\n")

    def fail_everything(self) -> None:
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN_IOCTL, struct.pack("I", NO_FLUSH))
        finally:
            os.close(folder)

    def fill(self, size_bytes: int = 0) -> None:
        """Somebody else's file takes so much space, or all that is left."""
        figures = os.statvfs(self.place)
        with open(self.place / "ballast", "wb") as file:
            left_bytes = figures.f_bavail * figures.f_frsize
            os.posix_fallocate(file.fileno(), 0, size_bytes or left_bytes)

    def empty(self) -> None:
        (self.place / "ballast").unlink()

    def sync(self) -> None:
        """What was moved or removed on it stays so, whatever fails next."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _device(self) -> str:
        return f"loop{os.minor(os.stat(self.place).st_dev)}"


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, (command, done.stderr)
