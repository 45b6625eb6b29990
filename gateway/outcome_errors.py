"""What a failed exchange means to the caller: the error to raise, by what to do about it."""

from __future__ import annotations

from replicast.errors import (
    ConditionFailed,
    DataLost,
    InvalidRequest,
    NoSpace,
    NotFound,
    ReplicastError,
    Unauthorized,
    Unavailable,
)
from replicast.gateway.copies import PutFailed
from replicast.gateway.names import NameFailed
from replicast.gateway.read_events import ChunkFailed, Outcome
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message


def put_error(event: PutFailed) -> ReplicastError:
    """Why a chunk was not stored."""
    said = ", ".join(
        f"VDEV {v}: {reason.name if reason else 'no answer'}" for v, reason in event.reasons
    )
    text = f"chunk {event.chid.hex()[:16]} not stored on enough hosts: {event.detail} ({said})"
    if event.reason is Reason.NO_SPACE:
        return NoSpace(text)
    if event.reason is Reason.UNAUTHORIZED:
        return Unauthorized(text)
    return Unavailable(text, reason=event.reason.name)


def get_error(event: ChunkFailed) -> ReplicastError:
    """Why a chunk cannot be read, with what each member said."""
    said = ", ".join(f"VDEV {index}: {answer}" for index, answer in event.answers)
    text = f"chunk {event.chid.hex()} cannot be read: {said}"
    return DataLost(text) if event.outcome is Outcome.DATA_LOST else Unavailable(text)


def name_error(event: NameFailed, request: Message | None) -> ReplicastError:
    """Why a named operation failed."""
    key = getattr(request, "key", request)  # a listing has no key, but a bucket
    bucket, name = getattr(key, "bucket", ""), getattr(key, "name", "")
    what = f"{bucket}/{name}"
    texts: dict[Reason, ReplicastError] = {
        Reason.CONDITION_FAILED: ConditionFailed(f"{what}: the condition does not hold"),
        Reason.NO_SUCH_NAME: NotFound(f"there is no object {what}", reason="NO_SUCH_NAME"),
        Reason.NO_SUCH_BUCKET: NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET"),
        Reason.NO_SPACE: NoSpace(f"no space for names: {event.detail}"),
        Reason.BAD_REQUEST: InvalidRequest(f"refused: {event.detail}", reason="BAD_REQUEST"),
        Reason.UNAUTHORIZED: Unauthorized("this gateway may not do that"),
    }
    yet = "; it may yet take effect" if event.uncertain else ""
    other = Unavailable(
        f"{event.reason.name}: {event.detail}{yet}",
        reason=event.reason.name,
        uncertain=event.uncertain,
    )
    if event.uncertain and event.reason is Reason.NO_SUCH_BUCKET:
        return other  # an earlier attempt may have been ordered before the bucket went
    return texts.get(event.reason, other)


def closed_error(*, uncertain: bool = False) -> Unavailable:
    """What everybody is told once the initiator is closed."""
    text = "the connection to the cluster is closed"
    return Unavailable(text, reason="CLOSED", uncertain=uncertain)
