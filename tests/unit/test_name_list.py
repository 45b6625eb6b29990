"""target/names on a real store (in memory): listings, also of buckets that come and go."""

from __future__ import annotations

from replicast.target.names.store import FetchTable
from replicast.wire.name_messages import DELETE_MARKER, NameEntries, NameResult
from replicast.wire.reasons import Reason

from .name_desk import ROWS, Desk, active_bucket, desk, reason

__all__ = ["desk"]


def test_list__of_a_bucket_that_is_gone_is_no_empty_bucket(desk: Desk) -> None:
    desk.put("a")
    desk.buckets["t", "b"].incarnation = 2
    desk.names.buckets_changed(2, desk.now_ns)
    assert reason(desk.list()) == Reason.NO_SUCH_BUCKET
    desk.buckets.clear()
    assert reason(desk.list()) == Reason.NO_SUCH_BUCKET
    desk.lease_until_ns = desk.now_ns
    assert reason(desk.list()) == Reason.NO_LEASE


def test_list__of_a_bucket_that_newer_settings_made_is_waited_for(desk: Desk) -> None:
    desk.buckets.clear()
    desk.submit(desk.list_message(), b"1" * 16)
    desk.submit(desk.list_message(), b"2" * 16)
    assert desk.replies() == []
    assert FetchTable(1) in desk.events
    desk.buckets["t", "b"] = active_bucket()
    desk.names.buckets_changed(1, desk.now_ns)
    replies = desk.replies()
    assert [type(reply.message) for reply in replies] == [NameEntries] * 2
    desk.buckets.clear()
    desk.names.buckets_changed(0, desk.now_ns)
    desk.submit(desk.list_message(), b"3" * 16)
    desk.now_ns += 2 * desk.names.context.limits.park_ns
    desk.names.expire(desk.now_ns)
    (reply,) = desk.replies()
    assert reason(reply.message) == Reason.NOT_READY


def test_list__pages_in_byte_order_from_all_rows(desk: Desk) -> None:
    names = [f"d{i % 7}/é{i:03}" for i in range(60)]
    for name in names:
        desk.put(name)
        desk.put(name)
    desk.delete(names[3])
    expected = sorted((n for n in names if n != names[3]), key=str.encode)
    page = desk.list()
    assert [e.name for e in page.entries] == expected
    assert not page.more and page.rows == tuple(range(ROWS))
    found = {e.name: e.summary.kind for e in desk.list(deleted=True).entries}
    assert list(found) == sorted(names, key=str.encode)
    assert [name for name, kind in found.items() if kind == DELETE_MARKER] == [names[3]]
    seen: list[str] = []
    while True:
        page = desk.list(after=seen[-1] if seen else "", limit=7)
        seen += [e.name for e in page.entries]
        if not page.more:
            break
        assert len(page.entries) == 7
    assert seen == expected
    assert [e.name for e in desk.list(prefix="d3/").entries] == [
        n for n in expected if n.startswith("d3/")
    ]


def test_list__a_prefix_of_another_name_and_many_versions(desk: Desk) -> None:
    for _ in range(30):
        desk.put("a")
    for name in ("a\x01", "a/b", "ab", "b"):
        desk.put(name)
    page = desk.list()
    assert [e.name for e in page.entries] == ["a", "a\x01", "a/b", "ab", "b"]
    assert isinstance(page, NameEntries)
    assert [e.name for e in desk.list(after="a").entries] == ["a\x01", "a/b", "ab", "b"]
    assert [e.name for e in desk.list(prefix="a", after="a/b").entries] == ["ab"]


def test_list__a_bucket_being_deleted_is_not_empty_while_a_put_is_undecided(desk: Desk) -> None:
    desk.put("warm")
    desk.delete("warm")
    desk.list()
    desk.submit(desk.put_message("a"), b"1" * 16)
    desk.names.take_outgoing()  # ordered, and not durable yet
    desk.buckets["t", "b"].state = 2
    desk.submit(desk.list_message(), b"2" * 16)
    put, page = (reply.message for reply in desk.replies())
    assert isinstance(put, NameResult) and isinstance(page, NameEntries)
    assert [e.name for e in page.entries] == ["a"]
