"""The setting of a bucket that commands name and the state machine keeps."""

from __future__ import annotations

from enum import IntEnum


class Versioning(IntEnum):
    """Whether a put leaves the version before (ENABLED), or takes the place of the null version: the
    only one there is (OFF), or one beside those that were kept earlier (SUSPENDED)."""

    OFF = 0
    ENABLED = 1
    SUSPENDED = 2
