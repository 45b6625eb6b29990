"""target/names on a real store (in memory): what gateways ask and get, restart included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.versioning import Versioning
from replicast.target.names.store import FetchTable
from replicast.units import SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    DELETE_MARKER,
    IF_ABSENT,
    IF_ETAG,
    IF_NOT_ETAG,
    IF_PRESENT,
    IF_VERSION,
    NO_VERSION,
    NULL_VERSION,
    PARTS,
    UPLOADS,
    NameEntries,
    NameGet,
    NameResult,
    OperationTime,
)
from replicast.wire.reasons import Reason

from .name_desk import ROWS, WALL_NS, Desk, active_bucket, condition, key, make_table


@pytest.fixture
def desk() -> Desk:
    return Desk()


def reason(reply: Any) -> Reason:
    assert isinstance(reply, Refused), reply
    return Reason(reply.reason)


def test_put_get__the_body_and_its_summary(desk: Desk) -> None:
    done = desk.put("a.jpg")
    assert isinstance(done, NameResult) and done.copies == 1
    found = desk.get("a.jpg")
    assert (found.summary, found.body) == (done.summary, b"a.jpg")
    assert reason(desk.get("b.jpg")) == Reason.NO_SUCH_NAME


def test_versions__newest_first_each_naming_the_one_before(desk: Desk) -> None:
    made = [desk.put("a").summary for _ in range(5)]
    found = desk.versions("a")
    assert found == list(reversed(made))
    assert [s.replaces for s in made] == [NO_VERSION, *(s.version for s in made[:-1])]
    assert desk.get("a", made[1].version).summary == made[1]


def test_delete__a_marker_then_the_older_version_comes_back(desk: Desk) -> None:
    first = desk.put("a").summary
    marker = desk.delete("a").summary
    assert marker.kind == DELETE_MARKER
    assert reason(desk.get("a")) == Reason.NO_SUCH_NAME
    assert reason(desk.delete("a")) == Reason.NO_SUCH_NAME
    assert not isinstance(desk.delete("a", marker.version), Refused)
    assert desk.get("a").summary == first
    assert reason(desk.delete("a", marker.version)) == Reason.NO_SUCH_NAME


def test_null__takes_the_place_of_the_null_version_before(desk: Desk) -> None:
    desk.keep(Versioning.SUSPENDED)
    first = desk.put("a", null=True).summary
    second = desk.put("a", null=True).summary
    assert first.null and second.null and second.replaces == first.version
    assert desk.versions("a") == [second]
    desk.keep(Versioning.ENABLED)
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    third = desk.put("a", null=True).summary
    assert desk.versions("a") == [third, kept]
    assert desk.get("a", NULL_VERSION).summary == third
    desk.restart()
    assert desk.versions("a") == [third, kept]


def test_null__several_at_once_leave_one(desk: Desk) -> None:
    """Each is judged against those that were ordered before and are not durable yet."""
    desk.keep(Versioning.OFF)
    for number in range(5):
        desk.submit(desk.put_message("a", null=True, etag=str(number)), bytes([number] * 16))
    assert all(isinstance(reply.message, NameResult) for reply in desk.replies())
    (left,) = desk.versions("a")
    assert left.etag == "4"


def test_null__a_marker_takes_its_place_and_goes_by_the_same_name(desk: Desk) -> None:
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    desk.put("a", null=True)
    marker = desk.delete("a", null=True).summary
    assert marker.kind == DELETE_MARKER and desk.versions("a") == [marker, kept]
    assert desk.delete("a", NULL_VERSION).summary.version == marker.version
    assert desk.get("a").summary == kept
    assert reason(desk.delete("a", NULL_VERSION)) == Reason.NO_SUCH_NAME
    assert reason(desk.get("a", NULL_VERSION)) == Reason.NO_SUCH_NAME


def test_null__removed_for_good_it_leaves_nothing(desk: Desk) -> None:
    desk.keep(Versioning.OFF)
    only = desk.put("a", null=True).summary
    assert desk.delete("a", NULL_VERSION).summary.version == only.version
    assert desk.versions("a") == []


@pytest.mark.parametrize("heard", [False, True])
def test_versioning__the_leader_knows_better_than_gateways(desk: Desk, heard: bool) -> None:
    """Each request as of a gateway that has heard of the change, and of one that has not."""
    desk.keep(Versioning.OFF)
    desk.put("a", null=heard)
    second = desk.put("a", null=heard).summary
    assert second.null and desk.versions("a") == [second]
    desk.keep(Versioning.ENABLED)
    third = desk.put("a", null=not heard).summary
    assert not third.null and desk.versions("a") == [third, second]
    by_old_setting = {"version": NULL_VERSION, "null": True}
    marker = desk.delete("a", **({} if heard else by_old_setting)).summary
    assert marker.kind == DELETE_MARKER and not marker.null
    assert desk.versions("a") == [marker, third, second]
    desk.keep(Versioning.SUSPENDED)
    fourth = desk.put("a", null=heard).summary
    assert fourth.null and desk.versions("a") == [fourth, marker, third]
    markers = [desk.delete("a", null=heard, absent_too=True).summary for _ in range(2)]
    assert all(each.null for each in markers)
    assert desk.versions("a") == [markers[1], marker, third]


def test_versioning__of_what_is_named_by_its_id_it_says_nothing(desk: Desk) -> None:
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    null = desk.put("a").summary
    desk.keep(Versioning.ENABLED)
    assert desk.delete("a", NULL_VERSION).summary.version == null.version
    assert desk.delete("a", kept.version).summary.version == kept.version
    assert desk.versions("a") == []


def test_delete__a_marker_for_what_is_not_there_when_asked_for(desk: Desk) -> None:
    assert reason(desk.delete("a")) == Reason.NO_SUCH_NAME
    marks = [desk.delete("a", absent_too=True).summary for _ in range(2)]
    assert desk.versions("a") == list(reversed(marks))
    assert reason(desk.get("a")) == Reason.NO_SUCH_NAME


@pytest.mark.parametrize("space", [UPLOADS, PARTS])
def test_space__names_of_its_own_in_the_same_bucket(desk: Desk, space: int) -> None:
    apart = replace(key("a"), bucket_incarnation=1 | space)
    there = desk.put("a", key=apart, etag="apart").summary
    here = desk.put("a").summary
    assert desk.versions("a") == [here]
    request = replace(desk.list_message(), bucket_incarnation=1 | space)
    assert [entry.summary for entry in desk.ask(request).entries] == [there]


@pytest.mark.parametrize(
    ("kind", "etag", "absent", "present"),
    [
        (IF_ABSENT, "", True, False),
        (IF_PRESENT, "", False, True),
        (IF_ETAG, "e", False, True),
        (IF_ETAG, "other", False, False),
        (IF_NOT_ETAG, "e", True, False),
        (IF_NOT_ETAG, "other", True, True),
    ],
)
def test_conditions(desk: Desk, kind: int, etag: str, absent: bool, present: bool) -> None:
    wanted = condition(kind, etag=etag)
    assert isinstance(desk.put("new", condition=wanted), NameResult) == absent
    desk.put("old")
    assert isinstance(desk.put("old", condition=wanted), NameResult) == present


def test_condition__version(desk: Desk) -> None:
    first = desk.put("a", condition=condition(IF_VERSION)).summary
    assert reason(desk.put("a", condition=condition(IF_VERSION))) == Reason.CONDITION_FAILED
    follow = condition(IF_VERSION, first.version)
    assert isinstance(desk.put("a", condition=follow), NameResult)
    assert reason(desk.put("a", condition=follow)) == Reason.CONDITION_FAILED


def test_conditions__are_judged_against_everything_ordered_before(desk: Desk) -> None:
    desk.put("warm")
    for number in range(4):  # all on their way together, nothing committed between them
        message = desk.put_message("a", condition=condition(IF_ABSENT), body=bytes([number]))
        desk.submit(message, bytes([number]) * 16)
    replies = [reply.message for reply in desk.replies()]
    assert [isinstance(reply, NameResult) for reply in replies].count(True) == 1
    assert len(desk.versions("a")) == 1


def test_exactly_once__a_retry_gets_the_first_answer(desk: Desk) -> None:
    first = desk.put("a", operation_id=b"1" * 16)
    desk.put("a")
    assert desk.put("a", operation_id=b"1" * 16) == first
    assert len(desk.versions("a")) == 2


def test_exactly_once__a_retry_while_undecided_waits_for_the_same_entry(desk: Desk) -> None:
    desk.put("warm")
    for _ in range(3):
        desk.submit(desk.put_message("a"), b"1" * 16)
    assert len(desk.replies()) == 1  # one sender: one answer
    assert len(desk.versions("a")) == 1


def test_exactly_once__a_refusal_stays_a_refusal(desk: Desk) -> None:
    desk.put("a")
    ask = desk.put_message("a", condition=condition(IF_ABSENT))
    assert reason(desk.ask(ask, b"2" * 16)) == Reason.CONDITION_FAILED
    desk.delete("a")
    assert reason(desk.ask(ask, b"2" * 16)) == Reason.CONDITION_FAILED


def test_exactly_once__after_power_loss(desk: Desk) -> None:
    first = desk.put("a", operation_id=b"1" * 16)
    desk.restart()
    assert desk.put("a", operation_id=b"1" * 16) == first
    assert len(desk.versions("a")) == 1


def test_too_old__never_executed(desk: Desk) -> None:
    wall_ns = WALL_NS + desk.now_ns
    old = OperationTime(first_sent_ns=wall_ns - 901 * SECOND, begun_ns=wall_ns)
    assert reason(desk.put("a", time=old)) == Reason.TOO_OLD
    begun = OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns - 13 * 3600 * SECOND)
    assert reason(desk.put("a", time=begun)) == Reason.TOO_OLD
    future = OperationTime(first_sent_ns=wall_ns + 60 * SECOND, begun_ns=wall_ns)
    assert reason(desk.put("a", time=future)) == Reason.BAD_REQUEST
    assert desk.versions("a") == []


def test_results__are_forgotten_after_the_window_and_then_refused(desk: Desk) -> None:
    message = desk.put_message("a")
    assert isinstance(desk.ask(message, b"1" * 16), NameResult)
    for _ in range(3):
        desk.now_ns += 500 * SECOND
        desk.put("a")
    assert reason(desk.ask(message, b"1" * 16)) == Reason.TOO_OLD
    assert len(desk.versions("a")) == 4


def test_power_loss__acknowledged_versions_are_back(desk: Desk) -> None:
    made = {f"n{i}": desk.put(f"n{i}").summary for i in range(20)}
    desk.restart()
    assert {name: desk.get(name).summary for name in made} == made
    after = desk.put("n0").summary
    assert after.version.time_ns > made["n0"].version.time_ns


def test_clock__a_wall_clock_that_went_back_does_not_reorder(desk: Desk) -> None:
    first = desk.put("a").summary
    desk.names.set_clock(desk.now_ns, WALL_NS - 3 * SECOND)
    second = desk.put("a").summary
    assert second.version.time_ns > first.version.time_ns
    assert desk.versions("a") == [second, first]


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


def test_buckets__one_that_newer_settings_made_is_waited_for(desk: Desk) -> None:
    desk.buckets.clear()
    desk.submit(desk.put_message("c"), b"1" * 16)
    assert desk.replies() == []
    desk.buckets["t", "b"] = active_bucket()
    desk.names.buckets_changed(1, desk.now_ns)
    (reply,) = desk.replies()
    assert isinstance(reply.message, NameResult)


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


def test_buckets__who_has_old_settings_never_says_that_there_is_none(desk: Desk) -> None:
    """Its word would be final, and the bucket is there."""
    desk.buckets.clear()
    desk.submit(desk.put_message("c"), b"1" * 16)
    desk.now_ns += 2 * desk.names.context.limits.park_ns
    desk.names.expire(desk.now_ns)
    (reply,) = desk.replies()
    assert reason(reply.message) == Reason.NOT_READY


def test_bad_requests(desk: Desk) -> None:
    assert reason(desk.put("")) == Reason.BAD_REQUEST
    assert reason(desk.put("a\0b")) == Reason.BAD_REQUEST
    assert reason(desk.put("a", key=replace(key("a"), row=ROWS))) == Reason.BAD_REQUEST
    assert reason(desk.put("a", condition=condition(9))) == Reason.BAD_REQUEST


def test_get__of_a_row_that_is_ready_gives_the_wake_up_nothing_else_to_do(desk: Desk) -> None:
    desk.put("a")
    assert reason(desk.get("b")) == Reason.NO_SUCH_NAME
    names = desk.names
    names.take_events()
    for asked, wanted in (("a", NameResult), ("b", Refused)):
        desk.submit(NameGet(key=key(asked), version=NO_VERSION, want_body=True), b"1" * 16)
        assert names.answered and not names.told
        (reply,) = names.take_outgoing()
        assert isinstance(reply.message, wanted) and not names.answered


def test_get__that_cannot_be_answered_at_once_is_seen_to_like_other_requests(desk: Desk) -> None:
    desk.put("a")
    names, get = desk.names, NameGet(key=key("a"), version=NO_VERSION, want_body=True)
    for generation, lease_until_ns in ((2, 1 << 62), (1, 0)):
        names.take_outgoing(), names.take_events()
        desk.lease_until_ns = lease_until_ns
        desk.submit(get, b"1" * 16, generation)
        assert names.told and not names.answered
    assert [reason(reply.message) for reply in names.take_outgoing()] == [Reason.NO_LEASE] * 2


def test_full__busy_before_anything_is_ordered(desk: Desk) -> None:
    desk.put("warm")
    names = [n for n in (f"x{i}" for i in range(4000)) if key(n).row == 0][:600]
    for number, name in enumerate(names):
        desk.submit(desk.put_message(name), number.to_bytes(16, "big"))
    replies = [reply.message for reply in desk.replies()]
    assert len(replies) == 600
    refused = [reply for reply in replies if isinstance(reply, Refused)]
    assert {Reason(r.reason) for r in refused} == {Reason.BUSY}
    assert len(refused) == 600 - 512


def test_refusals__are_counted_once_by_one_name(desk: Desk) -> None:
    assert reason(desk.get("none")) == Reason.NO_SUCH_NAME
    desk.put("a")
    assert reason(desk.put("a", condition=condition(IF_ABSENT))) == Reason.CONDITION_FAILED
    counted = {labels[0]: n for name, labels, n in desk.counters if name == "refusals"}
    assert counted == {"no_such_name": 1, "condition_failed": 1}


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


def test_short_of_copies__is_listed_for_repair_until_the_version_is_gone(desk: Desk) -> None:
    made = desk.put("a", short_of_copies=(b"c" * 32,)).summary
    assert [row for row, _, _ in desk.names.short_of_copies(10)] == [key("a").row]
    desk.delete("a", made.version)
    assert desk.names.short_of_copies(10) == []


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
