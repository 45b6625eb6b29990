"""The control plane as a whole, on virtual time: voters, leases, generations, adoption.

Three voters behind a modelled log, six targets, a network that delays, loses and
partitions, clocks that drift within the margin, pauses, crashes, Raft leader changes.
Fair faults: anything but two log leaders that both commit; clock rates within 2%.
Replay one: SIM_SEED=n pytest tests/sim/test_control_plane.py
"""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Callable

import pytest

from replicast.flexhash import lease
from replicast.flexhash.commands import Code, EditKind, Role
from replicast.flexhash.follow import AdoptSettings, AdoptTable, CommandDone, Follower
from replicast.flexhash.lease import LeaseGranter, LeaseHolder, Record
from replicast.flexhash.server import ControlServer, Sender, Standing
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableBook
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import decode, encode
from replicast.wire.schema import Message

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(6))
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


class Log:
    """A correct single log: only the newest leader's proposals are ever committed."""

    def __init__(self) -> None:
        self.term = 0
        self.leader = 0
        self.entries: list[bytes] = []


class Node:
    """One target process, with a voter in it or not. Its clock is its own."""

    def __init__(self, world: World, node: int) -> None:
        self.world, self.node = world, node
        self.rate_ppm = world.rng.randrange(-9000, 9000)
        self.offset_ns = world.rng.randrange(1000 * SECOND)
        self.open_count = 0
        self.persisted: Table | None = None
        self.paused_until_ns = 0
        self.boot = 0
        self.leading_term: int | None = None
        self.state = ControlState()
        self.applied = 0
        self.led_rows: dict[int, list[int]] = {}
        self.server: ControlServer | None = None
        if node in VOTERS:
            self.book = TableBook(self.state)
            self.server = ControlServer(node, self.state, self.book, Counters(), INIT)
        self.start()

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
        log = world.log
        if world.linked(self.node, log.leader) or self.node == log.leader:
            while self.applied < len(log.entries):
                self.state.apply(log.entries[self.applied])
                self.applied += 1
        while (job := self.book.wanted()) is not None:
            table = job.run()
            assert table is not None
            assert self.book.put(table)
        # A deposed leader does not know it for a while.
        if self.leading_term != log.term and world.time_ns >= world.deposed_ns + SECOND:
            self.leading_term = None
        standing = Standing(
            leading_term=self.leading_term,
            leader=log.leader,
            term=log.term,
            age_ns=self.holder.age_ns(self.now_ns()),
        )
        server.tick(self.now_ns(), self.wall_ns(), standing)
        for token, entry in server.take_commands():
            world.propose(self, token, entry)
        for reply in server.take_replies():
            peer = int.from_bytes(reply.peer, "big")
            world.send(self.node, peer, reply.message, reply.operation_id, to_voter=False)

    def step_target(self) -> None:
        follower = self.follower
        now_ns = self.now_ns()
        follower.tick(now_ns, self.wall_ns())
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
            join = cm.VdevJoin(
                vdev_id=vdev_id(self.node),
                target=self.node,
                weight=10,
                open_count=self.open_count,
                opener=self.boot,
                damaged=False,
            )
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
                way_back = Sender(sender.to_bytes(8, "big"), sender, Role.TARGET)
                node.server.receive(way_back, decoded, operation_id, node.now_ns(), node.wall_ns())
            else:
                voter = VOTERS.index(sender)
                node.follower.receive(voter, decoded, operation_id, node.now_ns(), node.wall_ns())

        self.after(self.rng.randrange(1, 15) * MS, deliver)

    # -- the log ---------------------------------------------------------------------

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
                while node.applied < len(self.log.entries):
                    node.state.apply(self.log.entries[node.applied])
                    node.applied += 1
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
            node.start()
        elif what == "lossy":
            self.loss_percent = self.rng.choice([0, 10, 30])
        elif what == "vouch" and node.follower.vouched is not None:
            node.follower.vouched = () if node.follower.vouched else (vdev_id(victim),)
            node.follower.renew_now()

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


