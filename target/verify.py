"""Verify one copy on request: read it past the caches, check its hash, say what was found.

The shell executes VerifyChunk off the loop and, when the copy is bad, sets it
aside durably before it answers with verified(). From then on the VDEV says MISS
and repair can write the chunk anew. Setting aside is a delete: it needs the lease.

Limits: VERIFIES_MAX at a time, then BUSY.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.hashing import fits_algorithm
from replicast.machine import Event, Incoming, NodeId
from replicast.target.admission import Admission
from replicast.units import MS
from replicast.wire.chunk_messages import (
    VERIFY_CORRUPT,
    VERIFY_ERROR,
    VERIFY_MISSING,
    ChunkVerified,
    ChunkVerify,
)
from replicast.wire.reasons import Reason

VERIFIES_MAX = 64
RETRY_AFTER_NS = 50 * MS


@dataclass(frozen=True, slots=True)
class VerifyChunk(Event):
    """Read and check this copy from disk; then verified(token, VERIFIED | VERIFY_..., detail)."""

    token: int
    vdev_index: int
    chid: bytes
    hash_algorithm: int


@dataclass(frozen=True, slots=True)
class _Verify:
    token: int
    sender: NodeId
    operation_id: bytes
    vdev_index: int


class VerifyResponder:
    """All verifications of one target."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._open: dict[tuple[NodeId, bytes], _Verify] = {}
        self._by_token: dict[int, _Verify] = {}
        self._token = 0

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """CHUNK_VERIFY; a repeated one while the first is running changes nothing."""
        m = incoming.message
        key = (incoming.sender, incoming.operation_id)
        if not isinstance(m, ChunkVerify) or key in self._open:
            return
        reason = self._refusal(m, now_ns)
        if reason is not None:
            self._admission.refuse(incoming, reason, (m.vdev_index,), retry_after_ns=RETRY_AFTER_NS)
            return
        self._token += 1
        verify = _Verify(self._token, incoming.sender, incoming.operation_id, m.vdev_index)
        self._open[key] = self._by_token[self._token] = verify
        self._admission.want(VerifyChunk(self._token, m.vdev_index, m.chid, m.hash_algorithm))

    def _refusal(self, m: ChunkVerify, now_ns: int) -> Reason | None:
        if m.vdev_index not in self._admission.vdevs:
            return Reason.NOT_MEMBER
        if not fits_algorithm(m.hash_algorithm, m.chid):
            return Reason.BAD_REQUEST
        if not self._admission.lease.valid(now_ns):
            return Reason.NO_LEASE
        return Reason.BUSY if len(self._open) >= VERIFIES_MAX else None

    def verified(self, token: int, result: int, detail: str, now_ns: int) -> None:
        """The shell's finding; a bad copy is set aside by now."""
        verify = self._by_token.pop(token, None)
        if verify is None:
            return
        del self._open[(verify.sender, verify.operation_id)]
        if result == VERIFY_MISSING and not self._admission.lease.valid(now_ns):
            result, detail = VERIFY_ERROR, "the lease ended meanwhile"  # it may be here again (C6)
        if result == VERIFY_CORRUPT:
            self._admission.counters.count("hash_mismatches", "verify")
        reply = ChunkVerified(vdev_index=verify.vdev_index, result=result, detail=detail[:500])
        self._admission.send(verify.sender, verify.operation_id, reply)
