"""Workloads do what they say: bursts, deaths of clients at the place meant, ledgers that see wrong bytes."""

from __future__ import annotations

import asyncio
import io
import json
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicast.embed import Cluster
from replicast.errors import Unavailable
from replicast.sim.run import run_test
from replicast.sim.workload_crash import ANSWERED, SENT, UNSENT, Fragile
from replicast.sim.workloads import Ledger, Seat
from replicast.sim.world import World
from replicast.units import SECOND
from replicast.wire.name_messages import (
    NO_VERSION,
    NameGet,
    NameKey,
    NamePut,
    NameResult,
    OperationTime,
    VersionSummary,
)
from replicast.wire.schema import Message

from .whole import named

KEY = NameKey(row=1, tenant="default", bucket="sim", bucket_incarnation=1, name="k1")


def traced(name: str, seed: int, seconds: float) -> list[dict[str, Any]]:
    """The events of a good run."""
    lines = io.StringIO()
    result = run_test(named(name, seconds), seed, lines)
    assert result.verdict == "ok", result.problems
    return [json.loads(line) for line in lines.getvalue().splitlines()]


# -- ledger ---------------------------------------------------------------------------


def test_ledger__bytes_that_nobody_wrote_fail_the_run() -> None:
    ledger = Ledger(World(1))
    value = ledger.value(random.Random(1), (100,))
    assert ledger.read("sim/n1", ledger.values[value]) == value
    assert ledger.world.failures == []
    ledger.read("sim/n1", ledger.values[value][:-1])
    assert len(ledger.world.failures) == 1


def test_ledger__whole_finds_the_value_of_a_range() -> None:
    ledger = Ledger(World(1))
    data = ledger.values[ledger.value(random.Random(1), (1000,))]
    ledger.value(random.Random(2), (1000,))
    assert ledger.whole(data[100:301], 100, 300) == data
    assert ledger.whole(data[900:], 900, 1200) == data
    assert ledger.whole(data[900:990], 900, 1200) == data[900:990], "it is short"
    assert ledger.whole(data[101:302], 100, 300) == data[101:302], "it is of another place"


@pytest.mark.parametrize("end", ["ok", "fail", "unknown"])
@pytest.mark.parametrize(("took_ns", "late"), [(2 * SECOND, False), (2 * SECOND + 1, True)])
def test_ledger__operation_that_takes_too_long_fails_the_run(
    end: str, took_ns: int, late: bool
) -> None:
    ledger = Ledger(World(1), operation_ns_max=2 * SECOND)
    token = ledger.begin(1, "sim/n1", "get", None)
    ledger.world.run_until(took_ns)
    if end == "ok":
        ledger.ok(token, None)
    else:
        getattr(ledger, end)(token, Unavailable("nobody answers"))
    assert [failure.partition(":")[0] for failure in ledger.world.failures] == ["liveness"] * late


def test_ledger__blocks_are_few() -> None:
    ledger, rng = Ledger(World(1)), random.Random(1)
    assert 1 < len({ledger.block(rng, 64) for _ in range(100)}) < 10


# -- the death of a client ------------------------------------------------------------


class Named:
    """An initiator that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.answered = 0
        self.table = "the table"

    async def named(self, request: Message, row: int, operation: bytes = b"") -> Message:
        self.asked.append(request)
        await asyncio.sleep(0)
        self.answered += 1
        summary = VersionSummary(
            version=NO_VERSION,
            replaces=NO_VERSION,
            kind=1,
            null=False,
            logical_size=0,
            etag="",
            operation_id=bytes(16),
            body_hash=b"",
            short_chunks=0,
        )
        return NameResult(summary=summary, copies=3, holders=(), body=b"")


PUT = NamePut(
    key=KEY,
    time=OperationTime(first_sent_ns=1, begun_ns=1),
    condition=cast(Any, None),
    null=False,
    logical_size=0,
    etag="",
    body_hash=b"",
    body=b"",
    short_of_copies=(),
    holders=(),
)


@pytest.mark.parametrize(
    ("place", "asked", "answered"), [(UNSENT, 0, 0), (SENT, 1, 0), (ANSWERED, 1, 1)]
)
def test_fragile__dies_at_the_place(place: str, asked: int, answered: int) -> None:
    asyncio.run(look_at_fragile(place, asked, answered))


async def look_at_fragile(place: str, asked: int, answered: int) -> None:
    behind, kills = Named(), []
    objects = SimpleNamespace(names=SimpleNamespace(_initiator=behind))
    client = SimpleNamespace(_opened=SimpleNamespace(objects=objects))

    def kill() -> None:
        kills.append((len(behind.asked), behind.answered))

    seat = Seat(
        number=0,
        client=cast(Cluster, client),
        ledger=Ledger(World(1)),
        rng=random.Random(1),
        chunk_size_bytes=65536,
        admins=0,
        stopped=lambda: False,
        kill=kill,
    )
    fragile = Fragile(seat)
    assert fragile.table == "the table"
    fragile.place = place
    await fragile.named(NameGet(key=KEY, version=NO_VERSION, want_body=False), 1)
    assert kills == [], "only puts are deadly"
    behind.asked.clear()
    behind.answered = 0
    task = asyncio.ensure_future(fragile.named(PUT, 1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert kills == [(asked, answered)]
    assert not task.done(), "nothing of a killed process goes on"
    task.cancel()


def _calls_after(start: dict[str, Any], calls: list[dict[str, Any]]) -> bool:
    return any(e["process"] == start["process"] and e["t"] > start["t"] for e in calls)


def test_crash__clients_die_and_come_back() -> None:
    events = traced("crash", 2, 6)
    mine = [e for e in events if e["process"] in ("c1", "c2", "c3", "c4")]
    killed = [e for e in mine if e["what"] == "kill"]
    started = [e for e in mine if e["what"] == "start" and e["number"] > 1]
    at_the_end = [e for e in killed if e["t"] == events[-1]["t"]]
    assert len(started) == len(killed) - len(at_the_end) + 1 > 4, "the last start is the operator's"
    calls = [e for e in mine if e["what"] == "call"]
    went_on = [s for s in started[:-1] if _calls_after(s, calls)]
    assert len(went_on) > 1, "a new client works where the old one died"


def test_bursts__clients_are_quiet_in_between() -> None:
    calls = [e["t"] for e in traced("contended", 1, 8) if e["what"] == "call" and e["t"] < 8e9]
    late = [t for t in calls if 1.5e9 < t % 2.5e9 < 2.4e9]
    assert len(calls) > 200 and len(late) < len(calls) / 50
