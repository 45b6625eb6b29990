"""When a request without an answer is sent again for the first time."""

from __future__ import annotations

from replicast.gateway.answer_times import RESEND_FIRST_NS, RESEND_MIN_NS, AnswerTimes
from replicast.units import MS, SECOND
from replicast.wire.name_messages import NameGet, NamePut


def test_resend__is_late_without_a_measurement_and_soon_where_answers_are() -> None:
    times = AnswerTimes()
    assert times.resend_ns(NameGet, 0) == RESEND_FIRST_NS
    times.add(NameGet, MS, MS)
    assert times.resend_ns(NameGet, MS) == RESEND_MIN_NS
    assert times.resend_ns(NamePut, MS) == RESEND_FIRST_NS  # another kind


def test_resend__follows_answers_that_come_later() -> None:
    times, now_ns = AnswerTimes(), 0
    times.add(NamePut, 5 * MS, now_ns)
    for _ in range(40):  # each was sent again meanwhile, and counts from the first time
        now_ns += 100 * MS
        times.add(NamePut, 40 * MS, now_ns)
    assert 140 * MS <= times.resend_ns(NamePut, now_ns) <= 160 * MS


def test_resend__one_answer_after_a_fail_over_does_not_make_all_others_wait() -> None:
    times = AnswerTimes()
    for number in range(20):
        times.add(NameGet, MS, number * MS)
    times.add(NameGet, 20 * SECOND, 20 * SECOND)
    assert times.resend_ns(NameGet, 20 * SECOND) <= 130 * MS
