"""Verify one version of a name on one replica: its log entry, read from disk past the caches.

The shell executes VerifyEntry off the loop and answers with checked(). An entry that is
damaged, or whose body does not match its hash, is fetched from another replica (heal.py).
Limits: VERIFIES_MAX at a time, then BUSY.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.hashing import HashAlgorithm, content_hash, fits_algorithm
from replicast.machine import Event, Incoming
from replicast.target.names.context import RowContext
from replicast.target.names.heal import FindReplica, Healer
from replicast.target.names.log import read_entry
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica
from replicast.target.names.state import key_prefix
from replicast.units import MS
from replicast.wire.chunk_messages import VERIFIED, VERIFY_CORRUPT, VERIFY_ERROR, VERIFY_MISSING
from replicast.wire.codec import WireError
from replicast.wire.name_messages import NameVerified, NameVerify
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import RowVersion

VERIFIES_MAX = 64
RETRY_AFTER_NS = 50 * MS
DETAIL_BYTES_MAX = 500


@dataclass(frozen=True, slots=True)
class VerifyEntry(Event):
    """Read this entry from disk; then NameService.entry_read()."""

    token: int
    vdev_index: int
    row: int
    index: int


@dataclass(frozen=True, slots=True)
class EntryBad:
    """The disk does not hold what was written."""

    detail: str


@dataclass(frozen=True, slots=True)
class _Open:
    incoming: Incoming
    replica: RowReplica
    version: RowVersion


class NameVerifier:
    """All verifications of names on one target."""

    def __init__(
        self, context: RowContext, outbox: Outbox, find: FindReplica, healer: Healer
    ) -> None:
        self._context, self._outbox = context, outbox
        self._find, self._healer = find, healer
        self._open: dict[int, _Open] = {}
        self._token = 0

    def receive(self, incoming: Incoming, request: NameVerify, now_ns: int) -> None:
        """NAME_VERIFY; a repeated one is read again, which does no harm. Whoever has no lease may
        have been removed from the row, and what it lacks is then no loss."""
        if not self._context.lease.valid(now_ns):
            return self._outbox.refuse(incoming, Reason.NO_LEASE)
        table = self._context.table
        row, vdev = request.key.row, request.vdev_index
        if table is None or row >= table.policy.row_count or vdev not in table.name_replicas(row):
            return self._outbox.refuse(incoming, Reason.NOT_MEMBER)
        replica = self._find(row, vdev)
        if replica is None:
            return self._outbox.refuse(incoming, Reason.FAULTED)
        if len(self._open) >= VERIFIES_MAX:
            return self._busy(incoming)
        version = replica.state.version(key_prefix(request.key), request.version)
        if version is not None:
            self._read(incoming, replica, version)
        elif replica.log.last.index > replica.state.applied.index:
            self._busy(incoming)  # it has heard of more than it knows to be committed
        else:
            self._answer(incoming, vdev, VERIFY_MISSING, "the version is not here")
        return None

    def read(self, token: int, found: bytes | EntryBad | None) -> None:
        """What the shell has found on disk; None: it could not be read now."""
        opened = self._open.pop(token, None)
        if opened is None:
            return
        vdev = opened.replica.vdev_index
        if found is None:
            self._answer(opened.incoming, vdev, VERIFY_ERROR, "not readable now")
            return
        request = opened.incoming.message
        assert isinstance(request, NameVerify)
        detail = _damage(found, opened.version, request.hash_algorithm)
        if detail:
            self._context.counters.count("hash_mismatches", "verify")
            self._healer.want(opened.replica, opened.version.index, opened.version.summary)
        self._answer(opened.incoming, vdev, VERIFY_CORRUPT if detail else VERIFIED, detail)

    def _read(self, incoming: Incoming, replica: RowReplica, version: RowVersion) -> None:
        self._token += 1
        self._open[self._token] = _Open(incoming, replica, version)
        event = VerifyEntry(self._token, replica.vdev_index, replica.row, version.index)
        self._outbox.event(event)

    def _busy(self, incoming: Incoming) -> None:
        self._outbox.refuse(incoming, Reason.BUSY, retry_after_ns=RETRY_AFTER_NS)

    def _answer(self, incoming: Incoming, vdev: int, result: int, detail: str) -> None:
        text = detail.encode()[:DETAIL_BYTES_MAX].decode(errors="ignore")
        self._outbox.reply(incoming, NameVerified(vdev_index=vdev, result=result, detail=text))


def _damage(found: bytes | EntryBad, version: RowVersion, algorithm: int) -> str:
    """What is wrong with the entry; empty: nothing."""
    if isinstance(found, EntryBad):
        return found.detail
    try:
        operation = read_entry(1, version.index, found).operation
    except WireError as error:
        return f"the entry cannot be decoded: {error.reason}"
    summary = version.summary
    if (operation.version, operation.operation_id) != (summary.version, summary.operation_id):
        return "another entry is there"
    if not fits_algorithm(algorithm, summary.body_hash):
        return ""  # a delete marker has no body
    good = content_hash(HashAlgorithm(algorithm), operation.body) == summary.body_hash
    return "" if good else "the body does not match its hash"
