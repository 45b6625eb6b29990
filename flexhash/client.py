"""The control plane as targets and gateways use it: a Follower joined to CURVE, clock and disk.

    client = TableClient(hub, key_pair, node_id, voters, ...)
    await client.start()
    table = await client.wait_table()          .table, .buckets, .settings_version
    await client.refetch(generation)           many callers, one fetch
    result = await client.command(BucketCreate(...))
    client.adopt_voters(voters)                .voters; done by itself when a voter tells of later ones
    await client.join(entry, opens)            targets: register, wait, vouch, hold the lease

With `near` the bytes of tables come from targets near by (flexhash/sources.py). With on_users(event) a
gateway follows the users of the S3 gateways. A target's owner gets on_prepared(table) before one is acknowledged, give_up(table)
before it is persisted (it must stop acting for rows that it loses) and on_table(table) when it
is adopted; then the lease is renewed. A
gateway gives neither files nor give_up. on_voters(voters) comes when other voters are asked
from now on; the owner keeps them on disk. Callbacks are quick and do not raise. `rng` must be
seeded by the operating system: it makes the client id that tells one start from the next.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from replicast.curve import ChannelClosed, CurveClient, CurveHub
from replicast.errors import InvalidRequest, Unavailable
from replicast.flexhash.commands import Code
from replicast.flexhash.entries import TargetEntry
from replicast.flexhash.follow import Follower, Part
from replicast.flexhash.follow_events import (
    AdoptSettings,
    AdoptTable,
    AdoptUsers,
    Ask,
    AskTarget,
    CommandDone,
    LaterVoters,
    PreparedTable,
)
from replicast.flexhash.follow_tables import TargetFetch
from replicast.flexhash.follow_users import UsersFollower
from replicast.flexhash.join import VdevOpen, join_commands
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableFiles
from replicast.flexhash.target_channel import TargetChannel
from replicast.flexhash.voter_channels import VoterChannels
from replicast.flexhash.voters import VoterSet, told
from replicast.keys import KeyPair
from replicast.machine import Event, NodeId
from replicast.metrics import Counters
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.schema import Message
from replicast.wire.voter_messages import VotersData, VotersGet
from replicast.witness import Witness

log = logging.getLogger(__name__)

TICK_SECONDS_MIN, TICK_SECONDS_MAX = 0.01, 1.0
REFETCH_SECONDS = 2.0
SETTINGS_SECONDS = 10.0
USERS_SECONDS = 2.0  # somebody waits to be told that he is not known
COMMAND_SECONDS = 30.0  # as long as any operation may take: an election passes meanwhile
JOIN_SECONDS = 60.0
STOP_SECONDS = 0.5
STORE_RETRY_SECONDS = 1.0
VOTERS_SECONDS = 2.0
TABLES_KEEP = 4
BucketRecord = cm.BucketInfo
TableCallback = Callable[[Table], None]


class TableClient:
    """One per process. Make it inside the running event loop."""

    def __init__(
        self,
        hub: CurveHub,
        key_pair: KeyPair,
        node_id: NodeId,
        voters: VoterSet,
        *,
        clock_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        rng: random.Random,
        counters: Counters,
        lease: LeaseHolder | None = None,
        files: TableFiles | None = None,
        give_up: TableCallback | None = None,
        on_prepared: TableCallback | None = None,
        on_table: TableCallback | None = None,
        on_settings: Callable[[int], None] | None = None,
        on_users: Callable[[AdoptUsers], None] | None = None,
        on_voters: Callable[[VoterSet], None] | None = None,
        witness: Witness | None = None,
        near: TargetFetch | None = None,
    ) -> None:
        stored = files.load() if files is not None else []
        self.lease = lease
        self.core = Follower(
            node_id,
            voters.node_ids,
            rng,
            counters,
            holder=lease,
            table=stored[-1] if stored else None,
            voter_epoch=voters.epoch,
            near=near,
            users=None if on_users is None else UsersFollower(),
        )
        self.voters = voters
        self.buckets: dict[tuple[str, str], BucketRecord] = {}
        self.settings: dict[str, str] = {}
        self._own_wall_ns, self._rng = wall_ns, rng
        self._clock_ns, self._counters = clock_ns, counters
        self._files = files
        self._give_up, self._on_prepared = give_up, on_prepared
        self._on_table, self._on_settings, self._on_voters = on_table, on_settings, on_voters
        self._on_users = on_users
        self._witness = witness
        self.channels = VoterChannels(hub, key_pair, voters, rng)
        self._targets = TargetChannel(hub, key_pair, self._on_target)
        self._recent = {t.generation: t for t in stored[-TABLES_KEEP:]}
        self._tasks: list[asyncio.Task[None]] = []
        self._adoption: asyncio.Task[None] | None = None
        self._learning: asyncio.Task[None] | None = None
        self._commands: dict[int, asyncio.Future[tuple[Code | None, int]]] = {}
        self._changed = asyncio.Condition()
        self._watchers = 0  # of it
        self._woken = asyncio.Event()
        self._due_ns = 0  # when the core wants its next tick

    # -- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Watch the voters from now on. A stored table is announced by on_table at once."""
        if self.core.table is not None:
            self._witnessed(self.core.table)
            if self._on_table is not None:
                self._on_table(self.core.table)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._tick())]
        self.channels.start(self._read)

    async def stop(self) -> None:
        """Give the lease back (the owner has handed over) and close."""
        self.core.take_asks()
        self.core.stop()
        for ask in self.core.take_asks():
            await self._give_back(ask)
        tasks = [*self._tasks, *filter(None, (self._adoption, self._learning))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.channels.close()
        await self._targets.close()
        for future in self._commands.values():
            if not future.done():
                future.set_result((None, 0))

    async def _give_back(self, ask: Ask) -> None:
        """Waits for the answer: what a closed socket still held would be lost. Who does not lead
        Raft (any more) names who does, if it knows."""
        voters = self.core.voters
        voter = voters[ask.voter]
        for _ in voters:
            answer = await self.channels.request(voter, ask.message, ask.generation, STOP_SECONDS)
            if not isinstance(answer, cm.Redirect) or answer.leader not in voters:
                return
            voter = answer.leader

    # -- what is known ------------------------------------------------------------------------

    @property
    def table(self) -> Table | None:
        """The adopted table; None before the first."""
        return self.core.table

    @property
    def settings_version(self) -> int:
        """Of `buckets` and `settings`."""
        return self.core.settings.version

    @property
    def settings_floor(self) -> int:
        """The settings version that every target which may act has adopted."""
        return self.core.settings.floor

    def source_age_ns(self, now_ns: int) -> int:
        """Age of the voter grant behind what is known here (huge before the first)."""
        return self.core.age_ns(now_ns)

    # -- asking ------------------------------------------------------------------------------------

    async def wait_table(self, timeout_seconds: float = JOIN_SECONDS) -> Table:
        """The table, once there is one; raises Unavailable."""
        await self.until(lambda: self.core.table is not None, timeout_seconds, "a table")
        assert self.core.table is not None
        return self.core.table

    async def wait_fresh(self, age_ns_max: int, timeout_seconds: float) -> None:
        """Until the voter grant behind what is known here is that young; raises Unavailable.

        A voter that has just started gives tables before it has a grant itself.
        """
        await self.until(
            lambda: self.core.age_ns(self._clock_ns()) <= age_ns_max,
            timeout_seconds,
            "a fresh grant",
        )

    async def refetch(self, at_least_generation: int) -> Table:
        """The table, at least that new; raises Unavailable when no voter has it in time."""
        if self.core.generation < at_least_generation:
            self._counters.count("table_refetches")
            self.core.hurry(self._clock_ns())
            self._woken.set()
            await self.until(
                lambda: self.core.generation >= at_least_generation,
                REFETCH_SECONDS,
                f"generation {at_least_generation}",
            )
        assert self.core.table is not None
        return self.core.table

    async def wait_settings(self) -> None:
        """Buckets and settings as some voter has them, which needs no quorum; raises Unavailable."""
        settings = self.core.settings
        await self.until(lambda: settings.heard, SETTINGS_SECONDS, "the settings")

    async def wait_users(self) -> None:
        """Users as some voter has them, given to on_users; raises Unavailable."""
        users = self.core.users
        assert users is not None
        await self.until(lambda: users.heard, SETTINGS_SECONDS, "the users")

    async def refetch_settings(self) -> None:
        """Buckets and settings with all that was acknowledged before this call, from the Raft
        leader; raises Unavailable."""
        await self._refetch(self.core.settings, SETTINGS_SECONDS, "the settings")

    async def refetch_users(self) -> None:
        """Users with all that was acknowledged before this call, from the Raft leader, given to
        on_users; raises Unavailable. Many callers, few questions."""
        users = self.core.users
        assert users is not None
        await self._refetch(users, USERS_SECONDS, "the users")

    async def _refetch(self, part: Part, timeout_seconds: float, what: str) -> None:
        asked_ns = self._clock_ns()
        self.core.hurry_current(part, asked_ns)
        self._woken.set()
        await self.until(
            lambda: part.current_ns is not None and part.current_ns >= asked_ns,
            timeout_seconds,
            what,
        )

    async def command(
        self, message: Message, timeout_seconds: float = COMMAND_SECONDS
    ) -> cm.CommandResult:
        """Run a command, once, whatever is retried; raises Unavailable when nobody answers."""
        until_ns = self._clock_ns() + int(timeout_seconds * SECOND)
        try:
            token = self.core.submit(message, until_ns)
        except WireError as error:
            raise InvalidRequest(f"{message.NAME} cannot be sent: {error.reason}") from None
        if token is None:
            raise Unavailable("too many commands wait for the control plane")
        future: asyncio.Future[tuple[Code | None, int]]
        future = self._commands[token] = asyncio.get_running_loop().create_future()
        self._woken.set()
        code, value = await future
        if code is None:
            raise Unavailable(f"no voter confirmed {message.NAME} in time")
        return cm.CommandResult(code=code, value=value)

    async def status(self, timeout_seconds: float = 2.0) -> list[cm.StatusData | None]:
        """What each voter says of the control plane; None for one that does not answer."""
        get = cm.StatusGet(detail=True)
        ask = self.channels.request
        answers = await asyncio.gather(
            *(ask(n, get, self.core.generation, timeout_seconds) for n in self.core.voters)
        )
        return [answer if isinstance(answer, cm.StatusData) else None for answer in answers]

    # -- targets --------------------------------------------------------------------------------------

    async def join(
        self, entry: TargetEntry, opens: Sequence[VdevOpen], timeout_seconds: float = JOIN_SECONDS
    ) -> None:
        """Register, wait for the table that knows of these opens, then vouch for the VDEVs.

        No lease is asked for before: a VDEV that the cluster finds rolled back or damaged
        must not act by a table that still trusts it.
        """
        covering = 0
        for command in join_commands(entry, opens):
            result = await self.command(command, timeout_seconds)
            if result.code != Code.OK:
                raise Unavailable(f"the cluster refused {command.NAME}: {Code(result.code).name}")
            if isinstance(command, cm.VdevJoin):
                covering = max(covering, result.value)
        await self.until(
            lambda: self.core.generation >= covering, timeout_seconds, "the table with this target"
        )
        self.vouch(tuple(o.vdev_id for o in opens if o.counted))

    def vouch(self, vdev_ids: tuple[bytes, ...]) -> None:
        """The VDEVs with a flush completed lately; call at every change. One left out must
        have stopped serving before."""
        if vdev_ids != self.core.vouched:
            self.core.vouched = vdev_ids
            self.renew_now()

    def renew_now(self) -> None:
        """A leadership waits for the floor: do not wait for the next second."""
        self.core.renew_now()
        self._woken.set()

    # -- inside ---------------------------------------------------------------------------------------------

    async def until(
        self, reached: Callable[[], bool], timeout_seconds: float | None, what: str
    ) -> None:
        """Until `reached()`, which looks at what is known here; raises Unavailable."""
        self._watchers += 1
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(reached)
        except TimeoutError:
            raise Unavailable(f"no voter gave {what} in time") from None
        finally:
            self._watchers -= 1

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        # Lost questions are asked again after a second, which each command would wait for.
        await self.channels.connected()
        while True:
            self._woken.clear()  # before the turn: what wakes in it wants another one
            self.core.tick(self._clock_ns())
            self.show_lease()
            await self._turn()
            self._due_ns = self.core.deadline_ns()
            timer = loop.call_later(self._until_due_seconds(), self._woken.set)
            await self._woken.wait()
            timer.cancel()

    def _until_due_seconds(self) -> float:
        wait_ns = self._due_ns - self._clock_ns()
        return min(TICK_SECONDS_MAX, max(TICK_SECONDS_MIN, wait_ns / SECOND))

    def wall_ns(self) -> int:
        """The cluster's time of day (ClusterClock); the machine's before a voter answered."""
        offset_ns = self.core.clock.offset_ns
        return self._own_wall_ns() if offset_ns is None else self._clock_ns() + offset_ns

    def show_lease(self) -> None:
        """Bring the gauges up to date."""
        if self.lease is None:
            return
        now_ns = self._clock_ns()
        age_ns = self.lease.age_ns(now_ns)
        valid = self.lease.valid(now_ns) and age_ns is not None
        self._counters.gauge("lease_valid", value=int(valid))
        age_seconds = (age_ns or 0) / SECOND if valid else -1
        self._counters.gauge("lease_age_seconds", value=age_seconds)

    async def _read(self, voter: NodeId, channel: CurveClient) -> None:
        while True:
            try:
                frame: bytes | None = await channel.recv()
            except ChannelClosed:
                return
            while frame is not None:
                self._receive(voter, frame)
                frame = channel.recv_nowait()
            await self._turn()
            if self.core.deadline_ns() < self._due_ns:
                self._woken.set()

    def _receive(self, voter: NodeId, frame: bytes) -> None:
        try:
            message, operation_id, _ = unpack_frame(frame)
        except WireError as error:
            self._counters.count("control_refused", error.reason)
            return
        if voter in self.core.voters:
            number = self.core.voters.index(voter)
            self.core.receive(number, message, operation_id, self._clock_ns())

    async def _turn(self) -> None:
        """Events first: what a renewal reports must have happened."""
        for event in self.core.take_events():
            try:
                self._handle(event)
            except Exception:  # the last resort of a shell: an owner's callback failed
                log.exception("a table or settings could not be taken over")
                self._counters.count("control_refused", "internal")
        self._send()
        if self._watchers:
            async with self._changed:
                self._changed.notify_all()

    def _send(self) -> None:
        for ask in self.core.take_asks():
            frame = pack_frame(ask.message, ask.operation_id, ask.generation)
            self.channels.send(self.core.voters[ask.voter], frame)

    def _handle(self, event: Event) -> None:
        if isinstance(event, AdoptTable):
            self._witnessed(event.table)
            if self._give_up is not None:
                self._give_up(event.table)
            self._adoption = asyncio.get_running_loop().create_task(self._adopt(event.table))
        elif isinstance(event, PreparedTable):
            if self._on_prepared is not None:
                self._on_prepared(event.table)
        elif isinstance(event, AskTarget):
            self._targets.ask(event, self.core.generation)
        elif isinstance(event, AdoptSettings):
            # The same dictionaries for good: others hold on to them.
            self.buckets.clear()
            self.buckets.update(event.buckets)
            self.settings.clear()
            self.settings.update(event.settings)
            if self._on_settings is not None:
                self._on_settings(event.version)
            self.core.settings_adopted(event.version)
            self._woken.set()
        elif isinstance(event, AdoptUsers):
            if self._on_users is not None:
                self._on_users(event)
        elif isinstance(event, CommandDone):
            future = self._commands.pop(event.token, None)
            if future is not None and not future.done():
                future.set_result((event.code, event.value))
        elif isinstance(event, LaterVoters) and (self._learning is None or self._learning.done()):
            voter = self.core.voters[event.voter]
            self._learning = asyncio.get_running_loop().create_task(self._learn(voter))

    def _on_target(self, message: Message, operation_id: bytes) -> None:
        self.core.target_answered(message, operation_id, self._clock_ns())
        self._woken.set()

    async def _learn(self, voter: NodeId) -> None:
        """Who votes; when that voter does not answer, its next notice asks again."""
        get = VotersGet(have_epoch=self.core.voter_epoch)
        answer = await self.channels.request(voter, get, self.core.generation, VOTERS_SECONDS)
        if isinstance(answer, VotersData):
            self.adopt_voters(told(answer))

    def adopt_voters(self, voters: VoterSet) -> None:
        """Ask these from now on, unless later ones are known."""
        if voters.epoch <= self.voters.epoch:
            return
        log.info("voter epoch %d: %s", voters.epoch, [v.label for v in voters.voters])
        self.voters = voters
        self.core.voters_replaced(voters.epoch, voters.node_ids)
        self.channels.change(voters)
        if self._on_voters is not None:
            self._on_voters(voters)
        self._woken.set()

    def _witnessed(self, table: Table) -> None:
        if self._witness is not None:
            self._witness.adopting(table)

    async def _adopt(self, table: Table) -> None:
        """Persist, switch, report. A disk that fails costs the lease, not the process."""
        if self._files is not None:
            try:
                await asyncio.to_thread(self._files.save, table)
            except OSError:
                log.exception("cannot store generation %d: not adopted", table.generation)
                await asyncio.sleep(STORE_RETRY_SECONDS)
                self.core.not_adopted()
                return
        self._recent[table.generation] = table
        for generation in sorted(self._recent)[:-TABLES_KEEP]:
            del self._recent[generation]
        self._counters.gauge("generation", value=table.generation & ((1 << 48) - 1))
        # Whoever looks at on_table() time must find the new table here.
        self.core.adopted(table, self._clock_ns())
        if self._on_table is not None:
            self._on_table(table)
        self._woken.set()
        async with self._changed:
            self._changed.notify_all()
