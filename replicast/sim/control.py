"""The control plane in one thread on virtual time: voters, targets, network, clocks, faults.

    world = World(seed)          the log is a model (correct by construction), or
    world = RaftWorld(seed)      the voters' real Raft nodes
    world.run(seconds)           checks at every event that no row has two acting leaders
    world.fault(); world.calm(); world.settled()

Three voters, six targets with one VDEV each. The network delays, loses and partitions;
clocks run up to 0.9% off; processes pause, restart, stop vouching. Fair faults: anything but
clock rates beyond the lease margin. One seed, one run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from pathlib import Path

from replicast.flexhash.commands import Code, Role
from replicast.flexhash.follow import Follower
from replicast.flexhash.follow_events import AdoptSettings, AdoptTable, CommandDone
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.raft.node import Outcome, RaftNode, RaftSettings
from replicast.flexhash.server import ControlServer, Sender, Standing
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableBook
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import decode, encode
from replicast.wire.schema import Message

VOTERS = (1, 2, 3)
TARGETS = (1, 2, 3, 4, 5, 6)
ROWS = 16
WALL_NS = 1_800_000_000 * SECOND
POLICY = cm.PolicyInfo(row_count=ROWS, group_size=5, copies=3, min_copies=2, algorithm=1)
INIT = cm.ClusterInit(
    cluster_id=bytes(16), segment_id=7, recovery_epoch=0, expected_targets=6, policy=POLICY
)


def place(node: int) -> cm.Place:
    return cm.Place(host="h", port=node)


def info(node: int) -> cm.TargetInfo:
    return cm.TargetInfo(
        node_id=node,
        name=f"t{node}",
        host=f"h{node}",
        zone="z",
        udp=place(node),
        peer=place(node),
        control=place(node),
        metrics=place(node),
        public_key="",
        vdev_count=1,
    )


def vdev_id(node: int) -> bytes:
    return bytes([node]) * 16


def vdev_join(node: int, open_count: int = 1, opener: int = 0) -> cm.VdevJoin:
    """The node's one VDEV was opened, by `opener` (each open by its own, when none is given)."""
    return cm.VdevJoin(
        vdev_id=vdev_id(node),
        target=node,
        weight=10,
        open_count=open_count,
        opener=opener or open_count,
        damaged=False,
        uncounted=False,
    )


class Log:
    """A correct single log: only the newest leader's proposals are ever committed."""

    def __init__(self) -> None:
        self.term = 0
        self.leader = 0
        self.entries: list[bytes] = []


