"""Outbox: how the items for a peer become messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.metrics import Counters
from replicast.target.names import outbox as module
from replicast.target.names.outbox import ENTRY_BYTES, ITEM_BYTES, Outbox
from replicast.target.names.store import FetchTable, SendPeer

ME, PEER = 1, 2
BYTES_MAX = 1000


class Item:
    """One with an entry of so many bytes; none: without entries."""

    def __init__(self, *sizes: int) -> None:
        self.entries = [SimpleNamespace(data=bytes(size)) for size in sizes]


class Plain:
    """Of a kind without entries."""


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(module, "MESSAGE_OF", {Item: SimpleNamespace, Plain: SimpleNamespace})
    monkeypatch.setattr(module, "WITH_ENTRIES", frozenset((Item,)))
    return Outbox(ME, BYTES_MAX, Counters())


def sent(outbox: Outbox, *items: Any) -> list[tuple[int, int]]:
    """(items, bytes) of each message to the peer."""
    for item in items:
        outbox.item(PEER, item)
    assert outbox.take_local() == [] and not outbox.items
    events = outbox.take_events(0)
    messages = [event for event in events if isinstance(event, SendPeer)]
    assert [i for m in messages for i in m.message.items] == list(items)  # type: ignore[attr-defined]
    return [(len(m.message.items), m.size_bytes) for m in messages]  # type: ignore[attr-defined]


def test_one_item__is_one_message_however_long(outbox: Outbox) -> None:
    assert sent(outbox, Item(3, 4)) == [(1, ITEM_BYTES + 2 * ENTRY_BYTES + 7)]
    assert sent(outbox, Item(BYTES_MAX)) == [(1, ITEM_BYTES + ENTRY_BYTES + BYTES_MAX)]
    assert sent(outbox, Plain()) == [(1, ITEM_BYTES)]


def test_more_items__share_messages_of_bounded_length(outbox: Outbox) -> None:
    each = ITEM_BYTES + ENTRY_BYTES + 380  # two of them fill a message
    assert sent(outbox, *(Item(380) for _ in range(5))) == [(2, 2 * each)] * 2 + [(1, each)]
    long = ITEM_BYTES + ENTRY_BYTES + BYTES_MAX
    assert sent(outbox, Item(BYTES_MAX), Item(1)) == [(1, long), (1, ITEM_BYTES + ENTRY_BYTES + 1)]


def test_items_for_ourselves__come_back(outbox: Outbox) -> None:
    items = [Item(1), Item(2)]
    for item in items:
        outbox.item(ME, item)  # type: ignore[arg-type]
    (message,) = outbox.take_local()
    assert list(message.items) == items and outbox.take_events(0) == []  # type: ignore[attr-defined]


def test_wanted_tables__are_asked_for_again_after_a_while(outbox: Outbox) -> None:
    outbox.fetch_table(5)
    assert outbox.take_events(0) == [FetchTable(5)]
    outbox.fetch_table(5)
    assert outbox.take_events(module.FETCH_AGAIN_NS - 1) == []
    outbox.fetch_table(6)
    assert outbox.take_events(module.FETCH_AGAIN_NS - 1) == [FetchTable(6)]
    outbox.fetch_table(6)
    assert outbox.take_events(2 * module.FETCH_AGAIN_NS) == [FetchTable(6)]
