"""From a request to the log entry that it becomes: conditions, versions, final refusals.

Pure. A condition that fails becomes an entry too (REFUSE): its answer then waits for
everything that it was judged by, and a late duplicate of the request cannot succeed after
the client was told that it failed.
"""

from __future__ import annotations

from replicast.target.names.undecided import Undecided
from replicast.wire.name_messages import (
    ALWAYS,
    IF_ABSENT,
    IF_ETAG,
    IF_NOT_ETAG,
    IF_PRESENT,
    IF_VERSION,
    NO_VERSION,
    NULL_VERSION,
    OBJECT,
    Condition,
    NameDelete,
    NamePut,
    NameRestored,
    VersionId,
    VersionSummary,
)
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import (
    MARK_DELETED,
    PUT,
    REFUSE,
    REMOVE_VERSION,
    RESTORED,
    RowOperation,
)

NO_HASH = b"\0"
NULLABLE = (NamePut, NameDelete)
CONDITIONS = (ALWAYS, IF_ABSENT, IF_PRESENT, IF_VERSION, IF_ETAG, IF_NOT_ETAG)


def holds(condition: Condition, newest: VersionSummary | None) -> bool:
    """Whether a condition holds for the newest version of a name."""
    if condition.kind == ALWAYS:
        return True
    present = newest is not None and newest.kind == OBJECT
    if condition.kind == IF_ABSENT:
        return not present
    if condition.kind == IF_PRESENT:
        return present
    if condition.kind == IF_VERSION:
        return condition.version == (NO_VERSION if newest is None else newest.version)
    same = present and newest is not None and newest.etag == condition.etag
    return same if condition.kind == IF_ETAG else not same


NameWrite = NamePut | NameDelete | NameRestored


def make_operation(
    request: NameWrite,
    undecided: Undecided,
    prefix: bytes,
    operation_id: bytes,
    tenure: int,
    version: VersionId,
) -> RowOperation:
    """The entry for a request, judged against everything ordered before it."""
    newest = undecided.newest(prefix)
    put: NamePut | None = None
    own = version
    if isinstance(request, NamePut):
        reason = 0 if holds(request.condition, newest) else int(Reason.CONDITION_FAILED)
        kind, null = PUT, request.null
        put = None if reason else request
    else:
        named = _named(request, undecided, prefix)
        reason, kind = _reason(request, named, newest), _kind(request)
        null = kind == MARK_DELETED and isinstance(request, NameDelete) and request.null
        if kind != MARK_DELETED and named is not None:
            own = named.version
    if reason:
        kind, own, null = REFUSE, NO_VERSION, False
    some = null and newest is not None  # else the name has no version at all
    superseded = undecided.null(prefix) if some else None
    return RowOperation(
        tenure=tenure,
        kind=kind,
        reason=reason,
        time_ns=version.time_ns,
        operation_id=operation_id,
        tenant=request.key.tenant,
        bucket=request.key.bucket,
        bucket_incarnation=request.key.bucket_incarnation,
        name=request.key.name,
        version=own,
        replaces=NO_VERSION if newest is None or reason else newest.version,
        null=null,
        superseded=NO_VERSION if superseded is None else superseded.version,
        logical_size=put.logical_size if put else 0,
        etag=put.etag if put else "",
        body_hash=put.body_hash if put else NO_HASH,
        short_of_copies=put.short_of_copies if put else (),
        holders=put.holders if put else (),
        body=put.body if put else b"",
    )


def _kind(request: NameDelete | NameRestored) -> int:
    if isinstance(request, NameRestored):
        return RESTORED
    return MARK_DELETED if request.version == NO_VERSION else REMOVE_VERSION


def _named(
    request: NameDelete | NameRestored, undecided: Undecided, prefix: bytes
) -> VersionSummary | None:
    """The version that the request names, if it names one that there is."""
    if request.version == NO_VERSION:
        return None
    if request.version == NULL_VERSION:
        return undecided.null(prefix)
    return undecided.find(prefix, request.version)


def _reason(
    request: NameDelete | NameRestored, named: VersionSummary | None, newest: VersionSummary | None
) -> int:
    """0, or the final refusal."""
    if isinstance(request, NameRestored):
        return 0 if named else Reason.NO_SUCH_NAME
    if not holds(request.condition, newest):
        return Reason.CONDITION_FAILED
    if request.version != NO_VERSION:
        gone = named is None
    else:
        gone = not request.absent_too and (newest is None or newest.kind != OBJECT)
    return Reason.NO_SUCH_NAME if gone else 0
