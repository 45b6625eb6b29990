"""Where clusters that wait for no disk have their files: a tmpfs, with room for them.

A tmpfs waits for no disk, but takes CPU for its pages and a copy into them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from replicast.units import MIB

SHM = Path("/dev/shm")
# Segments of all VDEVs that are not full yet: allocated ahead, which on a tmpfs takes all their pages.
PREALLOCATED_BYTES = 8 * 64 * MIB


def needed_bytes(put_mib: int, copies: int) -> int:
    """Of one cluster to which so much is put."""
    return copies * put_mib * MIB + PREALLOCATED_BYTES


def lacking(folder: Path, wanted_bytes: int) -> str:
    """Why no clusters of that size can be on the tmpfs there; empty when they can."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    if [str(folder.resolve()), "tmpfs"] not in mounts:
        return f"{folder} is no tmpfs"
    free = min(shutil.disk_usage(folder).free, _available_bytes())
    if free < 2 * wanted_bytes:  # the rest of the machine shall not be pressed
        return f"{folder} has {free // MIB} MiB free, and {2 * wanted_bytes // MIB} are wanted"
    return ""


def _available_bytes() -> int:
    """Of the machine's memory."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
