"""target/names on a real store (in memory): what gateways ask and get, restart included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.units import SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    IF_ABSENT,
    IF_ETAG,
    IF_NOT_ETAG,
    IF_PRESENT,
    IF_VERSION,
    NO_VERSION,
    NameGet,
    NameResult,
    OperationTime,
)
from replicast.wire.reasons import Reason

from .name_desk import ROWS, WALL_NS, Desk, condition, desk, key, reason

__all__ = ["desk"]


def test_put_get__the_body_and_its_summary(desk: Desk) -> None:
    done = desk.put("a.jpg")
    assert isinstance(done, NameResult) and done.copies == 1
    found = desk.get("a.jpg")
    assert (found.summary, found.body) == (done.summary, b"a.jpg")
    assert reason(desk.get("b.jpg")) == Reason.NO_SUCH_NAME


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


def test_short_of_copies__is_listed_for_repair_until_the_version_is_gone(desk: Desk) -> None:
    made = desk.put("a", short_of_copies=(b"c" * 32,)).summary
    assert [row for row, _, _ in desk.names.short_of_copies(10)] == [key("a").row]
    desk.delete("a", made.version)
    assert desk.names.short_of_copies(10) == []
