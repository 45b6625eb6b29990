"""All chunk exchanges of one initiator, as one core: starts them, routes to them, times them.

The gateway's shell and the simulator drive this; each put and get is a core of its
own (put.py, small_put.py, hold.py, get.py). Replies find theirs by the first 12 bytes
of the operation or transfer id, which are random per operation. What arrives is handed on at once,
and collect() asks once for each operation what follows: an initiator in a crowd hears much at a time,
and some of it is for the same. A large chunk is put when its turn
comes (put_turns.py), within its deadline; from then on it has as long again.

Limits: OPERATIONS_MAX at a time, those that wait among them.
"""

from __future__ import annotations

from dataclasses import replace

from replicast.buggify import buggify
from replicast.errors import Unavailable
from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.gateway.context import OPERATION_BASE_BYTES, ChunkContext
from replicast.gateway.copies import PutDone, PutFailed
from replicast.gateway.get import GetChunk
from replicast.gateway.hold import HoldChunk
from replicast.gateway.job import PutJob
from replicast.gateway.put import PutChunk
from replicast.gateway.read_events import ChunkFailed, ChunkRead
from replicast.gateway.small_put import SmallPut
from replicast.gateway.timers import Timers
from replicast.machine import Event, Incoming, Outbox
from replicast.transfer import BufferLike
from replicast.transport.result import Section
from replicast.wire.reasons import Reason

OPERATIONS_MAX = 4096
FINAL = (PutDone, PutFailed, ChunkRead, ChunkFailed)


@frozen
class ChunkEvent(Event):
    """An event of one operation: SendPayload, VerifyPayload, NeedTable, or its end, which is
    PutDone, PutFailed, ChunkRead or ChunkFailed."""

    operation: bytes
    event: Event


