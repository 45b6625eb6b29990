"""Typed refusals: each has exactly one reaction at the initiator (DESIGN 7)."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Why a request was refused; the comment is the initiator's one reaction."""

    STALE_GENERATION = 1  # fetch the table at least as new as `generation`, retry at once
    NO_LEASE = 2  # the target lost its lease: ask another member, or retry after a wait
    NO_SPACE = 3  # choose another VDEV; all full -> fail with the reason
    BUSY = 4  # retry after retry_after_ns, or the next bidder
    UNAUTHORIZED = 5  # fail: this sender may not ask that
    BAD_VERSION = 6  # fail: protocol version not spoken
    TOO_OLD = 7  # fail: first sent, or put begun, too long ago; never executed again
    NOT_MEMBER = 8  # not in this row at this generation: like STALE_GENERATION
    NOT_LEADER = 9  # fetch the table, ask the row's leader
    NOT_READY = 10  # leader waits for floor, take-over or catch-up: retry after a wait
    ROW_UNAVAILABLE = 11  # fewer than min_copies replicas up: retry until the deadline
    CONDITION_FAILED = 12  # final answer: the condition did not hold
    NO_SUCH_NAME = 13  # final answer: no such object or version
    NO_SUCH_BUCKET = 14  # look it up: made anew, or (final answer) removed or being deleted
    BAD_REQUEST = 15  # fail: malformed or out of range; a bug or an attack
    FAULTED = 16  # this VDEV is faulted, read-only or not open: choose another
    HASH_MISMATCH = 17  # bytes received do not match the CHID: send again with MACs
    NOT_FOUND_HERE = 18  # this VDEV does not hold the chunk: ask the next one
