"""How fast payload comes, and what a receiver behind others makes of it."""

from replicast.arrivals import PERIOD_NS, REMEMBERED_NS, Arrivals
from replicast.credit import CreditPool
from replicast.least import Least
from replicast.transfer import (
    ALL_LOST_WAITS,
    GAP_WAIT_NS,
    SPOKEN_NS,
    TICK_NS,
    Receiver,
)
from replicast.transport.reassembly import Reassembly
from replicast.units import MIB, MS
from replicast.wire.chunk_messages import PayloadGaps

ID, OTHER = bytes(range(16)), bytes(16)
SIZE = 10_000
START_NS = 1000 * MS


def test_least__the_lowest_until_it_was_long_ago() -> None:
    least = Least(10)
    assert least.get(0) is None
    least.add(5, 0)
    least.add(7, 1)
    assert least.get(9) == 5
    assert least.get(10) is None
    least.add(7, 10)
    assert least.get(10) == 7


def _feed(arrivals: Arrivals, per_tick: int, ticks: int, now_ns: int) -> int:
    for _ in range(ticks):
        now_ns += TICK_NS
        arrivals.add(per_tick, now_ns)
    return now_ns


def test_arrivals__the_best_pace_of_late() -> None:
    arrivals = Arrivals()
    assert arrivals.takes_ns(MIB, START_NS) is None
    arrivals.add(0, START_NS)
    now_ns = _feed(arrivals, 10_000, 8, START_NS)  # 2 MB/s
    takes_ns = arrivals.takes_ns(20_000, now_ns)
    assert takes_ns is not None and 9 * MS < takes_ns < 11 * MS
    assert arrivals.arrived_bytes == 80_000 and arrivals.moved_ns == now_ns
    assert arrivals.takes_ns(20_000, now_ns + REMEMBERED_NS) is None


def test_arrivals__idle_time_is_no_part_of_the_pace() -> None:
    arrivals = Arrivals()
    arrivals.add(0, START_NS - 2 * PERIOD_NS)
    arrivals.add(0, START_NS)
    now_ns = _feed(arrivals, 10_000, 4, START_NS)
    takes_ns = arrivals.takes_ns(20_000, now_ns)
    assert takes_ns is not None and takes_ns < 11 * MS


def test_arrivals__looking_twice_in_a_moment_shows_no_pace() -> None:
    arrivals = Arrivals()
    arrivals.add(0, START_NS)
    arrivals.add(1_000, START_NS + TICK_NS - 1)
    arrivals.add(9_000, START_NS + TICK_NS)
    now_ns = _feed(arrivals, 10_000, 4, START_NS + TICK_NS)
    takes_ns = arrivals.takes_ns(20_000, now_ns)
    assert takes_ns is not None and takes_ns > 9 * MS


def _receiver(pool: CreditPool, **more: int | None) -> tuple[Reassembly, Receiver]:
    buffers = Reassembly(MIB, 4)
    buffers.open(ID, SIZE, 1000)
    pool.request(ID, SIZE)
    return buffers, Receiver(buffers, ID, 1, SIZE, START_NS, pool=pool, **more)  # type: ignore[arg-type]


def _reports(receiver: Receiver, until_ns: int) -> list[tuple[int, PayloadGaps]]:
    found = []
    while (now_ns := receiver.deadline_ns()) <= until_ns:
        report = receiver.check(now_ns)
        if report is not None:
            found.append((now_ns - START_NS, report))
    return found


def test_receiver__what_was_under_way_before_comes_before() -> None:
    pool = CreditPool(MIB)
    pool.request(OTHER, 100_000)
    _, receiver = _receiver(pool)
    now_ns = START_NS
    for _ in range(10):
        now_ns += TICK_NS
        pool.arrivals.add(10_000, now_ns)
        assert receiver.check(now_ns) is None
    assert receiver.progress_ns == now_ns - TICK_NS, "all of it had come by then"
    (report, *_) = _reports(receiver, now_ns + GAP_WAIT_NS)
    assert report[1].ranges, "now it should have come"


def test_receiver__what_came_later_than_asked_for_does_not_count() -> None:
    pool = CreditPool(MIB)
    _, receiver = _receiver(pool)
    pool.request(OTHER, 100_000)
    for n in range(1, 4):
        pool.arrivals.add(10_000, START_NS + n * TICK_NS)
        assert receiver.check(START_NS + n * TICK_NS) is None
    assert receiver.check(START_NS + GAP_WAIT_NS) is not None and receiver.progress_ns == START_NS


def test_receiver__waits_for_the_way_there_and_back() -> None:
    _, receiver = _receiver(CreditPool(MIB), round_trip_ns=50 * MS)
    ((when_ns, report),) = _reports(receiver, START_NS + 150 * MS)
    assert when_ns == 100 * MS and report.ranges


def test_receiver__learns_how_long_the_way_is() -> None:
    buffers, receiver = _receiver(CreditPool(MIB), round_trip_ns=None)
    came_ns = START_NS + 6 * TICK_NS  # after 30 ms, and asked for again after 20 ms
    _reports(receiver, came_ns - 1)
    buffers.place(ID, 0, bytes(1000))
    _reports(receiver, came_ns)
    assert receiver.round_trip_ns == 4 * TICK_NS
    assert not _reports(receiver, came_ns + 8 * TICK_NS - 1)
    assert _reports(receiver, came_ns + 8 * TICK_NS)


def test_receiver__all_of_a_long_payload_is_late_rather_than_lost() -> None:
    _, receiver = _receiver(CreditPool(MIB), long=True)
    reports = _reports(receiver, START_NS + 400 * MS)
    first_ns = next(when_ns for when_ns, report in reports if report.ranges)
    assert first_ns >= ALL_LOST_WAITS * GAP_WAIT_NS
    assert [when_ns for when_ns, report in reports if not report.ranges], "the credit is repeated"


def test_receiver__speaks_while_a_slow_payload_comes() -> None:
    buffers, receiver = _receiver(CreditPool(MIB))
    silent = None
    for n in range(10):
        buffers.place(ID, n * 1000, bytes(1000))
        for when_ns, report in _reports(receiver, START_NS + n * 3 * TICK_NS):
            silent = silent or (when_ns, report)
    assert silent is None
    buffers, receiver = _receiver(CreditPool(MIB), round_trip_ns=4 * SPOKEN_NS)
    assert [when_ns for when_ns, _ in _reports(receiver, START_NS + 2 * SPOKEN_NS)] == [
        SPOKEN_NS,
        2 * SPOKEN_NS,
    ]


def test_receiver__notices_what_comes_after_reports_in_vain() -> None:
    buffers, receiver = _receiver(CreditPool(MIB))
    now_ns = START_NS + 6 * GAP_WAIT_NS
    assert len(_reports(receiver, now_ns)) == 3
    for start in (0, 2000, 4000, 6000, 8000):
        buffers.place(ID, start, bytes(1000))
    assert not _reports(receiver, now_ns + TICK_NS) and receiver.moved_ns == now_ns + TICK_NS