class ChunkExchange(Outbox):
    """The chunk side of an initiator."""

    def __init__(self, context: ChunkContext, table: Table) -> None:
        super().__init__()
        self._context, self._table = context, table
        self._cores: dict[bytes, PutChunk | SmallPut | HoldChunk | GetChunk] = {}
        self._timers = Timers()
        self.deadline_ns = self._timers.deadline_ns  # the earliest timer of all
        self._turns = context.turns
        self._waiting: dict[bytes, tuple[PutJob, int]] = {}  # for their turn, and since when
        self._beginning = False
        self._heard: dict[bytes, None] = {}  # operations that have heard something since collect()

    # -- operations -------------------------------------------------------------------

    def put(
        self,
        *,
        chid: bytes,
        hash_algorithm: int,
        buffer: BufferLike,
        deadline_ns: int,
        now_ns: int,
        negotiate: bool = False,
    ) -> bytes:
        """Start a put; returns the operation that its events carry. `negotiate`: also if small."""
        size_bytes = memoryview(buffer).nbytes
        negotiate = negotiate or buggify("gateway/negotiate-small")
        small = size_bytes <= self._context.settings.negotiate_above_bytes and not negotiate
        operation = self._new_operation()
        job = PutJob(chid, hash_algorithm, buffer, size_bytes, operation, deadline_ns)
        if small:
            self._cores[operation] = SmallPut(self._context, self._table, job=job, now_ns=now_ns)
            self._collect(operation, now_ns)
        elif self._turns.take(operation, size_bytes, now_ns):
            self._begin_put(job, now_ns)
        else:
            self._waiting[operation] = job, now_ns
            self._timers.schedule(operation, deadline_ns)
            self._show_turns()
        return operation

    def hold(
        self, *, chid: bytes, hash_algorithm: int, size_bytes: int, deadline_ns: int, now_ns: int
    ) -> bytes:
        """Start a hold of a chunk that is stored already; ends in PutDone or PutFailed."""
        operation = self._new_operation()
        job = PutJob(chid, hash_algorithm, b"", size_bytes, operation, deadline_ns)
        self._cores[operation] = HoldChunk(self._context, self._table, job=job, now_ns=now_ns)
        self._collect(operation, now_ns)
        return operation

    def get(
        self,
        *,
        chid: bytes,
        hash_algorithm: int,
        size_bytes: int,
        deadline_ns: int,
        now_ns: int,
        hints: tuple[int, ...] = (),
        section: Section | None = None,
    ) -> bytes:
        """Start a get; `hints`: VDEVs that are likely to have it, best first or not; `section`: where
        the bytes are wanted."""
        operation = self._new_operation()
        self._cores[operation] = GetChunk(
            self._context,
            self._table,
            chid=chid,
            hash_algorithm=hash_algorithm,
            size_bytes=size_bytes,
            operation_base=operation,
            deadline_ns=deadline_ns,
            now_ns=now_ns,
            hints=hints,
            section=section,
        )
        self._collect(operation, now_ns)
        return operation

    def cancel(self, operation: bytes, now_ns: int) -> None:
        """Nobody waits for it any more: close its transfers; no event follows."""
        if self._waiting.pop(operation, None) is not None:
            self._forget(operation, False, now_ns)
        core = self._cores.get(operation)
        if core is not None:
            core.cancel()
            self._outgoing += core.take_outgoing()
            self._forget(operation, False, now_ns)
            self._grant(now_ns)

    # -- inputs -----------------------------------------------------------------------

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply; to an operation that has ended: dropped."""
        operation = incoming.operation_id[:OPERATION_BASE_BYTES]
        core = self._cores.get(operation)
        if core is not None:
            core.receive(incoming, now_ns)
            self._heard[operation] = None

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table, for all that run and all that come."""
        if table.generation <= self._table.generation:
            return
        self._table = table
        self._context.stats.keep(table.vdevs, table.targets)
        for operation, core in list(self._cores.items()):
            core.table_changed(table, now_ns)
            self._collect(operation, now_ns)

    def transfer_completed(self, transfer_id: bytes, now_ns: int) -> None:
        """All payload of a transfer has arrived."""
        operation = transfer_id[:OPERATION_BASE_BYTES]
        core = self._cores.get(operation)
        if isinstance(core, GetChunk):
            core.transfer_completed(transfer_id, now_ns)
            self._heard[operation] = None

    def verified(self, transfer_id: bytes, ok: bool, now_ns: int) -> None:
        """Answer to VerifyPayload."""
        operation = transfer_id[:OPERATION_BASE_BYTES]
        core = self._cores.get(operation)
        if isinstance(core, GetChunk):
            core.verified(transfer_id, ok, now_ns)
            self._heard[operation] = None

    def collect(self, now_ns: int) -> None:
        """What follows from all that has arrived; before anything is taken."""
        heard, self._heard = self._heard, {}
        for operation in heard:
            if operation in self._cores:
                self._collect(operation, now_ns)
        if self._context.credit.fresh:
            self._grant(now_ns)

    def payload_sent(self, transfer_id: bytes, token: int, now_ns: int) -> None:
        """Answer to SendPayload."""
        operation = transfer_id[:OPERATION_BASE_BYTES]
        core = self._cores.get(operation)
        if core is not None and not isinstance(core, GetChunk):
            core.payload_sent(transfer_id, token, now_ns)

    def expire(self, now_ns: int) -> None:
        """Call the cores whose time has come."""
        while (operation := self._timers.take_due(now_ns)) is not None:
            if operation in self._waiting:
                self._wait_in_vain(operation, now_ns)
            else:
                self._cores[operation].expire(now_ns)
                self._collect(operation, now_ns)
                if self._context.credit.fresh:
                    self._grant(now_ns)

    # -- inside -----------------------------------------------------------------------

    def _new_operation(self) -> bytes:
        if len(self._cores) + len(self._waiting) >= OPERATIONS_MAX:
            raise Unavailable(f"{OPERATIONS_MAX} chunk operations are in flight", reason="BUSY")
        return self._context.rng.randbytes(OPERATION_BASE_BYTES)

    def _begin_put(self, job: PutJob, now_ns: int) -> None:
        core = PutChunk(self._context, self._table, job=job, now_ns=now_ns)
        self._cores[job.operation_base] = core
        self._collect(job.operation_base, now_ns)

    def _begin_ready(self, now_ns: int) -> None:
        """A put that ends at once makes room for the next one: that is a loop, not a call."""
        if self._beginning:
            return
        self._beginning = True
        while ready := self._turns.take_ready(now_ns):
            for operation in ready:
                job, since_ns = self._waiting.pop(operation)
                later_ns = job.deadline_ns + now_ns - since_ns
                self._begin_put(replace(job, deadline_ns=later_ns), now_ns)
        self._beginning = False

    def _wait_in_vain(self, operation: bytes, now_ns: int) -> None:
        job, _ = self._waiting.pop(operation)
        detail = f"{self._turns.under_way_bytes} bytes of other chunks were put first"
        failed = PutFailed(job.chid, Reason.BUSY, detail, ())
        self._events.append(ChunkEvent(operation, failed))
        self._forget(operation, False, now_ns)

    def _collect(self, operation: bytes, now_ns: int) -> None:
        """Take what a core has to say, set its timer, forget it at its end."""
        core = self._cores[operation]
        self._outgoing += core.take_outgoing()
        ended = False
        for event in core.take_events():
            self._events.append(ChunkEvent(operation, event))
            ended = ended or isinstance(event, FINAL)
        if not ended:
            self._timers.schedule(operation, core.deadline_ns())
        elif isinstance(core, PutChunk):
            self._forget(operation, core.was_busy, now_ns)
        else:  # it had no turn
            del self._cores[operation]
            self._timers.forget(operation)

    def _forget(self, operation: bytes, busy: bool, now_ns: int) -> None:
        self._cores.pop(operation, None)
        self._timers.forget(operation)
        self._turns.end(operation, busy, now_ns)
        self._begin_ready(now_ns)
        self._show_turns()

    def _show_turns(self) -> None:
        counters, turns = self._context.counters, self._turns
        counters.gauge("chunk_puts_waiting", value=len(self._waiting))
        counters.gauge("chunk_put_window_bytes", value=turns.window_bytes)

    def _grant(self, now_ns: int) -> None:
        for transfer_id, credit_bytes in self._context.credit.take_granted():
            operation = transfer_id[:OPERATION_BASE_BYTES]
            core = self._cores.get(operation)
            if isinstance(core, GetChunk):
                core.credit_granted(transfer_id, credit_bytes, now_ns)
                self._outgoing += core.take_outgoing()
                self._timers.schedule(operation, core.deadline_ns())
