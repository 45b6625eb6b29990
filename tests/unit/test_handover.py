"""target/handover.py: what it asks for, what it waits for, and when it gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from replicast.errors import Unavailable
from replicast.flexhash.build import build
from replicast.flexhash.commands import Code
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.metrics import Counters
from replicast.target.handover import HandOver
from replicast.wire import control_messages as cm

ADDRESS = ("127.0.0.1", 1)
TARGETS = [
    TargetEntry(n, f"t{n}", f"h{n}", "", ADDRESS, ADDRESS, ADDRESS, "", ADDRESS) for n in (1, 2, 3)
]


def table(generation: int = 1, **states: VdevState) -> Table:
    """VDEV n of target n; t1=..., others are up."""
    vdevs = [
        VdevEntry(n, bytes([n]) * 16, n, 10, states.get(f"t{n}", VdevState.UP), 7)
        for n in (1, 2, 3)
    ]
    return build(None, TARGETS, vdevs, Policy(row_count=16, group_size=3), (), generation)


@dataclass
class World:
    """Stands for everything around the hand-over of target 1."""

    table: Table = field(default_factory=table)
    floor: int = 1
    leased: bool = True
    leads_raft: int = 0  # times that it is asked to hand over until it does; -1: never
    ending: list[int] = field(default_factory=list)  # transfers, each time that it looks
    code: Code | None = Code.OK
    changes: list[cm.VdevStates] = field(default_factory=list)
    asked_raft: int = 0
    waiting: Callable[[], bool] | None = None

    # the client
    async def command(self, message: cm.VdevStates) -> cm.CommandResult:
        assert not self.is_leader, "Raft comes first"
        self.changes.append(message)
        if self.code is None:
            raise Unavailable("no voter confirmed it in time")
        return cm.CommandResult(code=self.code, value=1)

    async def until(self, reached: Callable[[], bool], seconds: float | None, what: str) -> None:
        self.waiting = reached
        while not reached():
            await asyncio.sleep(0)

    # the service
    @property
    def transfers(self) -> int:
        return self.ending.pop(0) if self.ending else 0

    # the lease
    def valid(self, now_ns: int) -> bool:
        return self.leased

    # Raft
    @property
    def is_leader(self) -> bool:
        return self.leads_raft != 0

    @property
    def settings(self) -> Any:
        return SimpleNamespace(voters=("t1", "t2", "t3"))

    @property
    def node(self) -> World:
        return self

    def transfer_leadership(self, now_ns: int) -> None:
        self.asked_raft += 1
        self.leads_raft -= self.leads_raft > 0

    def wake(self) -> None:
        """Nothing to send here."""

    async def run(self, seconds: float = 10.0) -> dict[str, int]:
        counters, me = Counters(), cast(Any, self)
        await HandOver(1, me, me, me, me, lambda: 0, counters).run(seconds)
        outcomes = ("done", "cut_short", "nobody_there")
        return {each: int(counters.get("hand_overs", each)) for each in outcomes}


def one(outcome: str) -> dict[str, int]:
    return {each: int(each == outcome) for each in ("done", "cut_short", "nobody_there")}


def test_hand_over__raft_first_then_rows_until_all_have_adopted() -> None:
    async def test() -> None:
        world = World(leads_raft=2)
        running = asyncio.ensure_future(world.run())
        while world.waiting is None:
            await asyncio.sleep(0)
        assert world.asked_raft == 2
        change = cm.VdevChange(index=1, open_count=7, state=VdevState.STOPPING)
        assert world.changes == [cm.VdevStates(changes=(change,))]
        assert not world.waiting()
        world.floor = 2
        assert not world.waiting()  # it leads rows still
        world.table = table(3, t1=VdevState.STOPPING)
        assert not world.waiting()  # somebody who may act has not adopted that
        world.table = table(5, t1=VdevState.STOPPING)  # a later one changes nothing
        world.floor = 3
        assert world.waiting()
        assert await running == one("done")

    asyncio.run(test())


def test_hand_over__ends_when_there_is_nobody_to_take_over_or_no_lease() -> None:
    async def test() -> None:
        alone = World(table=table(t2=VdevState.STOPPING, t3=VdevState.DOWN))
        assert await alone.run() == one("nobody_there") and not alone.changes
        fenced = World(leased=False)
        assert await fenced.run() == one("nobody_there") and not fenced.changes
        left = World()
        running = asyncio.ensure_future(left.run())
        while left.waiting is None:
            await asyncio.sleep(0)
        left.leased = False  # the quorum has gone meanwhile
        assert await running == one("nobody_there")

    asyncio.run(test())


def test_hand_over__of_vdevs_that_lead_nothing_only_waits_for_the_floor() -> None:
    async def test() -> None:
        down = World(table=table(2, t1=VdevState.DOWN), floor=2)
        assert await down.run() == one("done") and not down.changes
        overtaken = World(code=Code.CONFLICT)
        running = asyncio.ensure_future(overtaken.run())
        while overtaken.waiting is None:
            await asyncio.sleep(0)
        overtaken.table, overtaken.floor = table(4, t1=VdevState.DOWN), 4
        assert await running == one("done")

    asyncio.run(test())


def test_hand_over__is_cut_short_by_its_time_and_by_a_control_plane_that_is_not_there() -> None:
    async def test() -> None:
        assert await World().run(0.0) == one("cut_short")
        assert await World(code=None).run() == one("cut_short")

    asyncio.run(test())


def test_hand_over__waits_for_transfers() -> None:
    async def test() -> None:
        world = World(table=table(2, t1=VdevState.STOPPING), floor=2, ending=[2, 1, 0, 7])
        assert await world.run() == one("done")
        assert world.ending == [7]

    asyncio.run(test())


def test_table__of_these_tests_has_the_states_that_they_say() -> None:
    made = table(2, t1=VdevState.STOPPING)
    assert made.vdevs[1].state == VdevState.STOPPING
    assert replace(made.vdevs[1], state=VdevState.UP) == table(2).vdevs[1]
