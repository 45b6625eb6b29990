"""The copies that a put may count, and the events it ends with.

A copy counts when CHUNK_STORED came for a VDEV that this attempt asked. Only
distinct hosts make distinct copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.machine import Event
from replicast.metrics import Counters
from replicast.wire.chunk_messages import STORED
from replicast.wire.reasons import Reason


@frozen
class PutDone(Event):
    """The chunk is durable on `copies` distinct hosts. `short`: fewer than the policy wants."""

    chid: bytes
    size_bytes: int
    vdevs: tuple[int, ...]
    copies: int
    stored_copies: int  # newly written; the rest were there and are held
    sent_bytes: int  # payload that left this host, all receivers and resends
    deduplicated: bool  # nothing had to be written
    short: bool


@dataclass(frozen=True, slots=True)
class PutFailed(Event):
    """Too few copies; `reasons` says what each VDEV said last (None: nothing)."""

    chid: bytes
    reason: Reason
    detail: str
    reasons: tuple[tuple[int, Reason | None], ...]


# Refusals by reaction: refetch the table; fail; do not ask this VDEV again in this put.
STALE = frozenset({Reason.STALE_GENERATION, Reason.NOT_MEMBER})
FATAL = frozenset({Reason.UNAUTHORIZED, Reason.BAD_VERSION, Reason.BAD_REQUEST, Reason.TOO_OLD})
LASTING = frozenset({Reason.NO_SPACE, Reason.FAULTED})


class Copies:
    """Durable copies of one chunk, by VDEV, under the newest table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._kinds: dict[int, int] = {}
        self.hosts: tuple[str, ...] = ()  # distinct ones with a copy: their number is what counts

    def add(self, vdev_index: int, kind: int) -> bool:
        """CHUNK_STORED for this VDEV; False when it was counted before."""
        if vdev_index in self._kinds:
            return False
        self._kinds[vdev_index] = kind
        self._place(vdev_index)
        return True

    def table_changed(self, table: Table, row: int) -> None:
        """Copies outside the row's members no longer count."""
        self._table = table
        if not self._kinds:
            return
        members = table.members(row)
        self._kinds = {v: kind for v, kind in self._kinds.items() if v in members}
        self.hosts = ()
        for v in self._kinds:
            self._place(v)

    def _place(self, vdev_index: int) -> None:
        host = self._table.target_of(vdev_index).host
        if host not in self.hosts:
            self.hosts += (host,)

    @property
    def vdevs(self) -> tuple[int, ...]:
        """VDEVs with a copy, in the order they reported."""
        return tuple(self._kinds)

    def done(self, chid: bytes, size_bytes: int, sent_bytes: int) -> PutDone:
        """The event for what is there now."""
        stored = list(self._kinds.values()).count(STORED)
        return PutDone(
            chid=chid,
            size_bytes=size_bytes,
            vdevs=self.vdevs,
            copies=len(self.hosts),
            stored_copies=stored,
            sent_bytes=sent_bytes,
            deduplicated=stored == 0,
            short=len(self.hosts) < self._table.policy.copies,
        )


def count_done(counters: Counters, done: PutDone, path: str, elapsed_ns: int) -> None:
    """The metrics of a finished put; `path` is immediate, negotiated or held."""
    counters.count("chunks_put", path)
    how = "deduplicated" if done.deduplicated else "sent"
    counters.count("chunk_put_bytes", how, by=done.size_bytes)
    counters.observe_ns("put_seconds", path, elapsed_ns=elapsed_ns)


def worst_reason(reasons: Iterable[Reason | None]) -> Reason:
    """One reason for the caller out of many: what most members said; silence is NO_LEASE's kin."""
    said = [r for r in reasons if r is not None]
    if not said:
        return Reason.NOT_READY
    return max(said, key=lambda r: (said.count(r), -r))


def reason_of(number: int) -> Reason:
    """A refusal's reason; one of a later version means: not now."""
    try:
        return Reason(number)
    except ValueError:
        return Reason.BUSY
