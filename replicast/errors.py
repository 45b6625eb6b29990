"""What an operation can end with, by what the caller does about it.

Each carries a sentence for people (what failed, what to do next) and, where a
protocol refusal caused it, that reason's name in `reason`.
"""

from __future__ import annotations


class ReplicastError(Exception):
    """Base of all. `reason` is a stable word for programs, metrics and JSON."""

    reason = "ERROR"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class NotFound(ReplicastError):
    """The bucket, name or version does not exist. Nothing to retry."""

    reason = "NOT_FOUND"


class ConditionFailed(ReplicastError):
    """The condition of a conditional operation did not hold: read again, decide anew."""

    reason = "CONDITION_FAILED"


class Conflict(ReplicastError):
    """The bucket exists already, is not empty, or is being deleted."""

    reason = "CONFLICT"


class InvalidRequest(ReplicastError):
    """A name, range, size or setting that can never work: change the request."""

    reason = "INVALID_REQUEST"


class Unavailable(ReplicastError):
    """Not now: too few members are up, or nobody answered in time. Retry later.

    `uncertain`: a write was on its way; it may have taken effect, or may yet. Read before you
    repeat one that must not happen twice, or give it a condition.
    """

    reason = "UNAVAILABLE"

    def __init__(self, message: str, *, reason: str | None = None, uncertain: bool = False) -> None:
        super().__init__(message, reason=reason)
        self.uncertain = uncertain


class NoSpace(ReplicastError):
    """Too few VDEVs with space for a new copy: add capacity or delete."""

    reason = "NO_SPACE"


class DataLost(ReplicastError):
    """Every listed member is up and none has the chunk. Alarm: restore from elsewhere."""

    reason = "DATA_LOST"


class Unauthorized(ReplicastError):
    """The cluster does not know this key, or its role may not do that."""

    reason = "UNAUTHORIZED"
