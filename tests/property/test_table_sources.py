"""Whatever targets near by do, a follower comes to the announced table, soon and from who is nearest."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from replicast.flexhash.build import build
from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.follow import HURRY_NS, Follower
from replicast.flexhash.follow_events import AdoptTable, AskTarget
from replicast.flexhash.follow_tables import PATIENCE_NS, TRIES_MAX, TargetFetch
from replicast.flexhash.sources import PASSED_OVER_NS, Nearness, Place, Sources
from replicast.flexhash.table import Table
from replicast.flexhash.tables import unpack_table
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.frame import NO_OPERATION
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

TARGETS, VOTERS = tuple(range(1, 8)), (1, 2, 3)
GENERATIONS = (1, 2, 3)
BLAMED = ("silent", "late", "other bytes", "other generation", "junk", "other message")
BEHAVIOUR = st.sampled_from(("right", "right", "not here", "busy", *BLAMED))
HOUR_NS = 3600 * SECOND


def make_table(generation: int) -> Table:
    targets = [
        TargetEntry(n, f"t{n}", f"h{n}", f"z{n % 2}", *[(f"10.0.0.{n}", 1)] * 3, "", ("", 0))
        for n in TARGETS
    ]
    vdevs = [VdevEntry(n, bytes([n]) * 16, n, 10, VdevState.UP, generation) for n in TARGETS]
    return build(None, targets, vdevs, Policy(row_count=16, group_size=3), (), generation)


TABLES = {generation: make_table(generation) for generation in GENERATIONS}


def data(table: Table, generation: int = 0) -> cm.TableData:
    return cm.TableData(
        generation=generation or table.generation,
        digest=table.digest,
        raw_bytes=len(table.to_bytes()),
        data=zlib.compress(table.to_bytes(), 1),
    )


def answer(behaviour: str, generation: int) -> Message | None:
    """Of a target; None: nothing comes in time."""
    right, other = TABLES[generation], TABLES[generation % len(TABLES) + 1]
    match behaviour:
        case "right":
            return data(right)
        case "not here" | "busy":
            reason = Reason.BUSY if behaviour == "busy" else Reason.NOT_READY
            return cm.ControlRefused(reason=reason, detail="")
        case "other bytes":
            return data(other, generation)
        case "other generation":
            return data(other)
        case "junk":
            return replace(data(right), data=b"junk")
        case "other message":
            return cm.Redirect(leader=1)
    return None


@dataclass
class Bench:
    """A follower between voters that answer and targets that do as they are told."""

    behaviours: dict[int, list[str]]
    place: Place
    seed: int
    counters: Counters = field(default_factory=Counters)
    now_ns: int = 0
    asked: list[tuple[int, int, str, int]] = field(default_factory=list)  # target, table, how, when
    adopted: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        known = tuple(TABLES[1].targets.values())
        near = TargetFetch(Sources(self.place, rng), known, rng, self.counters)
        self.follower = Follower(99, VOTERS, rng, self.counters, near=near)

    def announce(self, table: Table) -> None:
        notice = cm.Notice(
            leader=1, age_ns=0, active=table.generation, active_digest=table.digest, prepared=0,
            prepared_digest=bytes(32), settings_version=0, floor=1, settings_floor=0, wall_ns=0,
            voter_epoch=0, users_version=0,
        )  # fmt: skip
        self.follower.receive(0, notice, NO_OPERATION, self.now_ns)

    def run(self, generation: int) -> None:
        """From the announcement until the table is adopted."""
        self.announce(TABLES[generation])
        until_ns = self.now_ns + TRIES_MAX * (PATIENCE_NS + HURRY_NS) + SECOND
        while self.follower.generation < generation:
            assert self.now_ns < until_ns, "not in time"
            self.follower.tick(self.now_ns)
            self.settle()
            self.now_ns = min(self.follower.deadline_ns(), self.now_ns + HURRY_NS)

    def settle(self) -> None:
        """Events and questions until nothing comes of them at this instant."""
        while events := self.follower.take_events():
            for event in events:
                if isinstance(event, AdoptTable):
                    self.adopted.append(event.table)
                    self.follower.adopted(event.table, self.now_ns)
                elif isinstance(event, AskTarget):
                    self.answer_target(event)
        for ask in self.follower.take_asks():
            if isinstance(ask.message, cm.TableGet):
                table = TABLES[ask.message.generation]
                self.now_ns += MS
                self.follower.receive(ask.voter, data(table), ask.operation_id, self.now_ns)
                self.settle()

    def answer_target(self, event: AskTarget) -> None:
        node_id, generation = event.source.node_id, event.message.generation
        plan = self.behaviours[node_id]
        how = plan[(generation - 1) % len(plan)]
        if self.asked and self.asked[-1][2] in ("silent", "late"):
            assert self.now_ns - self.asked[-1][3] >= PATIENCE_NS, "one question at a time"
        self.asked.append((node_id, generation, how, self.now_ns))
        message = answer(how, generation)
        if message is not None:
            self.now_ns += MS
            self.follower.target_answered(message, event.operation_id, self.now_ns)
            self.follower.target_answered(message, event.operation_id, self.now_ns)  # and twice


@given(
    st.fixed_dictionaries({n: st.lists(BEHAVIOUR, min_size=1, max_size=3) for n in TARGETS}),
    st.sampled_from([Place(), Place("h2", "z0"), Place("h5", "z1"), Place("gw", "z1")]),
    st.integers(0, 1 << 32),
    st.integers(0, 90),
)
def test_tables__come_in_time_and_right_from_the_nearest_that_have_them(
    behaviours: dict[int, list[str]], place: Place, seed: int, pause_seconds: int
) -> None:
    bench = Bench(behaviours, place, seed)
    blamed_ns: dict[int, int] = {}
    for generation in GENERATIONS:
        before = len(bench.asked)
        bench.run(generation)
        asked = bench.asked[before:]
        assert len(asked) <= TRIES_MAX and len({n for n, *_ in asked}) == len(asked)
        assert all(g == generation for _, g, *_ in asked)
        nearness = [place.nearness(TABLES[1].targets[n]) for n, *_ in asked]
        assert nearness == sorted(nearness)
        for (node_id, _, how, at_ns), near in zip(asked, nearness, strict=True):
            assert near == Nearness.HOST or node_id not in VOTERS
            assert at_ns - blamed_ns.get(node_id, -HOUR_NS) >= PASSED_OVER_NS
            if how in BLAMED:
                blamed_ns[node_id] = at_ns
        gave = [
            near for (_, _, how, _), near in zip(asked, nearness, strict=True) if how == "right"
        ]
        assert len(gave) <= 1, "who has given it ends the search"
        bench.now_ns += pause_seconds * SECOND
    assert bench.adopted == [TABLES[generation] for generation in GENERATIONS]
    count = bench.counters.get
    assert bench.counters.total("tables_fetched") == len(GENERATIONS)
    right = [how for _, _, how, _ in bench.asked].count("right")
    assert count("tables_fetched", "voter") == len(GENERATIONS) - right
    assert bench.counters.total("table_sources_failed") == len(bench.asked) - right


def test_data__is_what_followers_take() -> None:
    for table in TABLES.values():
        assert unpack_table(data(table), table.digest) == table
