"""The control plane as a whole (replicast/sim/control.py): safety at every instant, then liveness.

Replay one: SIM_SEED=n pytest tests/sim/test_control_plane.py
"""

from __future__ import annotations

import os

import pytest

from replicast.flexhash import lease
from replicast.flexhash.balance import STEADY_NS, Balancer
from replicast.flexhash.commands import Code, EditKind, Role, decode_result, encode_command
from replicast.flexhash.lease import LeaseGranter, LeaseHolder, Record
from replicast.flexhash.server import Sender
from replicast.flexhash.table import Table
from replicast.sim.control import ROWS, VOTERS, RaftWorld, World
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import encode

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(6))


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


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_never_two_leaders_of_a_row__real_raft(seed: int) -> None:
    print(f"replay: SIM_SEED={seed}")
    world = RaftWorld(seed)
    world.run(5)
    assert world.settled()
    for _ in range(6):
        world.fault()
        world.run(world.rng.uniform(0.2, 4.0))
    world.calm()
    world.run(25)
    assert world.settled()


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_power_loss_of_all__one_leader_a_row_and_nothing_forgotten(seed: int) -> None:
    """Voters included: their journals come back as synced, they elect, and all settles again."""
    print(f"replay: SIM_SEED={seed}")
    world = RaftWorld(seed)
    world.run(5)
    before = max(world.digests)
    for _ in range(3):
        for node in world.nodes.values():
            world.crash(node)
        world.run(world.rng.uniform(0.5, 6.0))
    world.run(20)
    assert world.settled()
    states = [world.nodes[voter].state for voter in VOTERS]
    assert {state.active for state in states} == {max(world.digests)}
    assert max(world.digests) > before  # every opening of a VDEV is known
    opens = {n: node.open_count for n, node in world.nodes.items()}
    assert all(opens[v.target] == v.open_count for s in states for v in s.vdevs.values())


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


def change_rows(world: World, kind: EditKind, vdev: int, rows: tuple[int, ...]) -> None:
    """As the leaders of `rows` would submit it, one after the other."""
    for row in rows:
        server = world.nodes[world.log.leader].server
        assert server is not None
        table = server.book.tables[server.state.active]
        by = table.row_leader(row)
        assert by is not None
        change = cm.RowsChange(
            by=by,
            by_open_count=table.vdevs[by].open_count,
            vdev=vdev,
            open_count=table.vdevs[vdev].open_count,
            kind=kind,
            seen=table.generation,
            rows=(row,),
        )
        assert decode_result(server.state.apply(encode_command(change)))[0] == Code.OK
        world.log.entries.append(encode_command(change))
        world.nodes[world.log.leader].applied += 1


def led_by(world: World, node: int) -> list[int]:
    return [row for row, nodes in world.acting().items() if nodes == [node]]


def away_and_back(world: World, node: int) -> tuple[int, list[int]]:
    """A target stays away until it was removed from its rows, and is added to them again."""
    vdev, rows = node_vdev(world, node), led_by(world, node)
    world.nodes[node].paused_until_ns = 1 << 62
    world.run(9)
    change_rows(world, EditKind.REMOVE, vdev, tuple(rows))
    world.run(2)
    world.nodes[node].paused_until_ns = 0
    world.run(2)
    change_rows(world, EditKind.ADD, vdev, tuple(rows))
    world.run(4)
    return vdev, rows


def node_vdev(world: World, node: int) -> int:
    table = world.nodes[world.log.leader].follower.table
    assert table is not None
    return next(i for i, v in table.vdevs.items() if v.target == node)


def test_planned_moves__who_was_removed_and_came_back_leads_again_once_it_is_steady() -> None:
    world = World(8)
    world.run(4)
    _, rows = away_and_back(world, 5)
    assert rows and led_by(world, 5) == []
    world.run(STEADY_NS / SECOND - 10)
    assert led_by(world, 5) == []
    world.run(40)
    assert led_by(world, 5) == rows and world.settled()


def test_planned_moves__a_target_that_flaps_is_given_nothing() -> None:
    world = World(9)
    world.run(4)
    vdev, rows = away_and_back(world, 5)
    for _ in range(3):
        world.run(40)
        change_rows(world, EditKind.REMOVE, vdev, (rows[0],))
        world.run(2)
        change_rows(world, EditKind.ADD, vdev, (rows[0],))
        world.run(2)
        assert led_by(world, 5) == []


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_planned_moves__under_faults_never_two_leaders(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moves without end, of any row to any replica, while everything else happens, too."""
    print(f"replay: SIM_SEED={seed}")
    world = World(seed)
    moves = []

    def restless(self: Balancer, table: Table, *of: object) -> cm.RowsChange | None:
        row = world.rng.randrange(ROWS)
        by, vdev = table.row_leader(row), world.rng.choice(table.name_replicas(row))
        if by is None or vdev == by:
            return None
        moves.append(row)
        lives = {i: v.open_count for i, v in table.vdevs.items()}
        return cm.RowsChange(
            by=by,
            by_open_count=lives[by],
            vdev=vdev,
            open_count=lives[vdev],
            kind=EditKind.LEAD,
            seen=table.generation,
            rows=(row,),
        )

    world.run(3)
    with monkeypatch.context() as patch:
        patch.setattr(Balancer, "next_change", restless)
        for _ in range(10):
            world.fault()
            world.run(world.rng.uniform(0.2, 4.0))
        world.calm()
        world.run(10)
    world.run(10)
    assert world.settled() and len(moves) > 20


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
