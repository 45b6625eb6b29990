"""What every chunk request passes before a target does anything for it.

Shared by put.py, get.py and verify.py of one target: the adopted table, the
lease, the VDEVs, and the one way to refuse. The rule for shared addresses
stands here: whoever is no member stays silent on multicast, so that one proposal
is not answered by the whole cluster; on unicast it says why not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicast.flexhash.table import Table
from replicast.hashing import fits_algorithm
from replicast.machine import Event, Incoming, NodeId, Outbox, Outgoing
from replicast.metrics import Counters
from replicast.wire.chunk_messages import Refused
from replicast.wire.reasons import Reason

CHUNK_BYTES_MAX = 16 << 20


class Lease(Protocol):
    """The target's lease as far as chunks care."""

    def valid(self, now_ns: int) -> bool: ...


class VdevView(Protocol):
    """One VDEV as the cores see it: memory only, answers at once."""

    def has(self, chid: bytes) -> bool:
        """Is the chunk durable here?"""

    def size_of(self, chid: bytes) -> int:
        """Its bytes; 0 when it is not here: no chunk is empty."""

    def refusal(self, size_bytes: int) -> Reason | None:
        """NO_SPACE, FAULTED, ... when a chunk of this size cannot be taken now."""

    def proves_misses(self) -> bool:
        """False while damage or a failed read may hide chunks."""

    def appraise(self, chid: bytes, size_bytes: int) -> tuple[bool, bool, int, int, int]:
        """What every bid tells, at once: has(chid); would a chunk of this size be taken; bytes submitted
        and not yet durable; how many ns a flush has taken lately; free_ppm()."""

    def free_ppm(self) -> int:
        """Free part of the capacity."""


class Admission(Outbox):
    """The state that all chunk responders of one target share, and where they say what they want."""

    def __init__(
        self,
        node_id: NodeId,
        table: Table,
        lease: Lease,
        vdevs: Mapping[int, VdevView],
        counters: Counters,
    ) -> None:
        super().__init__()
        self.node_id, self.table, self.lease = node_id, table, lease
        self.vdevs, self.counters = vdevs, counters
        self._mine: dict[int, tuple[int, ...]] = {}  # by row, of this table and this many VDEVs
        self._mine_count = 0

    def adopt(self, table: Table) -> None:
        """A newer table is in force."""
        self.table = table
        self._mine.clear()

    def mine(self, row: int) -> tuple[int, ...]:
        """Our open VDEVs among the members of a row.

        They change with the table, and when one of ours gets its index: then there is one more.
        """
        if len(self.vdevs) != self._mine_count:
            self._mine.clear()
            self._mine_count = len(self.vdevs)
        if row not in self._mine:
            self._mine[row] = tuple(v for v in self.table.members(row) if v in self.vdevs)
        return self._mine[row]

    def reply(self, incoming: Incoming, message: object) -> None:
        """Answer the sender under its own operation id."""
        self.send(incoming.sender, incoming.operation_id, message)

    def send(self, node: NodeId, operation_id: bytes, message: object) -> None:
        """A message of this target."""
        self._outgoing.append(
            Outgoing(message, node, operation_id, self.table.generation)  # type: ignore[arg-type]
        )

    def want(self, event: Event) -> None:
        """Something for the owner to carry out."""
        self._events.append(event)

    def refuse(
        self,
        incoming: Incoming,
        reason: Reason,
        vdevs: tuple[int, ...] = (),
        *,
        retry_after_ns: int = 0,
        detail: str = "",
    ) -> None:
        """Answer with a typed refusal."""
        self.reply(incoming, self.refused(reason, vdevs, retry_after_ns, detail))

    def refuse_malformed(self, incoming: Incoming, detail: str) -> None:
        """BAD_REQUEST, on unicast: of what came to a group nobody knows whom it concerns."""
        if incoming.group is None:
            self.refuse(incoming, Reason.BAD_REQUEST, detail=detail)

    def refused(
        self, reason: Reason, vdevs: tuple[int, ...], retry_after_ns: int = 0, detail: str = ""
    ) -> Refused:
        """The refusal as a message, counted."""
        self.counters.count("refusals", reason.name.lower())
        return Refused(
            reason=reason,
            current_generation=self.table.generation,
            vdevs=vdevs,
            retry_after_ns=retry_after_ns,
            detail=detail,
        )

    def members_for_store(
        self,
        incoming: Incoming,
        row: int,
        chid: bytes,
        algorithm: int,
        size_bytes: int,
        now_ns: int,
    ) -> tuple[int, ...]:
        """Our VDEVs that may store this chunk; empty when that was answered, or silence is due."""
        sane = fits_algorithm(algorithm, chid) and 0 < size_bytes <= CHUNK_BYTES_MAX
        if not sane or row != self.table.row_of_chunk(chid):
            self.refuse_malformed(incoming, "row, hash or size out of range")
            return ()
        mine = self.mine(row)
        left_out = not mine and self.left_out(row)
        if not mine and not left_out and incoming.group is not None:
            return ()
        if incoming.generation < self.table.members_since(row):
            self.refuse(incoming, Reason.STALE_GENERATION)
            return ()
        if not mine:
            self.refuse(incoming, Reason.FAULTED if left_out else Reason.NOT_MEMBER)
            return ()
        if not self.lease.valid(now_ns):
            self.refuse(incoming, Reason.NO_LEASE)
            return ()
        return mine

    def left_out(self, row: int) -> bool:
        """Is a member of the row ours by the table, and not open here?"""
        return any(
            v not in self.vdevs and self.table.vdevs[v].target == self.node_id
            for v in self.table.members(row)
        )
