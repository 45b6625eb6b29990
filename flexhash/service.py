"""A voter's control service: ControlServer and a Raft node, joined to its socket and a clock.

    service = ControlService(...)                          before Raft, which needs its state
    node = RaftNode(..., apply=service.state.apply,
                    snapshot=service.state.snapshot, restore=service.state.restore)
    shell = RaftShell(node, ..., after_turn=service.turn)
    service.start(node, shell.wake, node_ids_by_voter_name)
    service.regroup(epoch, start)                          then another node, and start() again

on_ended() is called once when the state says that this voter epoch has ended.
Driven by RaftShell's turns (after each change, and as often as turn() asks for) and by its own
reader, which wakes the shell for what the leader has to act on.
Tables are built in a worker thread, one at a time: a build must not stop heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from replicast.buggify import buggify
from replicast.curve import Allow, Received
from replicast.flexhash.commands import Role
from replicast.flexhash.control_port import ControlPort
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.raft.node import Outcome, RaftNode
from replicast.flexhash.server import ControlServer, Sender, Standing
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.flexhash.tables import BuildJob, TableBook
from replicast.keys import Identity
from replicast.keys import Role as KeyRole
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame

log = logging.getLogger(__name__)

LOOK_NS = SECOND
TURN_NS = 100 * MS  # between turns of a leader: leases end, VDEVs are judged
HURRY_NS = 50 * MS  # while changes are gathered or a table is prepared


class ControlService:
    """One per voter process. `bootstrap` knows the keys of the formation document;
    keys in the replicated state come first, a revoked one is shut out."""

    def __init__(
        self,
        node_id: NodeId,
        port: ControlPort,
        bootstrap: Allow,
        *,
        clock_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        counters: Counters,
        formation: cm.ClusterInit | None = None,
        tables: Iterable[Table] = (),
        holder: LeaseHolder | None = None,
        voter_epoch: int = 0,
        on_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = ControlState(voter_epoch)
        self._on_ended, self._told_epoch = on_ended, voter_epoch
        self.book = TableBook(self.state)
        self.core = ControlServer(node_id, self.state, self.book, counters, formation)
        self._bootstrap = bootstrap
        self._clock_ns, self._wall_ns = clock_ns, wall_ns
        self._counters = counters
        self._holder = holder
        self._node: RaftNode | None = None
        self._voter_ids: dict[str, NodeId] = {}
        self._wake: Callable[[], None] = lambda: None
        self._looked_ns = -LOOK_NS
        self._dirty = True  # something happened that the next turn must look at
        self._turned_ns = 0
        self._seen: tuple[int, int, bool, str | None] | None = None
        self._has_quorum = False
        self._voters: tuple[cm.VoterStatus, ...] = ()
        self._building: asyncio.Task[None] | None = None
        for table in tables:
            self.book.put(table)
        self._port = port
        port.vote(self.allow, self._read)

    def allow(self, public_key: str) -> Identity | None:
        """Who stands behind a key; asked at handshakes and for every frame."""
        known = self.state.keys.get(public_key)
        if known is None:
            return self._bootstrap(public_key)
        if known.role == Role.REVOKED:
            return None
        return Identity(known.node_id, KeyRole(known.role))

    def start(
        self, node: RaftNode, wake: Callable[[], None], voter_ids: Mapping[str, NodeId]
    ) -> None:
        """Serve from now on; `voter_ids` are node ids by voter name."""
        self._node, self._wake, self._voter_ids = node, wake, dict(voter_ids)

    def regroup(self, epoch: int, start: bytes) -> None:
        """Serve nobody until start(): the next node restores `start` here, as group `epoch`."""
        self._node = None
        self.core.regroup(start)
        self.state.group_epoch = self._told_epoch = epoch
        self._seen, self._voters, self._looked_ns = None, (), -LOOK_NS

    async def stop(self) -> None:
        """Vote no more; the Raft shell is stopped by its owner."""
        if self._building is not None:
            self._building.cancel()
            await asyncio.gather(self._building, return_exceptions=True)
        self._port.unvote()
        self._node = None

    def offer(self, table: Table) -> None:
        """A table that the target in this process adopted; what the book lacks it takes."""
        if table.generation not in self.book.tables:
            self.book.put(table)

    # -- turns -------------------------------------------------------------------------

    def turn(self, now_ns: int) -> int | None:
        """After each turn of the Raft shell; when the next one is wanted at the latest."""
        node = self._node
        if node is None:
            return None
        seen = (node.term, node.applied_index, node.is_leader, node.leader)
        if self._dirty or seen != self._seen or now_ns - self._turned_ns >= HURRY_NS:
            self._turn(now_ns, seen)
        if not node.is_leader:
            return None
        hurry = self.state.pending or self.state.prepared
        return self._turned_ns + (HURRY_NS if hurry else TURN_NS)

    def _turn(self, now_ns: int, seen: tuple[int, int, bool, str | None]) -> None:
        self._dirty, self._seen, self._turned_ns = False, seen, now_ns
        self.core.tick(now_ns, self._wall_ns(), self._standing(now_ns))
        if self.core.steward.take_hand_over(now_ns):
            self._hand_over(now_ns)
        if self.book.mismatch and self._holder is not None and not self._holder.fenced:
            log.error("this voter builds another table than the cluster: fenced")
            self._holder.fenced = True
        self._build()
        self._flush(now_ns)
        if self.state.epoch > self._told_epoch:
            self._told_epoch = self.state.epoch
            self._on_ended()

    def _hand_over(self, now_ns: int) -> None:
        if self._node is not None and len(self._voter_ids) > 1:
            log.warning("commits take seconds: another voter is asked to lead")
            self._node.step_aside(now_ns)
            self._wake()

    def _standing(self, now_ns: int) -> Standing:
        node = self._node
        assert node is not None
        if now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._look(node)
            if node.is_leader and buggify("raft/hand-over"):
                node.transfer_leadership(now_ns)
        term = node.term
        return Standing(
            leading_term=term if node.is_leader else None,
            leader=self._voter_ids.get(node.leader or "", 0),
            term=term,
            has_quorum=self._has_quorum,
            age_ns=self._holder.age_ns(now_ns) if self._holder else None,
            voters=self._voters,
        )

    def _look(self, node: RaftNode) -> None:
        """What only people ask for; costs more than the rest of a turn."""
        status = node.status()
        self._has_quorum = bool(status["has_quorum"])
        here = (*status["connected"], node.settings.name)
        self._voters = tuple(
            cm.VoterStatus(node_id=i, name=n, connected=n in here)
            for n, i in self._voter_ids.items()
        )

    def _flush(self, now_ns: int) -> None:
        commands = self.core.take_commands()
        for token, entry in commands:
            self._submit(token, entry, now_ns)
        for reply in self.core.take_replies():
            frame = pack_frame(reply.message, reply.operation_id, reply.generation)
            self._port.send(reply.peer, frame)
        if commands:
            self._wake()

    def _submit(self, token: int, entry: bytes, now_ns: int) -> None:
        assert self._node is not None

        def done(result: bytes | None, outcome: Outcome) -> None:
            if self._node is None:
                return
            done_ns = self._clock_ns()
            self.core.standing = self._standing(done_ns)  # as of this very moment
            applied = result if outcome is Outcome.APPLIED else None
            self.core.command_done(token, applied, done_ns, self._wall_ns())
            self._dirty = True

        self._node.submit(entry, done, now_ns)

    # -- building ---------------------------------------------------------------------------

    def _build(self) -> None:
        if self._building is None and (job := self.book.wanted()) is not None:
            self._building = asyncio.get_running_loop().create_task(self._run(job))

    async def _run(self, job: BuildJob) -> None:
        try:
            table = await asyncio.to_thread(job.run)
            if table is None:
                log.error("generation %d cannot be built", job.inputs.generation)
                self.book.failed(job.inputs.generation)
            else:
                self.book.put(table)
        finally:
            self._building = None
            self._dirty = True
            self._wake()

    # -- reading -----------------------------------------------------------------------------

    def _read(self, some: list[Received]) -> None:
        if self._node is None:
            return
        now_ns = self._clock_ns()
        self.core.standing = self._standing(now_ns)  # no turn may have been for long
        told = self.core.steward.told
        for received in some:
            self._receive(received, now_ns)
        self._flush(now_ns)
        if self.core.steward.told != told:
            self._dirty = True
            self._wake()

    def _receive(self, received: Received, now_ns: int) -> None:
        try:
            message, operation_id, _ = unpack_frame(received.frame)
        except WireError as error:
            self._counters.count("control_refused", error.reason)
            return
        sender = Sender(received.peer, received.identity.node_id, Role(received.identity.role))
        try:
            self.core.receive(sender, message, operation_id, now_ns, self._wall_ns())
        except Exception:  # the last resort of a shell: one request must not end the service
            log.exception("a control request failed")
            self._counters.count("control_refused", "internal")
