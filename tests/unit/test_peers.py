"""target/peers.py: row messages between targets over CURVE on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from replicast.curve import CurveClient, CurveHub
from replicast.flexhash.entries import Policy, TargetEntry
from replicast.flexhash.table import Rows, Table
from replicast.keys import AllowList, Identity, KeyPair, Role, make_key_pair
from replicast.metrics import Counters
from replicast.target.peers import PeerChannel
from replicast.wire.row_messages import QueryItem, RowQuery
from replicast.wire.schema import Message

LOOPBACK = ("127.0.0.1", 0)
A, B = make_key_pair(), make_key_pair()
QUERY = RowQuery(items=(QueryItem(row=3, leader=1, replica=2, epoch=4, tenure=5),))


def table_of(*targets: TargetEntry) -> Table:
    cells = np.full((1, 3), 0xFFFF, dtype=np.uint16)
    since = np.ones(1, dtype=np.uint64)
    rows = Rows(
        members=cells, draining=cells, names=cells.copy(),
        members_since=since, names_since=since, leader_since=since,
    )  # fmt: skip
    policy = Policy(row_count=1, group_size=3)
    return Table(1, policy, {t.node_id: t for t in targets}, {}, rows)


def entry(node_id: int, channel: PeerChannel, keys: KeyPair) -> TargetEntry:
    at = channel.address
    return TargetEntry(node_id, str(node_id), str(node_id), "z", at, at, at, keys.public, at)


class End:
    """One target's channel and what it heard."""

    def __init__(self, node_id: int, keys: KeyPair, allow: AllowList) -> None:
        self.heard: list[tuple[Message, int]] = []
        self.counters = Counters()
        self.hub = CurveHub(self.counters)
        self.channel = PeerChannel(
            self.hub, node_id, LOOPBACK, keys, allow, self.heard.extend, self.counters
        )
        self.entry = entry(node_id, self.channel, keys)

    async def close(self) -> None:
        await self.channel.close()
        self.hub.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def test_messages_arrive_with_the_sender_that_the_key_names() -> None:
    async def test() -> None:
        allow = AllowList({A.public: Identity(1, Role.TARGET), B.public: Identity(2, Role.TARGET)})
        a, b = End(1, A, allow), End(2, B, allow)
        assert not a.channel.send(2, QUERY)
        for end in (a, b):
            end.channel.update(table_of(a.entry, b.entry))
        await until(lambda: a.channel.send(2, QUERY))
        await until(lambda: b.channel.send(1, QUERY))
        await until(lambda: a.heard and b.heard)
        assert b.heard[0] == (QUERY, 1)
        assert a.heard[0] == (QUERY, 2)
        a.channel.update(table_of(a.entry))
        assert not a.channel.send(2, QUERY)
        a.channel.update(table_of(a.entry, replace(b.entry, public_key=A.public)))
        await a.close()
        await b.close()

    asyncio.run(test())


def test_channel__takes_no_task_and_looks_for_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        looks: list[CurveClient] = []
        monkeypatch.setattr(CurveClient, "_readable", looks.append)
        allow = AllowList({A.public: Identity(1, Role.TARGET), B.public: Identity(2, Role.TARGET)})
        a, b = End(1, A, allow), End(2, B, allow)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        a.channel.update(table_of(a.entry, b.entry))
        await until(lambda: a.channel.send(2, QUERY))
        await until(lambda: b.heard)
        await a.close()
        await b.close()
        assert b.heard[0] == (QUERY, 1)
        assert not tasks and not looks

    asyncio.run(test())


def test_messages_that_fail__do_not_end_the_channel() -> None:
    async def test() -> None:
        allow = AllowList({A.public: Identity(1, Role.TARGET), B.public: Identity(2, Role.TARGET)})
        a, b = End(1, A, allow), End(2, B, allow)
        deliver, b.channel._on_messages = b.channel._on_messages, _fail
        a.channel.update(table_of(a.entry, b.entry))
        await until(lambda: a.channel.send(2, QUERY))
        await until(lambda: b.counters.get("row_entries_refused", "internal") == 1)
        b.channel._on_messages = deliver
        await until(lambda: a.channel.send(2, QUERY))
        await until(lambda: b.heard)
        await a.close()
        await b.close()

    asyncio.run(test())


def _fail(batch: object) -> None:
    raise AssertionError("a message that nobody expected")


def test_a_gateway_is_not_heard() -> None:
    async def test() -> None:
        allow = AllowList({A.public: Identity(1, Role.GATEWAY), B.public: Identity(2, Role.TARGET)})
        a, b = End(1, A, allow), End(2, B, allow)
        a.channel.update(table_of(a.entry, b.entry))
        await until(lambda: a.channel.send(2, QUERY))
        await until(lambda: b.counters.get("row_entries_refused", "role") == 1)
        assert not b.heard
        await a.close()
        await b.close()

    asyncio.run(test())
