"""What one start of a process hears and says, judged: lease, leadership, stale requests.

    needs a lease       an answer about names, a final refusal, CHUNK_STORED, a proved MISS
    needs to lead       an answer about the names of a row
    refused when stale  a request older than the generation that last concerned its row

Bytes of a held chunk, bids and other refusals need nothing (C6). A CHUNK_STORED said once may be
said again: it repeats what was true under a lease. A request is stale by the table that the target
acted by when it came; for chunks, which go on by the old table until the new one is stored, by
the last that it reported.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from replicast.flexhash.table import Table
from replicast.machine import Incoming, Outgoing
from replicast.sim.turns import Clock
from replicast.wire import chunk_messages as chunks
from replicast.wire import name_messages as names
from replicast.wire.reasons import Reason

if TYPE_CHECKING:
    from replicast.sim.watch import Checkers

REQUESTS_MAX = 16_384
FINAL = (Reason.CONDITION_FAILED, Reason.NO_SUCH_NAME, Reason.TOO_OLD)
WRITES = (names.NamePut, names.NameDelete, names.NameRestored)
READS = (names.NameGet, names.NameVersions)
STORES = (chunks.ChunkPut, chunks.PutAccept)


class _Request:
    """What is remembered of the requests under one operation id."""

    __slots__ = ("answered", "generation", "message", "since")

    def __init__(self, message: Any, generation: int, since: int) -> None:
        self.message, self.generation = message, generation
        self.since = since  # what last concerned its row when it came
        self.answered = False


class Answers:
    """The witness of one start (replicast/witness.py)."""

    def __init__(
        self,
        process: str,
        life: int,
        clock: Clock,
        checkers: Checkers,
        breach: Callable[[str, str | None], None],
    ) -> None:
        self._process, self._life, self._clock = process, life, clock
        self._checkers, self._breach = checkers, breach
        self._table: Table | None = None
        self._requests: OrderedDict[bytes, _Request] = OrderedDict()

    # -- the witness ------------------------------------------------------------------

    def adopting(self, table: Table) -> None:
        """A table is about to be acted by."""
        checkers = self._checkers
        if table.generation not in checkers.tables:
            checkers.tables[table.generation] = table
            self._breach("replicas", checkers.replicas.joined(table))
        self._table = table
        # Of its bytes: a process may believe of a table what somebody told it.
        digest = blake2b(table.to_bytes(), digest_size=32).digest()
        self._breach(
            "generations",
            checkers.generations.adopting(self._process, self._life, table.generation, digest),
        )

    def heard(self, incoming: Incoming) -> None:
        """Remember what is asked."""
        message: Any = incoming.message
        kind = type(message)
        if kind not in HEARD:
            return
        since = HEARD[kind](self, message)
        known = self._requests.get(incoming.operation_id)
        if known is None or type(known.message) is not kind:
            self._requests[incoming.operation_id] = _Request(message, incoming.generation, since)
            if len(self._requests) > REQUESTS_MAX:
                self._requests.popitem(last=False)
        elif known.generation < known.since:
            # It was refused then: what counts is how it came again.
            known.generation, known.since = incoming.generation, since
        elif incoming.generation >= since:
            known.generation = max(known.generation, incoming.generation)

    def said(self, outgoing: Outgoing) -> None:
        """Judge what is answered."""
        judge = SAID.get(type(outgoing.message))
        request = self._requests.get(outgoing.operation_id) if judge is not None else None
        if judge is not None and request is not None:
            judge(self, outgoing, outgoing.message, request)

    # -- requests ---------------------------------------------------------------------

    def _since_names(self, message: Any) -> int:
        return _names_since(self._table, message.key.row)

    def _since_members(self, message: Any) -> int:
        reported = self._checkers.generations.last_reported(self._process)
        return _members_since(self._checkers.tables.get(reported), message.row)

    def _judged_later(self, message: Any) -> int:
        return 0

    # -- answers ----------------------------------------------------------------------

    def _on_name_answer(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        self._lease(message.NAME)
        row = request.message.key.row
        self._acted(row, outgoing.generation)
        since = request.since
        if isinstance(request.message, WRITES):
            problem = self._checkers.replicas.acknowledged(self._process, row)
            self._breach("replicas", problem)
        else:
            since = _names_since(self._checkers.tables.get(outgoing.generation), row)
        self._fence(message.NAME, row, request.generation, since)

    def _on_refused(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        named = isinstance(request.message, (*WRITES, *READS))
        if named and message.reason in FINAL:
            self._on_name_answer(outgoing, message, request)
        elif named and message.reason == Reason.NO_SUCH_BUCKET:
            self._lease("NO_SUCH_BUCKET")

    def _on_entries(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        self._lease(message.NAME)
        table = self._checkers.tables.get(outgoing.generation)
        for row in message.rows:
            self._acted(row, outgoing.generation)
            self._fence(message.NAME, row, request.generation, _names_since(table, row))

    def _on_stored(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        for each in message.vdevs:
            self._checkers.stored.said(each.vdev_index, message.chid)
        if request.answered:
            return
        request.answered = True
        self._lease(message.NAME)
        if isinstance(request.message, STORES):
            self._fence(message.NAME, request.message.row, request.generation, request.since)

    def _on_chunk_answer(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        if all(answer.kind != chunks.MISS for answer in message.answers):
            return
        self._lease("a chunk miss")
        table, row = self._checkers.tables.get(outgoing.generation), request.message.row
        self._fence("a chunk miss", row, request.generation, _members_since(table, row))

    def _on_verified(self, outgoing: Outgoing, message: Any, request: _Request) -> None:
        if message.result == chunks.VERIFY_MISSING:
            self._lease(f"missing in {message.NAME}")

    # -- checkers ---------------------------------------------------------------------

    def _lease(self, what: str) -> None:
        if not self._checkers.by_clocks:
            return
        now_ns = self._clock.now_ns()
        problem = self._checkers.leases.answered(self._process, self._life, now_ns, what)
        self._breach("leases", problem)

    def _acted(self, row: int, generation: int) -> None:
        if not self._checkers.by_clocks:
            return
        table = self._checkers.tables.get(generation)
        if table is None:
            problem = f"{self._process} acts by generation {generation}, which nobody adopted"
            self._breach("leaders", problem)
            return
        vdev = table.row_leader(row)
        leader = None if vdev is None else table.target_of(vdev).name
        self._breach(
            "leaders",
            self._checkers.leaders.acted(row, table.leader_since(row), self._process, leader),
        )

    def _fence(self, what: str, row: int, generation: int, since: int) -> None:
        problem = self._checkers.fences.answered(self._process, what, row, generation, since)
        self._breach("fences", problem)


def _names_since(table: Table | None, row: int) -> int:
    return table.names_since(row) if table is not None and row < table.policy.row_count else 0


def _members_since(table: Table | None, row: int) -> int:
    return table.members_since(row) if table is not None and row < table.policy.row_count else 0


Judge = Callable[[Answers, Outgoing, Any, _Request], None]
HEARD: dict[type[Any], Callable[[Answers, Any], int]] = {
    **dict.fromkeys((*WRITES, *READS), Answers._since_names),
    **dict.fromkeys(STORES, Answers._since_members),
    **dict.fromkeys(
        (names.NameList, names.NameVerify, chunks.ChunkQuery, chunks.ChunkVerify),
        Answers._judged_later,
    ),
}
SAID: dict[type[Any], Judge] = {
    names.NameResult: Answers._on_name_answer,
    names.NameVersionList: Answers._on_name_answer,
    names.NameEntries: Answers._on_entries,
    names.NameVerified: Answers._on_verified,
    chunks.Refused: Answers._on_refused,
    chunks.ChunkStored: Answers._on_stored,
    chunks.ChunkAnswer: Answers._on_chunk_answer,
    chunks.ChunkVerified: Answers._on_verified,
}