def test_a_new_cluster_forms_and_every_row_gets_one_leader() -> None:
    world = World(1)
    world.run(4)
    assert world.settled()
    tables = [n.follower.table for n in world.nodes.values()]
    assert all(t is not None and len(t.vdevs) == 6 for t in tables)


def test_same_seed_same_run() -> None:
    runs = []
    for _ in range(2):
        world = World(5)
        for _ in range(4):
            world.run(2, check=False)
            world.fault()
        runs.append((world.trace, world.count, world.digests))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_never_two_leaders_of_a_row(seed: int) -> None:
    """Safety at every instant under faults; then the faults stop and all converges."""
    print(f"replay: SIM_SEED={seed}")
    world = World(seed)
    world.run(3)
    for _ in range(14):
        world.fault()
        world.run(world.rng.uniform(0.2, 4.0))
    world.calm()
    world.run(25)
    assert world.settled(), [
        (n.node, n.follower.generation, n.holder.valid(n.now_ns()), n.holder.floor)
        for n in world.nodes.values()
    ]


def no_wait(self: LeaseGranter, targets: list[int], now_ns: int, bound_ns: int) -> None:
    self.records = {node: Record(now_ns, now_ns) for node in targets}


def always_floor(self: LeaseHolder, floor: int, settings_floor: int) -> None:
    self.floor = 1 << 60


CANARIES = [
    (LeaseGranter, "begin", no_wait),
    (LeaseHolder, "raise_floor", always_floor),
    (LeaseGranter, "_lags", lambda self, m, now_ns: 0),
    (lease, "stretched", lambda duration_ns: duration_ns * 8 // 10),
]


@pytest.mark.parametrize(("where", "what", "bug"), CANARIES)
def test_canary(monkeypatch: pytest.MonkeyPatch, where: object, what: str, bug: object) -> None:
    """A planted bug must be seen by the checker, by one of the first seeds."""
    monkeypatch.setattr(where, what, bug)
    with pytest.raises(AssertionError, match="led by"):
        for seed in range(40):
            world = World(seed)
            world.run(3)
            for _ in range(14):
                world.fault()
                world.run(world.rng.uniform(0.2, 4.0))


def test_dead_target__its_rows_move_within_ten_seconds() -> None:
    world = World(3)
    world.run(4)
    world.nodes[5].paused_until_ns = 1 << 62
    world.run(9)
    acting = world.acting()
    assert len(acting) == ROWS and [5] not in acting.values()


def test_dead_raft_leader__rows_move_within_fifteen_seconds() -> None:
    world = World(4)
    world.run(4)
    world.nodes[1].paused_until_ns = 1 << 62
    world.run(1.2)
    world.elect(2)
    world.run(11)
    acting = world.acting()
    assert len(acting) == ROWS and [1] not in acting.values()


def test_addition_after_a_leader_change_is_refused() -> None:
    """Review 1.4: a leader's `add` that arrives after it lost the row changes nothing."""
    world = World(6)
    world.run(4)
    table = world.nodes[2].follower.table
    assert table is not None
    row = next(r for r in range(ROWS) if table.vdevs[table.name_replicas(r)[0]].target == 5)
    old = table.name_replicas(row)
    outside = next(i for i in table.members(row) if i not in old)
    late = cm.RowsChange(
        by=old[0],
        by_open_count=table.vdevs[old[0]].open_count,
        vdev=outside,
        open_count=table.vdevs[outside].open_count,
        kind=EditKind.ADD,
        seen=table.generation,
        rows=(row,),
    )
    world.nodes[5].paused_until_ns = 1 << 62
    world.run(9)
    leader = world.nodes[world.log.leader].server
    assert leader is not None
    submit = cm.CommandSubmit(client=1, sequence=1, kind=late.TYPE, body=encode(late))
    node = world.nodes[world.log.leader]
    leader.receive(
        Sender((5).to_bytes(8, "big"), 5, Role.TARGET),
        submit,
        bytes(16),
        node.now_ns(),
        node.wall_ns(),
    )
    world.run(2)
    after = world.nodes[2].follower.table
    assert after is not None and after.generation > table.generation + 1
    assert outside not in after.name_replicas(row)
