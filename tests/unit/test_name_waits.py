"""target/names on a real store (in memory): what a leader needs before it answers (lease, table, bucket), and
what it says without."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from replicast.target.names.store import FetchTable
from replicast.units import SECOND
from replicast.wire.name_messages import NO_VERSION, NameGet, NameResult
from replicast.wire.reasons import Reason

from .name_desk import WALL_NS, Desk, active_bucket, desk, key, make_table, reason

__all__ = ["desk"]


def test_lease__nothing_is_answered_without(desk: Desk) -> None:
    desk.put("a")
    desk.lease_until_ns = desk.now_ns
    assert reason(desk.get("a")) == Reason.NO_LEASE
    assert reason(desk.put("a")) == Reason.NO_LEASE
    assert reason(desk.list()) == Reason.NO_LEASE


def test_lease__no_waiting_without_for_a_newer_table(desk: Desk) -> None:
    """Who is cut off from the table service may never get that table."""
    desk.put("a")
    desk.lease_until_ns = 0
    get = NameGet(key=key("a"), version=NO_VERSION, want_body=True)
    desk.submit(get, b"g" * 16, generation=desk.generation + 5)
    (reply,) = desk.names.take_outgoing()
    assert reason(reply.message) == Reason.NO_LEASE
    assert any(isinstance(event, FetchTable) for event in desk.names.take_events())


def test_lease__that_ends_before_the_commit_holds_the_answer_back(desk: Desk) -> None:
    desk.put("warm")
    desk.submit(desk.put_message("a"), b"1" * 16)
    desk.lease_until_ns = desk.now_ns + 1
    assert desk.replies() == []
    desk.lease_until_ns = 1 << 62
    (reply,) = desk.replies()
    assert isinstance(reply.message, NameResult)


def test_floor_skew_and_open_count__keep_a_leader_waiting(desk: Desk) -> None:
    desk.lease.floor = 0
    desk.submit(desk.put_message("a"), b"1" * 16)
    assert desk.replies() == []
    desk.lease.floor = 1
    assert len(desk.replies()) == 1
    desk.names.set_clock(desk.now_ns, WALL_NS + desk.now_ns, error_ns=6 * SECOND)
    desk.submit(NameGet(key=key("a"), version=NO_VERSION, want_body=False), b"2" * 16)
    assert desk.replies() == []
    desk.names.set_clock(desk.now_ns, WALL_NS + desk.now_ns)
    assert len(desk.replies()) == 1


def test_generations__older_than_the_row_is_stale_newer_fetches_first(desk: Desk) -> None:
    ask = NameGet(key=key("a"), version=NO_VERSION, want_body=False)
    desk.submit(ask, b"1" * 16, generation=0)
    (reply,) = desk.replies()
    assert reason(reply.message) == Reason.STALE_GENERATION
    desk.submit(ask, b"2" * 16, generation=2)
    assert desk.replies() == []
    assert FetchTable(2) in desk.events
    desk.names.adopt_table(make_table(2, desk.vdev.open_count), desk.now_ns)
    (reply,) = desk.replies()
    assert reason(reply.message) == Reason.NO_SUCH_NAME


def test_buckets__unknown_deleted_and_being_deleted(desk: Desk) -> None:
    desk.put("a")
    desk.buckets["t", "b"].state = 2
    assert reason(desk.put("b")) == Reason.NO_SUCH_BUCKET
    assert isinstance(desk.get("a"), NameResult)
    desk.buckets["t", "b"].incarnation = 2
    desk.names.buckets_changed(2, desk.now_ns)
    assert reason(desk.get("a")) == Reason.NO_SUCH_BUCKET
    desk.buckets.clear()
    assert reason(desk.put("c")) == Reason.NO_SUCH_BUCKET


@pytest.mark.parametrize("committed", [True, False])
def test_buckets__a_put_that_was_ordered_before_the_removal_began(
    desk: Desk, committed: bool
) -> None:
    """Refused when it is sent again it would pass for one that took no effect, and be there."""
    desk.get("a")  # now its row is led, and waits for nothing
    put = desk.put_message("a")
    desk.submit(put, b"1" * 16)
    first = desk.replies() if committed else []
    desk.buckets["t", "b"].state = 2
    desk.submit(put, b"1" * 16)
    (again,) = desk.replies()
    assert isinstance(again.message, NameResult)
    assert [each.message for each in first] == [again.message] * committed
    assert isinstance(desk.get("a"), NameResult)


def test_buckets__one_that_newer_settings_made_is_waited_for(desk: Desk) -> None:
    desk.buckets.clear()
    desk.submit(desk.put_message("c"), b"1" * 16)
    assert desk.replies() == []
    desk.buckets["t", "b"] = active_bucket()
    desk.names.buckets_changed(1, desk.now_ns)
    (reply,) = desk.replies()
    assert isinstance(reply.message, NameResult)


def test_buckets__who_has_old_settings_never_says_that_there_is_none(desk: Desk) -> None:
    """Its word would be final, and the bucket is there."""
    desk.buckets.clear()
    desk.submit(desk.put_message("c"), b"1" * 16)
    desk.now_ns += 2 * desk.names.context.limits.park_ns
    desk.names.expire(desk.now_ns)
    (reply,) = desk.replies()
    assert reason(reply.message) == Reason.NOT_READY


def test_get__that_cannot_be_answered_at_once_is_seen_to_like_other_requests(desk: Desk) -> None:
    desk.put("a")
    names, get = desk.names, NameGet(key=key("a"), version=NO_VERSION, want_body=True)
    for generation, lease_until_ns in ((2, 1 << 62), (1, 0)):
        names.take_outgoing(), names.take_events()
        desk.lease_until_ns = lease_until_ns
        desk.submit(get, b"1" * 16, generation)
        assert names.told and not names.answered
    assert [reason(reply.message) for reply in names.take_outgoing()] == [Reason.NO_LEASE] * 2


def test_stop__waiting_requests_are_sent_to_the_next_leader(desk: Desk) -> None:
    desk.put("warm")
    desk.submit(desk.put_message("a"), b"1" * 16)
    desk.names.take_events()
    desk.names.stop(desk.now_ns)
    (reply,) = desk.names.take_outgoing()
    assert reason(reply.message) == Reason.NOT_LEADER


def test_failed_vdev__leads_nothing_any_more(desk: Desk) -> None:
    desk.put("a")
    desk.names.remove_vdev(1, desk.now_ns)
    assert reason(desk.get("a")) == Reason.FAULTED


def test_put__that_waits_for_the_fence_does_not_wake_its_target_on_the_spot(desk):
    """Every wake-up tries it again; that nothing came of it is no reason for another one."""
    desk.put("a")
    desk.lease.floor = 0  # the row's leadership is new to somebody who may still act
    desk.submit(desk.put_message("a"), b"o" * 16)
    for _ in range(3):
        desk.names.expire(desk.now_ns)
        assert desk.names.take_outgoing() == []
        desk.names.take_events()
    assert desk.names.deadline_ns() > desk.now_ns
    desk.lease.floor = 1
    desk.names.expire(desk.now_ns)
    (reply,) = desk.replies()
    assert isinstance(reply.message, NameResult)


def test_request__newer_than_our_table_is_refused_at_its_deadline(desk):
    desk.submit(desk.put_message("a"), b"o" * 16, desk.generation + 1)
    assert desk.names.take_outgoing() == []
    desk.now_ns = desk.names.deadline_ns()
    desk.names.expire(desk.now_ns)
    (reply,) = desk.names.take_outgoing()
    assert reply.message.reason == Reason.NOT_READY
    assert desk.names.deadline_ns() is None or desk.names.deadline_ns() > desk.now_ns


def test_buckets__rows_of_a_new_one_are_led_before_anybody_asks(desk: Desk) -> None:
    desk.names.buckets_changed(1, desk.now_ns)
    desk.replies()
    assert desk.names.rows_led() == 0, "it was there before this target knew any settings"
    desk.buckets["t", "new"] = SimpleNamespace(
        **vars(active_bucket()) | {"incarnation": 2, "spread": 2}
    )
    desk.names.buckets_changed(2, desk.now_ns)
    assert desk.replies() == []
    assert desk.names.rows_led() == 2