class Node:
    """One target process, with a voter in it or not. Its clock is its own."""

    role = Role.TARGET

    def __init__(self, world: World, node: int) -> None:
        self.world, self.node = world, node
        self.rate_ppm = world.rng.randrange(-9000, 9000)
        self.offset_ns = world.rng.randrange(1000 * SECOND)
        self.open_count = 0
        self.persisted: Table | None = None
        self.paused_until_ns = 0
        self.boot = 0
        self.led_rows: dict[int, list[int]] = {}
        self.server: ControlServer | None = None
        self.make_voter()
        self.start()

    def make_voter(self) -> None:
        """The voter's part, when the process has a voter and nothing is applied yet."""
        self.leading_term: int | None = None
        self.state = ControlState()
        self.applied = 0
        if self.node in VOTERS:
            self.book = TableBook(self.state)
            if self.persisted is not None:
                self.book.put(self.persisted)
            self.server = ControlServer(self.node, self.state, self.book, Counters(), INIT)

    def start(self) -> None:
        self.boot += 1
        self.open_count += 1
        self.holder = LeaseHolder(self.boot)
        self.follower = Follower(
            self.node,
            VOTERS,
            random.Random(self.world.rng.getrandbits(64)),
            Counters(),
            holder=self.holder,
            table=self.persisted,
        )
        self.giving_up: Table | None = None
        self.covered: int | None = None
        self.outcomes: dict[int, tuple[Code | None, int]] = {}
        self.join: list[int] = []

    def now_ns(self) -> int:
        t = self.world.time_ns
        return self.offset_ns + t + t * self.rate_ppm // 1_000_000

    def wall_ns(self) -> int:
        return WALL_NS + self.world.time_ns

    def up(self) -> bool:
        return self.world.time_ns >= self.paused_until_ns

    def acts_for(self) -> list[int]:
        """The rows for which this node would act as leader at this instant."""
        table = self.follower.table
        if table is None or not self.holder.valid(self.now_ns()):
            return []
        rows = self.led(table)
        if self.giving_up is not None:
            kept = self.led(self.giving_up)
            rows = [r for r in rows if r in kept]
        return [r for r in rows if self.holder.floor >= table.leader_since(r)]

    def led(self, table: Table) -> list[int]:
        rows = self.led_rows.get(table.generation)
        if rows is None:
            rows = self.led_rows[table.generation] = list(table.rows_led_by(self.node))
        return rows

    # -- steps ----------------------------------------------------------------------

    def step(self) -> None:
        if not self.up():
            return
        if self.server is not None:
            self.step_voter(self.server)
        self.step_target()

    def step_voter(self, server: ControlServer) -> None:
        world = self.world
        world.catch_up(self)
        while (job := self.book.wanted()) is not None:
            table = job.run()
            assert table is not None
            assert self.book.put(table)
        server.tick(self.now_ns(), self.wall_ns(), world.standing(self))
        for token, entry in server.take_commands():
            world.propose(self, token, entry)
        for reply in server.take_replies():
            peer = int.from_bytes(reply.peer, "big")
            world.send(self.node, peer, reply.message, reply.operation_id, to_voter=False)

    def step_target(self) -> None:
        follower = self.follower
        now_ns = self.now_ns()
        follower.tick(now_ns)
        for event in follower.take_events():
            if isinstance(event, AdoptTable):
                self.adopt(event.table)
            elif isinstance(event, AdoptSettings):
                follower.settings_adopted(event.version)
            elif isinstance(event, CommandDone):
                assert event.code not in (Code.BAD_COMMAND, Code.FORBIDDEN)
                self.outcomes[event.token] = (event.code, event.value)
        self.join_vdevs(now_ns)
        for ask in follower.take_asks():
            to = VOTERS[ask.voter]
            self.world.send(self.node, to, ask.message, ask.operation_id, to_voter=True)

    def join_vdevs(self, now_ns: int) -> None:
        done = [self.outcomes.get(token) for token in self.join]
        if not self.join or any(d is not None and d[0] != Code.OK for d in done):
            join = vdev_join(self.node, self.open_count, self.boot)
            tokens = [
                self.follower.submit(command, now_ns + 5 * SECOND)
                for command in (cm.TargetJoin(target=info(self.node)), join)
            ]
            self.join = [t for t in tokens if t is not None]
        elif self.follower.vouched is None and done[-1] and done[0]:
            covered = self.follower.generation >= done[-1][1]
            self.follower.vouched = (vdev_id(self.node),) if covered else None

    def adopt(self, table: Table) -> None:
        assert table.generation > self.follower.generation
        known = self.world.digests.setdefault(table.generation, table.digest)
        assert known == table.digest, "generations forked"
        self.giving_up = table
        boot = self.boot

        def persisted() -> None:
            if self.boot == boot:
                self.persisted, self.giving_up = table, None
                self.follower.adopted(table, self.now_ns())
                self.world.adopted += 1

        self.world.after(self.world.rng.randrange(1, 60) * MS, persisted)


