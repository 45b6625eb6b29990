"""The disk as shells see it: the one seam through which durable bytes go.

`RealDisk` is the operating system. `ForgetfulDisk` behaves the same until
`power_loss()`: then everything not covered by a returned sync is gone, which
is how tests (and REPLICAST_DISK=forgetful daemons) lose power. The simulator
brings its own. All paths are absolute; all calls raise OSError as the
operating system does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class File(Protocol):
    """An open file; offsets in bytes. write() may be followed by loss until sync() returned.

    read() may be answered from a cache; read_device() tells what the device holds. After
    a sync that failed the two differ: the cache goes on showing what was never written.
    """

    def read(self, offset: int, size: int) -> bytes: ...

    def read_cached(self, offset: int, size: int) -> bytes | None:
        """Exactly these bytes if they are in memory, so that nothing waits for the device; else None."""

    def map_cached(self, offset: int, size: int) -> Any | None:
        """As read_cached(), for who only hands the bytes to the kernel: perhaps they are not copied, and
        go with the last reference (file_io.map_cached)."""

    def read_device(self, offset: int, size: int) -> bytes: ...
    def write(self, offset: int, pieces: list[bytes | memoryview]) -> None: ...
    def sync(self) -> None: ...

    def write_synced(self, offset: int, pieces: list[bytes | memoryview]) -> None:
        """write() and sync() in one; how much was written when it fails is not known."""

    def size(self) -> int: ...
    def allocate(self, size: int) -> None: ...
    def truncate(self, size: int) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """Names and files. create/rename/remove are durable only after sync_directory() returned."""

    def open(self, path: Path, *, create: bool = False) -> File: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def list(self, directory: Path) -> list[str]: ...
    def make_directory(self, path: Path) -> None: ...
    def sync_directory(self, path: Path) -> None: ...
    def free_bytes(self, path: Path) -> int: ...

    def takes_no_writes(self, directory: Path) -> bool:
        """Is the file system read-only by now? False also when that cannot be told; raises nothing."""
