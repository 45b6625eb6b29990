"""Mode and time of change of a file, as user metadata of its object: `put -r` keeps them, `get` restores.

`mode`: permission bits in octal ("0644"). `mtime`: seconds since 1970 with nine decimals, as rclone
writes it. Set-user-id, set-group-id and sticky bits are neither kept nor restored; values that other
programs wrote under these keys in another form are left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import BinaryIO

from replicast.units import SECOND

MODE, MTIME = "mode", "mtime"
PERMISSIONS = 0o777
_MODE = re.compile(r"0?[0-7]{3}")
_MTIME = re.compile(r"(-?)([0-9]{1,10})(?:\.([0-9]{1,9}))?")


def attributes_of(state: os.stat_result) -> dict[str, str]:
    """The metadata of a file's state."""
    sign = "-" if state.st_mtime_ns < 0 else ""
    seconds, fraction_ns = divmod(abs(state.st_mtime_ns), SECOND)
    return {
        MODE: f"{state.st_mode & PERMISSIONS:04o}",
        MTIME: f"{sign}{seconds}.{fraction_ns:09d}",
    }


def mode_in(metadata: Mapping[str, str]) -> int | None:
    """Permission bits; None: none that can be read."""
    text = metadata.get(MODE, "")
    return int(text, 8) if _MODE.fullmatch(text) else None


def mtime_ns_in(metadata: Mapping[str, str]) -> int | None:
    """Time of change, ns since the Unix epoch; None: none that can be read."""
    found = _MTIME.fullmatch(metadata.get(MTIME, ""))
    if found is None:
        return None
    sign, seconds, fraction = found.groups()
    time_ns = int(seconds) * SECOND + int((fraction or "").ljust(9, "0"))
    return -time_ns if sign else time_ns


def restore(file: BinaryIO, metadata: Mapping[str, str], default_mode: int) -> None:
    """Give a file that is written its mode and time; call it when all has been written."""
    file.flush()
    mode, time_ns = mode_in(metadata), mtime_ns_in(metadata)
    os.fchmod(file.fileno(), default_mode if mode is None else mode)
    if time_ns is not None:
        os.utime(file.fileno(), ns=(time_ns, time_ns))