class World:
    """Everything, on one heap."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.time_ns = 0
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.log = Log()
        self.deposed_ns = 0
        self.cut: dict[int, None] = {}
        self.loss_percent = 0
        self.digests: dict[int, bytes] = {}
        self.adopted = 0
        self.trace: list[str] = []
        self.nodes = {n: Node(self, n) for n in TARGETS}
        self.elect(1)
        for node in self.nodes.values():
            self.repeat(node)

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.time_ns + delay_ns, self.count, action))

    def repeat(self, node: Node) -> None:
        def go() -> None:
            node.step()
            self.after(20 * MS, go)

        self.after(self.rng.randrange(20 * MS), go)

    def run(self, seconds: float, check: bool = True) -> None:
        until_ns = self.time_ns + int(seconds * SECOND)
        while self.heap and self.heap[0][0] <= until_ns:
            self.time_ns, _, action = heapq.heappop(self.heap)
            action()
            if check:
                self.check()
        self.time_ns = until_ns

    def acting(self) -> dict[int, list[int]]:
        """By row, the nodes that would act as its leader."""
        acting: dict[int, list[int]] = {}
        for node in self.nodes.values():
            for row in node.acts_for():
                acting.setdefault(row, []).append(node.node)
        return acting

    def check(self) -> None:
        for row, nodes in self.acting().items():
            assert len(nodes) <= 1, f"row {row} led by {nodes} at {self.time_ns / 1e9:.3f}"

    def linked(self, a: int, b: int) -> bool:
        return (a in self.cut) == (b in self.cut)

    def send(
        self, sender: int, to: int, message: Message, operation_id: bytes, *, to_voter: bool
    ) -> None:
        wire = encode(message)
        if not self.linked(sender, to) or self.rng.randrange(100) < self.loss_percent:
            return

        def deliver() -> None:
            node = self.nodes[to]
            if not node.up():
                self.after(100 * MS, deliver)
                return
            decoded = decode(type(message).TYPE, wire)
            if to_voter:
                assert node.server is not None
                role = self.nodes[sender].role
                way_back = Sender(sender.to_bytes(8, "big"), sender, role)
                node.server.receive(way_back, decoded, operation_id, node.now_ns(), node.wall_ns())
            else:
                voter = VOTERS.index(sender)
                node.follower.receive(voter, decoded, operation_id, node.now_ns())

        self.after(self.rng.randrange(1, 15) * MS, deliver)

    # -- the log ---------------------------------------------------------------------

    def catch_up(self, node: Node) -> None:
        log = self.log
        if self.linked(node.node, log.leader) or node.node == log.leader:
            self.apply_all(node)
        # A deposed leader does not know it for a while.
        if node.leading_term != log.term and self.time_ns >= self.deposed_ns + SECOND:
            node.leading_term = None

    def apply_all(self, node: Node) -> None:
        while node.applied < len(self.log.entries):
            node.state.apply(self.log.entries[node.applied])
            node.applied += 1

    def standing(self, node: Node) -> Standing:
        return Standing(
            leading_term=node.leading_term,
            leader=self.log.leader,
            term=self.log.term,
            age_ns=node.holder.age_ns(node.now_ns()),
        )

    def elect(self, voter: int) -> None:
        """A new leader; it has applied all that is committed before it leads."""
        self.log.term += 1
        self.log.leader = voter
        self.deposed_ns = self.time_ns
        node = self.nodes[voter]
        node.leading_term = self.log.term

    def quorate(self, voter: int) -> bool:
        near = [v for v in VOTERS if v == voter or (self.linked(v, voter) and self.nodes[v].up())]
        return len(near) >= 2

    def propose(self, node: Node, token: int, entry: bytes) -> None:
        term = node.leading_term

        def commit() -> None:
            ours = self.log.term == term and self.log.leader == node.node
            result = None
            if ours and self.quorate(node.node) and node.up():
                self.apply_all(node)
                self.log.entries.append(entry)
                result = node.state.apply(entry)
                node.applied += 1
                if self.rng.randrange(100) < 5:
                    result = None  # applied, but the answer is lost
            assert node.server is not None
            node.server.command_done(token, result, node.now_ns(), node.wall_ns())

        self.after(self.rng.randrange(1, 30) * MS, commit)

    # -- faults ----------------------------------------------------------------------

    def fault(self) -> None:
        what = self.rng.choice(["pause", "cut", "heal", "elect", "crash", "lossy", "vouch", "calm"])
        victim = self.rng.choice(TARGETS)
        self.trace.append(f"{self.time_ns} {what} {victim}")
        node = self.nodes[victim]
        if what == "pause":
            node.paused_until_ns = self.time_ns + self.rng.randrange(9 * SECOND)
        elif what == "cut":
            self.cut = dict.fromkeys(self.rng.sample(TARGETS, self.rng.randrange(1, 3)))
            if self.log.leader in self.cut:
                self.after(800 * MS, self.elect_other)
        elif what == "heal":
            self.cut = {}
        elif what == "elect":
            self.elect_other()
        elif what == "crash":
            self.crash(node)
        elif what == "lossy":
            self.loss_percent = self.rng.choice([0, 10, 30])
        elif what == "vouch" and node.follower.vouched is not None:
            node.follower.vouched = () if node.follower.vouched else (vdev_id(victim),)
            node.follower.renew_now()

    def crash(self, node: Node) -> None:
        """The process starts anew; what the log's model holds it has applied at once."""
        node.start()

    def elect_other(self) -> None:
        self.elect(self.rng.choice([v for v in VOTERS if v not in self.cut] or list(VOTERS)))

    def calm(self) -> None:
        self.cut, self.loss_percent = {}, 0
        for node in self.nodes.values():
            node.paused_until_ns = 0
            if node.follower.vouched is not None:
                node.follower.vouched = (vdev_id(node.node),)

    def settled(self) -> bool:
        """Everybody has a lease, one generation, and every row exactly one acting leader."""
        generations = {n.follower.generation for n in self.nodes.values()}
        return len(generations) == 1 and len(self.acting()) == ROWS


