"""The boot number of a node with a fixed id: each start's sessions are newer than the last's.

It is the clock's seconds or one more than the number before, whichever is
greater: a clock set back does no harm, and neither does a lost or damaged file.
Gateways need none: their node id is new with each start.
"""

from __future__ import annotations

from pathlib import Path

from replicast.disk import Disk

NUMBER_MAX = 0xFFFFFFFF
NUMBER_BYTES_MAX = 16
NS_PER_SECOND = 1_000_000_000


def next_boot_number(disk: Disk, path: Path, wall_ns: int) -> int:
    """The number of this start, durable in `path` before it is returned. Raises OSError."""
    number = min(max(wall_ns // NS_PER_SECOND, _previous(disk, path) + 1), NUMBER_MAX)
    fresh = path.with_name(path.name + ".new")
    file = disk.open(fresh, create=True)
    try:
        file.truncate(0)
        file.write(0, [f"{number}\n".encode()])
        file.sync()
    finally:
        file.close()
    disk.rename(fresh, path)
    disk.sync_directory(path.parent)
    return number


def _previous(disk: Disk, path: Path) -> int:
    """0 when there is none, or nothing that can be a boot number."""
    if path.name not in disk.list(path.parent):
        return 0
    file = disk.open(path)
    try:
        text = file.read(0, NUMBER_BYTES_MAX).strip()
    finally:
        file.close()
    return int(text) if text.isdigit() and int(text) <= NUMBER_MAX else 0
