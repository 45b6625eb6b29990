"""What a target says of itself, for `replicast status` (DESIGN contract C9)."""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import (
    U16,
    U32,
    U64,
    Bytes16,
    Flag,
    Kind,
    Message,
    Struct,
    message,
    struct,
)

Word = Annotated[str, Kind("text", 64)]


@message(32)
class TargetStatusQuery(Message):
    """Initiator -> target: how are you? Answered without a lease too."""


@struct
class VdevStatusEntry(Struct):
    """One VDEV as its target sees it."""

    vdev_id: Bytes16
    vdev_index: U16  # 0xFFFF: not in the table yet
    state: Word  # ok, slow, failing, read_only, faulted, damaged
    full: Flag  # past the gate for payload
    capacity_bytes: U64
    used_bytes: U64
    free_bytes: U64
    file_system: Bytes16  # equal for VDEVs that share one; zero: not known
    file_system_free_bytes: U64


@struct
class RaftStatus(Struct):
    """The voter inside this target; all zero and empty in a target that does not vote."""

    voter: Flag
    state: Word  # follower, candidate, leader, failed, lost
    has_quorum: Flag
    leader: U64
    voter_epoch: U32
    term: U64


@message(33)
class TargetStatus(Message):
    """Target -> initiator."""

    implementation: Word  # cython or python
    version: Word
    generation: U64
    lease_remaining_ns: U64  # 0: no lease
    lease_age_ns: U64
    rows_led: U32
    rows_not_ready: U32  # led, but still taking over or unavailable
    short_chunks: U32  # chunks below their copies that the rows led here know of
    raft: RaftStatus
    vdevs: Annotated[tuple[VdevStatusEntry, ...], Kind("list", 64, VdevStatusEntry)]


__all__ = ["RaftStatus", "TargetStatus", "TargetStatusQuery", "VdevStatusEntry"]
