"""The initiator of a process: drives the cores of gateway/ over one UDP shell and one table client.

    put_chunk, get_chunk ------> ChunkExchange (chunks.py) --\\
    named, list_page, survey --> a core each -----------------+--> UdpShell, TableClient

Embedded in a client program (replicast.connect) and in replicast-gw alike. One
asyncio loop; hashing leaves it for a thread pool. Every operation has a
deadline, so nothing waits for ever; a cancelled caller cancels its core.

Fence (DESIGN 6): no put and no named operation starts when the voter behind the
table source has not been heard for SOURCE_AGE_NS_MAX; chunk reads go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from replicast.buggify import buggify
from replicast.errors import (
    InvalidRequest,
    ReplicastError,
    Unavailable,
)
from replicast.flexhash.table import Table, VdevState
from replicast.gateway.answer_times import AnswerTimes
from replicast.gateway.chunks import ChunkEvent, ChunkExchange
from replicast.gateway.context import OPERATION_BASE_BYTES, ChunkContext, NeedTable
from replicast.gateway.copies import PutDone, PutFailed
from replicast.gateway.initiation import Block, BucketView, ChunkPlaced
from replicast.gateway.known_holders import KnownHolders
from replicast.gateway.listing import ListDone, ListOperation
from replicast.gateway.names import NameDone, NamedOperation, NameFailed
from replicast.gateway.outcome_errors import closed_error, get_error, name_error, put_error
from replicast.gateway.read_events import ChunkFailed, ChunkRead, VerifyPayload
from replicast.gateway.requests import Request, RequestEvent, RequestExchange
from replicast.gateway.status import status_report
from replicast.gateway.survey import Survey, SurveyDone
from replicast.hashing import HashAlgorithm, content_hash, made_on_arrival
from replicast.machine import Event, Incoming, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.native import IMPLEMENTATION
from replicast.transfer import SendPayload
from replicast.transport.result import Section
from replicast.units import KIB, SECOND
from replicast.wake_timer import WakeTimer
from replicast.wire.codec import WireError
from replicast.wire.documents import Reference
from replicast.wire.name_messages import NameList
from replicast.wire.schema import Message
from replicast.wire.status_messages import TargetStatusQuery

log = logging.getLogger("replicast.gateway")

SOURCE_AGE_NS_MAX = 10 * SECOND
OPERATION_DEADLINE_NS = 30 * SECOND
SURVEY_DEADLINE_NS = 10 * SECOND
STATUS_DEADLINE_NS = 2 * SECOND
# Threads cost about 70 us of CPU a time, half of it the loop's: as much as BLAKE3 of half of the larger, or
# the other algorithms of half of the smaller.
BLAKE3_INLINE_BYTES_MAX = 1024 * KIB
HASH_INLINE_BYTES_MAX = 64 * KIB
HASH_THREADS = 2


class Link(Protocol):
    """The network (replicast.transport.shell.UdpShell)."""

    def send(self, outgoing: Outgoing, now_ns: int) -> None: ...
    def send_payload(self, event: SendPayload) -> None: ...
    def flush(self) -> None: ...


class TableSource(Protocol):
    """The control plane (replicast.flexhash.client.TableClient)."""

    @property
    def table(self) -> Table | None: ...
    def source_age_ns(self, now_ns: int) -> int: ...
    async def refetch(self, at_least_generation: int) -> Table: ...


BucketLookup = Callable[[str, str, int], Any]


class UdpInitiator:
    """See the module header; made by gateway/open.py."""

    def __init__(
        self,
        *,
        source: TableSource,
        context: ChunkContext,
        algorithm: HashAlgorithm,
        rng: random.Random,
        now_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._source, self._context = source, context
        self._algorithm, self._rng = algorithm, rng
        self._now_ns, self._wall_ns = now_ns, wall_ns
        assert source.table is not None
        self._chunks = ChunkExchange(context, source.table)
        self._requests, self._answer_times = RequestExchange(rng), AnswerTimes()
        self._futures: dict[bytes, asyncio.Future[Event]] = {}
        self.known_holders = KnownHolders()
        blake3 = made_on_arrival(algorithm)
        self._hash_inline_bytes_max = BLAKE3_INLINE_BYTES_MAX if blake3 else HASH_INLINE_BYTES_MAX
        self._hashers = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="hash")
        self._fetches: dict[int, asyncio.Task[None]] = {}  # by generation
        self._timer = WakeTimer(now_ns, self._expire)
        self._closed = False
        self.find_bucket: BucketLookup | None = None

    def connect(self, link: Link) -> None:
        """The network; before any operation."""
        self._link = link

    def close(self) -> None:
        """Fail what is in flight and all that comes after; the owner closes link and source."""
        self._closed = True
        self._timer.cancel()
        for task in list(self._fetches.values()):
            task.cancel()
        for future in self._futures.values():
            if not future.done():
                future.set_exception(closed_error(uncertain=True))
        # What is queued there ends soon; cancelled, it would look as if its caller had given up.
        self._hashers.shutdown(wait=False)

    # -- what the object layer asks (gateway/initiation.py) ---------------------------

    @property
    def table(self) -> Table:
        """The newest adopted table."""
        table = self._source.table
        assert table is not None
        return table

    @property
    def counters(self) -> Counters:
        """What this initiator counts."""
        return self._context.counters

    @property
    def algorithm(self) -> HashAlgorithm:
        """The cluster's content hash."""
        return self._algorithm

    def wall_ns(self) -> int:
        """Time of day."""
        return self._wall_ns()

    async def bucket(self, tenant: str, bucket: str, gone: int = 0) -> BucketView:
        """The bucket's record; raises NotFound. `gone`: an incarnation that is no answer."""
        assert self.find_bucket is not None
        return await self.find_bucket(tenant, bucket, gone)  # type: ignore[no-any-return]

    async def put_chunk(
        self, data: Block, *, chid: bytes | None = None, negotiate: bool = False
    ) -> ChunkPlaced:
        """Store one chunk on `copies` hosts, durable; raises Unavailable, NoSpace, ...

        `chid`: its content hash, where that was made already; targets refuse a wrong one.
        `negotiate`: ask all members of the row also for a small chunk, as repair needs it.
        """
        self._fence()
        if chid is None:
            chid = await self._hash(data)
        self._require_open()
        now_ns = self._now_ns()
        operation = self._chunks.put(
            chid=chid,
            hash_algorithm=int(self._algorithm),
            buffer=data,
            deadline_ns=now_ns + OPERATION_DEADLINE_NS,
            now_ns=now_ns,
            negotiate=negotiate,
        )
        return self._placed(await self._chunk_outcome(operation))

    async def hold_chunk(self, reference: Reference) -> ChunkPlaced:
        """Hold a stored chunk on `copies` hosts, durable. No payload moves, unless it lies on fewer:
        then it is read and put."""
        self._fence()
        now_ns = self._now_ns()
        operation = self._chunks.hold(
            chid=reference.chid,
            hash_algorithm=reference.hash_algorithm,
            size_bytes=reference.stored_bytes,
            deadline_ns=now_ns + OPERATION_DEADLINE_NS,
            now_ns=now_ns,
        )
        event = await self._chunk_outcome(operation)
        if isinstance(event, PutFailed):
            return await self.put_chunk(await self.get_chunk(reference), negotiate=True)
        return self._placed(event)

    def _placed(self, event: Event) -> ChunkPlaced:
        if isinstance(event, PutFailed):
            raise put_error(event)
        assert isinstance(event, PutDone)
        self.known_holders.put(event.chid, event.vdevs)
        return ChunkPlaced(
            chid=event.chid,
            size_bytes=event.size_bytes,
            copies=event.copies,
            vdevs=event.vdevs,
            sent_bytes=event.sent_bytes,
            stored_copies=event.stored_copies,
        )

    async def get_chunk(self, reference: Reference, section: Section | None = None) -> Block:
        """The verified bytes of a chunk; raises Unavailable or DataLost, never short or wrong.

        `section`: so many bytes of a result; there they are then, too, and no earlier whole.
        """
        self._require_open()
        now_ns, hints = self._now_ns(), self.known_holders.of(reference.chid)
        operation = self._chunks.get(
            chid=reference.chid,
            hash_algorithm=reference.hash_algorithm,
            size_bytes=reference.stored_bytes,
            deadline_ns=now_ns + OPERATION_DEADLINE_NS,
            now_ns=now_ns,
            hints=hints,
            section=section,
        )
        event = await self._chunk_outcome(operation)
        if isinstance(event, ChunkFailed):
            self.known_holders.forget(reference.chid)
            raise get_error(event)
        assert isinstance(event, ChunkRead)
        if event.vdev_index not in hints or event.bad_vdevs:
            self.known_holders.put(reference.chid, event.holders)
        for index in event.bad_vdevs:
            log.error("VDEV %d sent wrong bytes for chunk %s", index, reference.chid.hex())
        return memoryview(event.buffer)

    async def named(self, request: Message, row: int, operation: bytes = b"") -> Message:
        """One named operation at the row's leader; raises by what the caller can do about it."""
        while operation in self._futures:  # one at a time: answers come by these bytes
            await asyncio.wait((self._futures[operation],))
            await asyncio.sleep(0)
        self._fence()
        now_ns = self._now_ns()
        base = self._requests.new_base(operation)
        core = NamedOperation(
            request=request,
            row=row,
            operation_id=base + bytes(4),
            table=self.table,
            deadline_ns=now_ns + OPERATION_DEADLINE_NS,
            rng=self._rng,
            counters=self._context.counters,
            now_ns=now_ns,
            resend_ns=self._answer_times.resend_ns(type(request), now_ns),
        )
        event = await self._request_outcome(base, core, request)
        assert isinstance(event, NameDone)
        answered_ns = self._now_ns()
        self._answer_times.add(type(request), answered_ns - now_ns, answered_ns)
        return event.reply

    async def list_page(self, request: NameList) -> ListDone:
        """One whole page; raises Unavailable when a row does not answer."""
        self._fence()
        now_ns = self._now_ns()
        base = self._requests.new_base()
        core = ListOperation(
            request=request,
            operation_base=base,
            table=self.table,
            deadline_ns=now_ns + OPERATION_DEADLINE_NS,
            rng=self._rng,
            counters=self._context.counters,
            now_ns=now_ns,
        )
        event = await self._request_outcome(base, core, request)
        assert isinstance(event, ListDone)
        return event

    async def survey(
        self, requests: dict[NodeId, Message], deadline_ns: int = SURVEY_DEADLINE_NS
    ) -> SurveyDone:
        """One question to each of several targets."""
        self._require_open()
        now_ns = self._now_ns()
        base = self._requests.new_base()
        core = Survey(
            requests=requests,
            generation=self.table.generation,
            operation_id=base + bytes(4),
            deadline_ns=now_ns + deadline_ns,
            rng=self._rng,
            now_ns=now_ns,
            doubted=self._down(),
        )
        event = await self._request_outcome(base, core, None)
        assert isinstance(event, SurveyDone)
        return event

    def _down(self) -> list[NodeId]:
        """Targets that the table calls down."""
        table, down = self.table, VdevState.DOWN
        return [
            node
            for node in table.targets
            if all(table.vdevs[index].state == down for index in table.vdevs_of(node))
        ]

    async def status(self) -> dict[str, Any]:
        """The report of `replicast status`."""
        asked: dict[NodeId, Message] = {node: TargetStatusQuery() for node in self.table.targets}
        done = await self.survey(asked, STATUS_DEADLINE_NS)
        return status_report(
            self.table,
            done.answers,
            transport=self._context.settings.transport,
            implementation=IMPLEMENTATION,
        )

    # -- what the shells below report -------------------------------------------------

    def on_incoming(self, incoming: Incoming, now_ns: int) -> None:
        """A message from a target."""
        if incoming.operation_id[:OPERATION_BASE_BYTES] in self._requests.bases:
            self._requests.receive(incoming, now_ns)
        else:
            self._chunks.receive(incoming, now_ns)

    def on_completed(self, transfer_ids: list[bytes], now_ns: int) -> None:
        """Payloads that have arrived whole."""
        for transfer_id in transfer_ids:
            self._chunks.transfer_completed(transfer_id, now_ns)

    def on_sent(self, event: SendPayload, now_ns: int) -> None:
        """A payload job has left."""
        self._chunks.payload_sent(event.transfer_id, event.token, now_ns)

    def on_delivered(self, now_ns: int) -> None:
        """That was all of one wake-up of the network, which flushes by itself."""
        self._carry_out(now_ns)

    def on_table(self, table: Table) -> None:
        """A newer table was adopted."""
        now_ns = self._now_ns()
        self._chunks.table_changed(table, now_ns)
        self._requests.table_changed(table, now_ns)
        self._pump()

    # -- inside -----------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            raise closed_error()

    def _fence(self) -> None:
        self._require_open()
        if self._source.source_age_ns(self._now_ns()) > SOURCE_AGE_NS_MAX:
            raise Unavailable(
                "no voter has been heard for 10 s: nothing is written and no name is read "
                "until one is",
                reason="NO_VOTER",
            )

    async def _hash(self, data: Block) -> bytes:
        if len(data) <= self._hash_inline_bytes_max:
            return content_hash(self._algorithm, data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hashers, content_hash, self._algorithm, data)

    async def _chunk_outcome(self, operation: bytes) -> Event:
        future = self._future(operation)
        try:
            self._pump()
            return await future
        except asyncio.CancelledError:
            self._chunks.cancel(operation, self._now_ns())
            self._pump()
            raise
        finally:
            del self._futures[operation]

    async def _request_outcome(self, base: bytes, core: Request, request: Message | None) -> Event:
        self._requests.start(base, core)
        future = self._future(base)
        try:
            self._pump()
            event = await future
        except BaseException:
            # Also when it could not even be sent: it must not be sent again and again.
            self._requests.cancel(base)
            self._arm()
            raise
        finally:
            del self._futures[base]
        if isinstance(event, NameFailed):
            raise name_error(event, request)
        return event

    def _future(self, operation: bytes) -> asyncio.Future[Event]:
        made: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._futures[operation] = made
        return made

    def _settle(self, operation: bytes, event: Event) -> None:
        future = self._futures.get(operation)
        if future is not None and not future.done():
            future.set_result(event)

    def _pump(self) -> None:
        self._carry_out(self._now_ns())
        if not self._closed:
            self._link.flush()

    def _carry_out(self, now_ns: int) -> None:
        """What the cores want; and re-arm the timer."""
        if self._closed:
            return  # the link may be gone
        self._chunks.collect(now_ns)
        for outgoing in (*self._chunks.take_outgoing(), *self._requests.take_outgoing()):
            try:
                self._link.send(outgoing, now_ns)
                if buggify("gateway/send-twice"):
                    self._link.send(outgoing, now_ns)
            except WireError as error:
                self._cannot_send(outgoing, error, now_ns)
        for event in (*self._chunks.take_events(), *self._requests.take_events()):
            self._on_event(event)
        self._arm()

    def _cannot_send(self, outgoing: Outgoing, error: WireError, now_ns: int) -> None:
        """What does not fit the wire never will: its operation ends here, the others go on."""
        operation = outgoing.operation_id[:OPERATION_BASE_BYTES]
        self._chunks.cancel(operation, now_ns)
        self._requests.cancel(operation)
        future = self._futures.get(operation)
        if future is not None and not future.done():
            text = f"{outgoing.message.NAME} cannot be sent: {error.reason}"
            future.set_exception(InvalidRequest(text))

    def _on_event(self, wrapped: Event) -> None:
        match wrapped:
            case ChunkEvent(event=SendPayload() as payload):
                self._link.send_payload(payload)
            case ChunkEvent(event=VerifyPayload() as wanted):
                self._verify(wanted)
            case (
                ChunkEvent(event=NeedTable() as needed) | RequestEvent(event=NeedTable() as needed)
            ):
                self._fetch(needed.generation)
            case ChunkEvent() | RequestEvent():
                self._settle(wrapped.operation, wrapped.event)

    def _verify(self, event: VerifyPayload) -> None:
        def check() -> bool:
            return content_hash(HashAlgorithm(event.hash_algorithm), event.buffer) == event.chid

        def checked(done: asyncio.Future[bool]) -> None:
            ok = not done.cancelled() and done.exception() is None and done.result()
            self._chunks.verified(event.transfer_id, ok, self._now_ns())
            self._pump()

        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._hashers, check).add_done_callback(checked)

    def _fetch(self, generation: int) -> None:
        """One fetch for all operations that wait for the same table."""

        async def fetch() -> None:
            try:
                await self._source.refetch(generation)
            except ReplicastError as error:
                log.info("table %d: %s", generation, error)
            finally:
                del self._fetches[generation]

        if generation not in self._fetches:
            self._fetches[generation] = asyncio.ensure_future(fetch())

    def _arm(self) -> None:
        if self._closed:
            return
        self._timer.arm(self._chunks.deadline_ns(), self._requests.deadline_ns())

    def _expire(self, now_ns: int) -> None:
        self._chunks.expire(now_ns)
        self._requests.expire(now_ns)
        self._pump()