class RaftWorld(World):
    """The same with the real Raft node of each voter on the same virtual time."""

    def __init__(self, seed: int) -> None:
        self.raft: dict[int, RaftNode] = {}
        self.arrival_ns: dict[tuple[int, int], int] = {}
        self.disks = {voter: MemoryDisk() for voter in VOTERS}
        super().__init__(seed)
        for voter in VOTERS:
            self.open_raft(self.nodes[voter], new_voter=True)

    def open_raft(self, node: Node, *, new_voter: bool) -> None:
        settings = RaftSettings(
            name=str(node.node),
            voters=[str(v) for v in VOTERS],
            voter_epoch=1,
            cluster_id=bytes(16),
            directory=Path("/raft"),
            new_voter=new_voter,
            compact_entries=100,
        )
        self.raft[node.node] = RaftNode(
            settings,
            disk=self.disks[node.node],
            apply=node.state.apply,
            snapshot=node.state.snapshot,
            restore=node.state.restore,
            rng=random.Random(self.rng.getrandbits(64)),
            now_ns=node.now_ns(),
        )

    def crash(self, node: Node) -> None:
        """Power fails: journal, vote and snapshot come back as they were synced."""
        if node.node in self.raft:
            self.disks[node.node].power_loss(self.rng)
            node.make_voter()
            self.open_raft(node, new_voter=False)
        node.start()

    def elect(self, voter: int) -> None:
        """Voters elect by themselves; a fault makes the leader hand over."""
        for number, raft in self.raft.items():
            if raft.is_leader:
                raft.transfer_leadership(self.nodes[number].now_ns())

    def catch_up(self, node: Node) -> None:
        raft = self.raft[node.node]
        raft.tick(node.now_ns())
        for name, frame in raft.take_outgoing():
            self.carry(node.node, int(name), frame)

    def carry(self, sender: int, to: int, frame: bytes) -> None:
        """Frames keep their order, as on a connection."""
        link = (sender, to)
        at_ns = max(self.time_ns + self.rng.randrange(1, 15) * MS, self.arrival_ns.get(link, 0))
        self.arrival_ns[link] = at_ns

        def deliver() -> None:
            node = self.nodes[to]
            if self.linked(sender, to) and node.up():
                self.raft[to].receive(str(sender), frame, node.now_ns())

        self.after(at_ns - self.time_ns, deliver)

    def standing(self, node: Node) -> Standing:
        raft = self.raft[node.node]
        return Standing(
            leading_term=raft.term if raft.is_leader else None,
            leader=int(raft.leader or 0),
            term=raft.term,
            age_ns=node.holder.age_ns(node.now_ns()),
        )

    def propose(self, node: Node, token: int, entry: bytes) -> None:
        def done(result: bytes | None, outcome: Outcome) -> None:
            assert node.server is not None
            node.server.standing = self.standing(node)
            applied = result if outcome is Outcome.APPLIED else None
            node.server.command_done(token, applied, node.now_ns(), node.wall_ns())

        self.raft[node.node].submit(entry, done, node.now_ns())
