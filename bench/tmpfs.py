"""Where clusters without a disk (no_disk.py) have what they write nevertheless: a tmpfs, with room for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from replicast.units import MIB

SHM = Path("/dev/shm")
NEEDED_BYTES = 256 * MIB  # two clusters' indexes, row records and logs


def lacking(folder: Path) -> str:
    """Why no clusters without a disk can be on the tmpfs there; empty when they can."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    if [str(folder.resolve()), "tmpfs"] not in mounts:
        return f"{folder} is no tmpfs"
    free = min(shutil.disk_usage(folder).free, _available_bytes())
    if free < NEEDED_BYTES:
        return f"{folder} has {free // MIB} MiB free, and {NEEDED_BYTES // MIB} are wanted"
    return ""


def _available_bytes() -> int:
    """Of the machine's memory."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
