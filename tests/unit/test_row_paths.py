"""RowPaths: what goes over UDP, when a way rests, and who is told a key."""

from __future__ import annotations

from itertools import count

from replicast.target.names.store import SendPeer
from replicast.target.row_paths import (
    BURST_NS,
    BURST_REST_NS,
    MESSAGE_BYTES_MAX,
    REST_NS,
    REST_NS_MAX,
    TELL_AGAIN_NS,
    RowPaths,
)
from replicast.units import SECOND
from replicast.wire.row_messages import RowAppend, RowFetch, RowQuery, RowStatus
from replicast.wire.schema import Message

A, B = 1, 2
APPEND, STATUS, QUERY = RowAppend(items=()), RowStatus(items=()), RowQuery(items=())
NOW_NS = 100 * SECOND
BURST_BYTES = 10_000


def paths() -> RowPaths:
    numbers = count(1)
    return RowPaths(lambda: next(numbers).to_bytes(32, "little"), BURST_BYTES)


def by_udp(
    of: RowPaths,
    message: Message = APPEND,
    now_ns: int = NOW_NS,
    *,
    size_bytes: int = 0,
    again: bool = False,
) -> bool:
    return of.by_udp(SendPeer(B, message, size_bytes, again), now_ns)


def test_status__goes_the_way_that_the_last_append_came() -> None:
    of = paths()
    assert not by_udp(of, STATUS)
    of.heard_over_udp(B, APPEND)
    assert by_udp(of, STATUS)
    of.heard_over_curve(B, STATUS, NOW_NS)
    assert by_udp(of, STATUS)
    for message in (APPEND, QUERY):
        of.heard_over_udp(B, APPEND)
        of.heard_over_curve(B, message, NOW_NS)
        assert not by_udp(of, STATUS)
    of.heard_over_udp(B, STATUS)
    assert not by_udp(of, STATUS)


def test_the_rest__and_what_is_long_goes_over_curve() -> None:
    of = paths()
    of.heard_over_udp(B, APPEND)
    assert not by_udp(of, QUERY)
    assert not by_udp(of, size_bytes=MESSAGE_BYTES_MAX + 1)
    assert by_udp(of)


def test_keys__one_for_each_peer_and_start_and_told_now_and_then() -> None:
    of = paths()
    first = of.heard_over_curve(A, APPEND, NOW_NS)
    assert first is not None and len(first) == 32
    assert of.heard_over_curve(A, APPEND, NOW_NS + TELL_AGAIN_NS - 1) is None
    assert of.heard_over_curve(A, APPEND, NOW_NS + TELL_AGAIN_NS) == first
    assert of.heard_over_curve(B, STATUS, NOW_NS) != first
    assert of.heard_over_curve(3, RowFetch(items=()), NOW_NS) is None
    assert of.heard_over_curve(3, QUERY, NOW_NS) is not None, "entries come next"
    of.keep({B})
    assert of.heard_over_curve(A, APPEND, NOW_NS) not in (None, first), (
        "a member again, with a new key"
    )


def test_again__rests_the_way_ever_longer_where_nothing_arrives() -> None:
    of, now_ns, rests = paths(), NOW_NS, []
    for _ in range(9):
        assert by_udp(of, now_ns=now_ns)
        assert not by_udp(of, now_ns=now_ns, again=True)
        rest_ns = next(
            ns for ns in range(0, 2 * REST_NS_MAX, REST_NS) if by_udp(of, now_ns=now_ns + ns)
        )
        rests.append(rest_ns)
        now_ns += rest_ns
    assert rests[:3] == [REST_NS, 2 * REST_NS, 4 * REST_NS]
    assert rests[-1] == REST_NS_MAX


def test_again__within_a_rest_it_is_no_news() -> None:
    of = paths()
    assert not by_udp(of, again=True)
    assert not by_udp(of, now_ns=NOW_NS + REST_NS - 1, again=True)
    assert by_udp(of, now_ns=NOW_NS + REST_NS)


def rest_ns(of: RowPaths, now_ns: int) -> int:
    """How long the way rests for what is said again now."""
    assert not by_udp(of, now_ns=now_ns, again=True)
    step_ns = REST_NS // 4
    return next(ns for ns in range(0, 2 * REST_NS_MAX, step_ns) if by_udp(of, now_ns=now_ns + ns))


def test_again__after_a_way_has_worked_for_long_it_rests_for_a_shorter_time() -> None:
    of, now_ns, rests = paths(), NOW_NS, []
    for works_times in (0, 3, 3, 4, 3, 5, 5, 5, 5):
        rests.append(rest_ns(of, now_ns))
        now_ns += rests[-1] + works_times * rests[-1]
    assert [rest // REST_NS for rest in rests] == [1, 2, 4, 8, 4, 8, 4, 2, 1]


def test_burst__what_is_beyond_it_goes_over_curve_for_a_while() -> None:
    of = paths()
    for ns in range(10):
        assert by_udp(of, now_ns=NOW_NS + ns, size_bytes=BURST_BYTES // 10)
    assert not by_udp(of, now_ns=NOW_NS + 11, size_bytes=1)
    assert not by_udp(of, now_ns=NOW_NS + BURST_REST_NS)
    assert by_udp(of, now_ns=NOW_NS + 11 + BURST_REST_NS)
    calm_ns = NOW_NS + 3 * BURST_REST_NS
    for turn in range(50):
        assert by_udp(of, now_ns=calm_ns + turn * BURST_NS, size_bytes=BURST_BYTES)
