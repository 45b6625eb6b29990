"""The Raft voter inside a target, from one voter epoch to the next; a target without one is none.

    role = VoterRole(...)           .control and .raft while it votes, .lost why it must not
    role.open()                     before the target's own client, which is given by connect()
    role.on_voters(voters)          others vote from now on, as the client has learned

A voter epoch is one Raft group with its own folder: `raft` as formed, `raft-2`, `raft-3` ... It
ends with the command that replaces a voter (flexhash/voters.py). Going over to the next one:

    1  raft-N        made, with the state that epoch N begins with (raft/beginning.py)
    2  voters.toml   names epoch N; until then a restart goes on in the epoch before
    3  the group     of epoch N is started, the one before is closed

So nothing is sent in epoch N before what it rests on is durable, and a voter leaves its epoch only
when the next one can go on without it. Who is no voter any more writes voters.toml and closes its
group once the next epoch has a leader: until then it may be the only one that can tell how it begins.
Folders of ended epochs stay as they are and are not opened again.

A voter must never forget a vote, so voters.toml is the memory of a target's folder: written first
when it joins, it says up to which epoch all that this target did is recorded here. Who has none (a
folder made anew after a loss), or whose raft-N is gone, votes in no epoch that it may have voted
in; it serves as a target without a vote, until another one has its place.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from replicast.curve import CurveHub
from replicast.disk import Disk
from replicast.flexhash.client import TableClient
from replicast.flexhash.control_port import ControlPort
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.raft.beginning import begin, read_start
from replicast.flexhash.raft.journal import NotAVoter, Voter
from replicast.flexhash.raft.node import RaftNode, RaftSettings
from replicast.flexhash.raft.sealed import Damaged
from replicast.flexhash.raft.shell import RaftShell, VoterAddress
from replicast.flexhash.service import ControlService
from replicast.flexhash.table import Table
from replicast.flexhash.voter_file import VOTERS_FILE, VoterFile
from replicast.flexhash.voters import VoterSet, digest_of, entry_of, voter_set
from replicast.formation import voter_name
from replicast.metrics import Counters
from replicast.runtime import Runtime
from replicast.target.membership import Doorkeeper, Membership
from replicast.wire.status_messages import RaftStatus

log = logging.getLogger("replicast.target")

ASK_SECONDS = 1.0
RETRY_SECONDS = 0.25
VOTED = "voted"
LOST, STATES = "lost", ("follower", "candidate", "leader")


class VoterRole:
    """One per target process. Make it inside the running event loop."""

    def __init__(
        self,
        membership: Membership,
        disk: Disk,
        hub: CurveHub,
        port: ControlPort,
        door: Doorkeeper,
        lease: LeaseHolder,
        tables: Callable[[], Iterable[Table]],
        rng: random.Random,
        runtime: Runtime,
        counters: Counters,
    ) -> None:
        self._membership, self._disk, self._hub, self._port = membership, disk, hub, port
        self._door, self._lease, self._tables = door, lease, tables
        self._rng, self._runtime, self._counters = rng, runtime, counters
        formation = membership.formation
        self._file = VoterFile(disk, membership.directory, formation.cluster_id)
        self._formed = membership.formed_voters()
        self.voters = self._formed  # of the newest epoch on disk
        self._wanted = self.voters
        self._remembers = False  # this folder has a voters.toml
        self._settled = 0  # up to this epoch the voter, or its absence, is as it should be
        self._client: TableClient | None = None
        self._task: asyncio.Task[None] | None = None
        self.control: ControlService | None = None
        self.raft: RaftShell | None = None
        self.lost = ""

    # -- life -------------------------------------------------------------------------

    def open(self) -> None:
        """Vote in the newest epoch known here, if this target does and its files are sound."""
        saved = self._file.load()
        self._remembers = saved is not None
        if saved is not None and saved.epoch > self.voters.epoch:
            self.voters = self._wanted = saved
        self._settled = self.voters.epoch
        if not self._votes(self.voters):
            return
        try:
            self._enter()
        except (NotAVoter, Damaged) as error:
            self._port.unvote()
            self.control = None
            self._lose(error)

    def connect(self, client: TableClient) -> None:
        """Whom to ask for what is missing."""
        self._client = client
        self._go_on()

    def on_voters(self, voters: VoterSet) -> None:
        """The client was told of a later epoch."""
        if voters.epoch > self._wanted.epoch:
            self._wanted = voters
            self._go_on()

    def offer(self, table: Table) -> None:
        """A table that this target adopted."""
        if self.control is not None:
            self.control.offer(table)

    async def stop(self) -> None:
        """Close what runs; the files stay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._leave()

    # -- looking ----------------------------------------------------------------------

    def status(self) -> RaftStatus:
        """For `replicast status`."""
        raft, epoch = self.raft, self.voters.epoch
        if raft is None:
            return RaftStatus(
                voter=bool(self.lost), state=LOST if self.lost else "", has_quorum=False, leader=0,
                voter_epoch=epoch, term=0,
            )  # fmt: skip
        status, leader = raft.node.status(), raft.node.leader
        return RaftStatus(
            voter=True,
            state=str(status["state"]),
            has_quorum=bool(status["has_quorum"]),
            leader=int(leader, 16) if leader else 0,
            voter_epoch=epoch,
            term=raft.node.term,
        )

    def show(self) -> None:
        """Bring the gauges up to date."""
        state = self.status().state
        for each in (*STATES, LOST):
            self._counters.gauge("raft_state", each, value=int(each == state))
        self._counters.gauge("voter_epoch", value=self.voters.epoch)

    # -- from one epoch to the next ---------------------------------------------------

    def _on_ended(self) -> None:
        """The state here says that this epoch has ended."""
        assert self.control is not None
        state, start = self.control.state, self.control.core.succession.start()
        assert start is not None
        self.on_voters(voter_set(state.voter_epoch, map(entry_of, state.voters), digest_of(start)))

    def _go_on(self) -> None:
        idle = self._task is None or self._task.done()
        if self._client is not None and idle and self._wanted.epoch > self._settled:
            self._task = asyncio.get_running_loop().create_task(self._change())

    async def _change(self) -> None:
        while (voters := self._wanted).epoch > self._settled:
            try:
                if await self._go_over(voters):
                    self._settled = voters.epoch
                else:
                    await asyncio.sleep(RETRY_SECONDS)
            except (NotAVoter, Damaged) as error:
                self._lose(error)
                self._settled = voters.epoch
                await self._leave()
            except OSError:
                log.exception("voter epoch %d cannot begin here yet", self._wanted.epoch)
                await asyncio.sleep(RETRY_SECONDS)

    async def _go_over(self, voters: VoterSet) -> bool:
        """All steps; False when it is too early for one."""
        assert self._client is not None
        if not self._votes(voters):
            self._client.adopt_voters(voters)
            if self.raft is not None and not await self._goes_on(voters):
                return False
            self._keep(voters)
            await self._leave()
            self.lost = ""
            return True
        if voters.epoch > self.voters.epoch:
            if not self._remembers:
                raise NotAVoter(f"{self._membership.directory}: no {VOTERS_FILE}, made anew")
            start = self._own_start(voters) or await self._client.channels.fetch_start(
                voters, self.voters, self._counters
            )
            if start is None:
                return False
            salt = self._rng.getrandbits(64)
            begin(self._disk, self._folder(voters), self._identity(voters), start, salt)
        self._keep(voters)
        self._client.adopt_voters(voters)
        self._enter()
        return True

    async def _goes_on(self, voters: VoterSet) -> bool:
        """Whether a group of that epoch has a leader."""
        assert self._client is not None
        answers = [a for a in await self._client.status(ASK_SECONDS) if a is not None]
        return any(
            a.voter_epoch >= voters.epoch and a.has_quorum and a.leader in voters.node_ids
            for a in answers
        )

    def _own_start(self, voters: VoterSet) -> bytes | None:
        control = self.control
        if control is None or control.state.voter_epoch != voters.epoch:
            return None
        return control.core.succession.start() if control.state.ended else None

    def _keep(self, voters: VoterSet) -> None:
        if voters.epoch > self.voters.epoch:
            self._file.save(voters)
            self.voters, self._remembers = voters, True

    def _lose(self, error: NotAVoter | Damaged) -> None:
        """Serve as a target without a vote, until another one votes in its place."""
        log.error("this voter must not vote: %s", error)
        self.lost = str(error)
        self._counters.count("voters_lost")

    # -- the group --------------------------------------------------------------------

    def _enter(self) -> None:
        """Start the group of `voters`; raises NotAVoter or Damaged."""
        m, voters = self._membership, self.voters
        folder, formed = self._folder(voters), voters.epoch == self._formed.epoch
        start = b"" if formed else read_start(self._disk, folder)
        if self.raft is not None:
            self.raft.node.close()  # it applies nothing more to the state that follows
        if self.control is None:
            self.control = self._service(voters)
        control = self.control
        if not formed:
            control.regroup(voters.epoch, start)
        addresses = {
            voter_name(v.node_id): VoterAddress(v.node_id, v.raft, v.public_key)
            for v in voters.voters
        }
        self._disk.make_directory(folder)
        settings = RaftSettings(
            name=voter_name(m.me.node_id),
            voters=tuple(addresses),
            voter_epoch=voters.epoch,
            cluster_id=m.formation.cluster_id,
            directory=folder,
            new_voter=formed and self._remembers and VOTED not in self._names(),
        )
        node = RaftNode(
            settings,
            disk=self._disk,
            apply=control.state.apply,
            snapshot=control.state.snapshot,
            restore=control.state.restore,
            rng=self._rng,
            now_ns=self._runtime.now_ns(),
            counters=self._counters,
        )
        if formed:
            self._mark()
        if self.raft is None:
            self.raft = RaftShell(
                node, self._hub, m.key_pair, addresses, self._runtime.now_ns, control.turn
            )
        else:
            self.raft.regroup(node, addresses)
        ids = {voter_name(v.node_id): v.node_id for v in voters.voters}
        control.start(node, self.raft.wake, ids)
        self.raft.start()
        self.lost = ""

    def _service(self, voters: VoterSet) -> ControlService:
        m = self._membership
        return ControlService(
            m.me.node_id,
            self._port,
            self._door,
            clock_ns=self._runtime.now_ns,
            wall_ns=self._runtime.wall_ns,
            counters=self._counters,
            formation=m.cluster_init(),
            tables=self._tables(),
            holder=self._lease,
            voter_epoch=voters.epoch,
            on_ended=self._on_ended,
        )

    async def _leave(self) -> None:
        control, raft = self.control, self.raft
        self.control = self.raft = None
        if control is not None:
            await control.stop()
        if raft is not None:
            await raft.stop()

    # -- files ------------------------------------------------------------------------

    def _votes(self, voters: VoterSet) -> bool:
        return self._membership.me.node_id in voters.node_ids

    def _identity(self, voters: VoterSet) -> Voter:
        m = self._membership
        return Voter(m.formation.cluster_id, voters.epoch, voter_name(m.me.node_id))

    def _folder(self, voters: VoterSet) -> Path:
        formed = voters.epoch == self._formed.epoch
        return self._membership.directory / ("raft" if formed else f"raft-{voters.epoch}")

    def _names(self) -> list[str]:
        return self._disk.list(self._membership.directory)

    def _mark(self) -> None:
        """From now on an empty folder means a lost disk, and such a voter must not vote."""
        directory = self._membership.directory
        mark = self._disk.open(directory / VOTED, create=True)
        mark.sync()
        mark.close()
        self._disk.sync_directory(directory)
