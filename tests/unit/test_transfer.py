"""Sender, Receiver and CreditPool, without cores around them."""

import random
from collections.abc import Callable

import pytest

from replicast.credit import CreditPool
from replicast.hashing import HashAlgorithm, content_hash, fits_algorithm
from replicast.machine import Group
from replicast.transfer import (
    GAP_WAIT_NS,
    HOLE_WAIT_PART,
    TICK_NS,
    UNREAD_NS_MAX,
    Receiver,
    Sender,
)
from replicast.transport.reassembly import Reassembly
from replicast.units import KIB, MIB, MS
from replicast.wire.chunk_messages import ByteRange, PayloadGaps

ID = bytes(range(16))
SIZE = 10_000
DATA = random.Random(1).randbytes(SIZE)
RENDEZVOUS = Group("rendezvous", 3)


def sender(**more: int) -> Sender:
    return Sender(ID, DATA, SIZE, 1000, **more)  # type: ignore[arg-type]


def report(received: int, credit: int, *ranges: tuple[int, int]) -> PayloadGaps:
    wire = tuple(ByteRange(start=a, end=b) for a, b in ranges)
    return PayloadGaps(transfer_id=ID, received_bytes=received, credit_bytes=credit, ranges=wire)


def test_sender__one_job_for_receivers_with_the_same_credit() -> None:
    s = sender()
    s.add_all((1, 2, 3), SIZE)
    (event,) = s.take()
    assert event.to == (1, 2, 3) and event.ranges == ((0, SIZE),)
    assert event.payload_bytes == 3 * SIZE


def test_sender__stays_within_the_credit_rounded_up_to_a_datagram() -> None:
    s = sender()
    s.add(1, 2500)
    assert [e.ranges for e in s.take()] == [((0, 3000),)]
    s.gaps(1, report(2000, 2500))
    assert [e.ranges for e in s.take()] == [((3000, 5000),)]


def test_sender__without_credit_sends_nothing() -> None:
    s = sender()
    s.add(1, 0)
    assert s.take() == []


def test_sender__resends_only_what_was_sent_and_has_left() -> None:
    s = sender()
    s.add(1, 5000)
    (first,) = s.take()
    s.gaps(1, report(3000, 2000, (1000, 2000), (4000, 9000)))
    assert s.take() == [], "the first job is still under way"
    s.sent(first.token)
    s.gaps(1, report(3000, 2000, (1000, 2000), (4000, 9000)))
    (again,) = s.take()
    assert again.resend and again.ranges == ((1000, 2000), (4000, 5000)) and again.to == (1,)
    assert again.payload_bytes == 2000


def test_sender__all_of_a_long_job_missing_is_believed_the_second_time() -> None:
    s = sender()
    s.add(1, SIZE)
    s.sent(s.take()[0].token)
    s.gaps(1, report(0, SIZE, (0, SIZE)))
    assert s.take() == [], "written before anything arrived"
    s.gaps(1, report(0, SIZE, (0, SIZE)))
    (again,) = s.take()
    assert again.resend and again.ranges == ((0, SIZE),)


def test_sender__part_of_a_long_job_missing_is_sent_again_at_once() -> None:
    s = sender()
    s.add(1, SIZE)
    s.sent(s.take()[0].token)
    s.gaps(1, report(1000, SIZE, (0, 9000)))
    assert [e.ranges for e in s.take()] == [((0, 9000),)]


def test_sender__multicast_waits_for_the_slowest_credit_and_mends_by_unicast() -> None:
    s = sender()
    s.multicast(RENDEZVOUS, {1: SIZE, 2: 4000})
    (first,) = s.take()
    assert first.to == RENDEZVOUS and first.ranges == ((0, 4000),)
    s.sent(first.token)
    s.gaps(2, report(4000, SIZE))
    (second,) = s.take()
    assert second.to == RENDEZVOUS and second.ranges == ((4000, SIZE),)
    s.sent(second.token)
    s.gaps(1, report(9000, SIZE, (1000, 2000)))
    (mended,) = s.take()
    assert mended.to == (1,) and mended.resend


def test_sender__a_receiver_that_drops_out_holds_nobody_back() -> None:
    s = sender()
    s.multicast(RENDEZVOUS, {1: SIZE, 2: 1000})
    s.take()
    s.remove(2)
    assert [e.ranges for e in s.take()] == [((1000, SIZE),)]


def test_sender__skipped_bytes_went_another_way() -> None:
    s = sender(skip_bytes=3000)
    s.add(1, SIZE)
    assert [e.ranges for e in s.take()] == [((3000, SIZE),)]


@pytest.mark.parametrize("ranges", [((5, 5),), ((9000, 1),), ((2**32 - 2, 2**32 - 1),)])
def test_sender__nonsense_from_a_peer_sends_nothing(ranges: tuple[tuple[int, int], ...]) -> None:
    s = sender()
    s.add(1, SIZE)
    s.sent(s.take()[0].token)
    s.gaps(1, report(2**32 - 1, 2**32 - 1, *ranges))
    s.gaps(77, report(0, SIZE, (0, SIZE)))
    assert s.take() == []


@pytest.mark.parametrize(
    ("ranges", "again"),
    [
        (((0, SIZE),) * 256, ((0, SIZE),)),
        (((0, 3000), (2000, 5000), (0, 1000)), ((0, 3000), (3000, 5000))),
        (((5, 6), (6, 7), (7, 1001)), ((5, 6), (1000, 1001))),
    ],
)
def test_sender__a_report_costs_one_copy_at_most(
    ranges: tuple[tuple[int, int], ...], again: tuple[tuple[int, int], ...]
) -> None:
    s = sender()
    s.add(1, SIZE)
    s.sent(s.take()[0].token)
    s.gaps(1, report(0, SIZE, (0, 1)))  # now whatever is missing is believed
    for event in s.take():
        s.sent(event.token)
    s.gaps(1, report(0, SIZE, *ranges))
    assert [e.ranges for e in s.take()] == [again]


def mended(size_bytes: int) -> Callable[..., tuple[tuple[int, int], ...]]:
    """A payload in datagrams of 1 KiB that was sent once; what a report has sent again."""
    s = Sender(ID, bytes(size_bytes), size_bytes, KIB)
    s.add(1, size_bytes)
    s.sent(s.take()[0].token)

    def resent(received_kib: int, *missing_kib: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        ranges = [(start * KIB, end * KIB) for start, end in missing_kib]
        s.gaps(1, report(received_kib * KIB, size_bytes, *ranges))
        (event,) = s.take()
        s.sent(event.token)
        return tuple((start // KIB, end // KIB) for start, end in event.ranges)

    return resent


def test_sender__what_a_link_cannot_carry_is_not_sent_into_it_again_and_again() -> None:
    resent = mended(MIB)
    assert resent(64, (64, 1024)) == ((64, 1024),)
    assert resent(64, (64, 1024)) == ((64, 66),), "nothing came of so much: two datagrams"
    assert resent(64, (64, 1024)) == ((66, 68),), "the first two may be on their way"
    assert resent(66, (66, 1024)) == ((68, 72),), "two came: twice as much"
    assert resent(66, (66, 1024)) == ((72, 74),), "nothing came of four"


def test_sender__a_resend_of_which_some_came_is_followed_by_as_much() -> None:
    resent = mended(MIB)
    assert resent(100, (100, 1024)) == ((100, 1024),)
    assert resent(200, (200, 1024)) == ((200, 300),)


def test_sender__what_leaves_as_one_packet_may_be_lost_twice() -> None:
    resent = mended(MIB)
    assert resent(963, (0, 61)) == ((0, 61),)
    assert resent(963, (0, 61)) == ((0, 61),)
    assert resent(963, (0, 61)) == ((0, 2),), "three times is no chance"


def opened() -> Reassembly:
    buffers = Reassembly(MIB, 4)
    buffers.open(ID, SIZE, 1000)
    return buffers


def _next_report(receiver: Receiver) -> tuple[PayloadGaps, int]:
    """And when it was made."""
    while (report := receiver.check(now_ns := receiver.deadline_ns())) is None:
        pass
    return report, now_ns


def test_receiver__reports_gaps_after_silence_and_backs_off() -> None:
    buffers = opened()
    receiver = Receiver(buffers, ID, 1, SIZE, 0)
    buffers.place(ID, 0, DATA[:4000])
    assert receiver.check(TICK_NS - 1) is None
    assert receiver.check(TICK_NS) is None, "bytes came"
    first, due = _next_report(receiver)
    assert due == TICK_NS + GAP_WAIT_NS
    assert first.ranges == (ByteRange(start=4000, end=SIZE),)
    assert first.received_bytes == 4000 and first.credit_bytes == SIZE
    assert receiver.deadline_ns() - due == TICK_NS, "what is sent again comes at once"
    again, later = _next_report(receiver)
    assert again == first and later - due == GAP_WAIT_NS, "the first report may have been lost"
    for times in (2, 4, 8):
        _, next_ns = _next_report(receiver)
        assert next_ns - later == times * GAP_WAIT_NS
        later = next_ns


def test_receiver__reports_holes_at_once_when_the_end_is_there() -> None:
    buffers = opened()
    receiver = Receiver(buffers, ID, 1, SIZE, 0)
    buffers.place(ID, 3000, DATA[3000:])
    first, due = _next_report(receiver)
    assert first.ranges == (ByteRange(start=0, end=3000),) and due == TICK_NS
    buffers.place(ID, 0, DATA[:1000])
    buffers.place(ID, 2000, DATA[2000:3000])  # the end of what was asked for
    again, later = _next_report(receiver)
    assert again.ranges == (ByteRange(start=1000, end=2000),) and later - due == TICK_NS


def test_receiver__reports_holes_sooner_than_an_end_that_may_be_late() -> None:
    buffers = opened()
    receiver = Receiver(buffers, ID, 1, SIZE, 0)
    buffers.place(ID, 2000, DATA[2000:])
    first, due = _next_report(receiver)
    buffers.place(ID, 0, DATA[:1000])
    assert receiver.check(due + TICK_NS) is None, "bytes came, and the last may be on its way"
    again, later = _next_report(receiver)
    assert first.ranges == (ByteRange(start=0, end=2000),)
    assert again.ranges == (ByteRange(start=1000, end=2000),)
    assert later - due == TICK_NS + GAP_WAIT_NS // HOLE_WAIT_PART


class Unread(Reassembly):
    """Its socket is never empty."""

    def unread(self) -> bool:
        return True


def test_receiver__what_is_missing_before_the_end_may_lie_in_the_socket() -> None:
    buffers = Unread(MIB, 4)
    buffers.open(ID, SIZE, 1000)
    receiver = Receiver(buffers, ID, 1, SIZE, 0)
    buffers.place(ID, 1000, DATA[1000:])
    assert receiver.check(TICK_NS) is None and receiver.check(2 * TICK_NS) is None


def test_receiver__waits_for_what_lies_in_the_socket_but_not_for_ever() -> None:
    buffers = Unread(MIB, 4)
    buffers.open(ID, SIZE, 1000)
    receiver = Receiver(buffers, ID, 1, SIZE, 0)
    now_ns = receiver.deadline_ns()
    while (message := receiver.check(now_ns)) is None:
        assert now_ns < UNREAD_NS_MAX
        now_ns = receiver.deadline_ns()
    assert now_ns >= UNREAD_NS_MAX and message.ranges == (ByteRange(start=0, end=SIZE),)


def test_receiver__slides_a_partial_credit() -> None:
    buffers = opened()
    receiver = Receiver(buffers, ID, 1, 4000, 0)
    buffers.place(ID, 0, DATA[:1000])
    assert receiver.check(receiver.deadline_ns()) is None, "a quarter of it is used"
    buffers.place(ID, 1000, DATA[1000:3000])
    message = receiver.check(receiver.deadline_ns())
    assert message is not None and message.ranges == () and message.received_bytes == 3000


def test_receiver__grant_speaks_at_once() -> None:
    receiver = Receiver(opened(), ID, 1, 0, 0)
    message = receiver.grant(SIZE, MS)
    assert message.credit_bytes == SIZE and message.received_bytes == 0


def test_receiver__without_credit_is_looked_at_when_it_has_to_ask_again_and_at_once_with_some() -> (
    None
):
    receiver = Receiver(opened(), ID, 1, 0, 0, pool=CreditPool(MIB))
    assert receiver.check(TICK_NS) is None and receiver.next_ns == GAP_WAIT_NS
    assert receiver.check(GAP_WAIT_NS) is not None
    receiver.grant(SIZE, GAP_WAIT_NS + 1)
    assert receiver.next_ns == GAP_WAIT_NS + TICK_NS
    assert receiver.check(receiver.next_ns) is None
    assert receiver.next_ns == GAP_WAIT_NS + 2 * TICK_NS


def test_credit_pool__the_socket_has_the_last_word() -> None:
    pool = CreditPool(4 * MIB)
    pool.limit(8 * MIB)
    assert pool.total_bytes == 4 * MIB
    pool.limit(200 * KIB)
    assert pool.request(b"a", MIB) == 200 * KIB
    pool.limit(0)
    assert pool.total_bytes > 0, "or nothing would ever move"


def test_credit_pool__first_come_first_served() -> None:
    pool = CreditPool(100 * KIB)
    assert pool.request(b"a", 60 * KIB) == 60 * KIB
    assert pool.request(b"b", 60 * KIB) == 0 and pool.waiting(b"b")
    assert pool.request(b"c", 10 * KIB) == 0, "nobody overtakes"
    assert pool.take_granted() == []
    pool.release(b"a")
    assert pool.take_granted() == [(b"b", 60 * KIB), (b"c", 10 * KIB)]
    pool.release(b"b")
    pool.release(b"b")
    pool.release(b"c")
    assert pool.granted_bytes == 0


def test_credit_pool__what_has_arrived_is_free_for_others() -> None:
    pool = CreditPool(100 * KIB)
    pool.request(b"a", 60 * KIB)
    pool.request(b"b", 60 * KIB)
    pool.left(b"a", 60 * KIB)
    assert pool.take_granted() == []
    pool.left(b"a", 40 * KIB)
    assert pool.take_granted() == [(b"b", 60 * KIB)] and pool.granted_bytes == 100 * KIB
    pool.left(b"a", 50 * KIB)
    assert pool.granted(b"a") == 40 * KIB, "it does not grow again"
    pool.left(b"c", 0)
    pool.release(b"a")
    pool.release(b"b")
    assert pool.granted_bytes == 0


def test_credit_pool__a_large_transfer_gets_the_whole_pool() -> None:
    pool = CreditPool(100 * KIB)
    assert pool.request(b"a", MIB) == 100 * KIB


def test_credit_pool__one_that_gave_up_is_not_granted() -> None:
    pool = CreditPool(100 * KIB)
    pool.request(b"a", 100 * KIB)
    pool.request(b"b", 100 * KIB)
    pool.release(b"a")
    pool.release(b"b")
    assert pool.take_granted() == [] and pool.granted_bytes == 0


def test_content_hash__known_values() -> None:
    assert content_hash(HashAlgorithm.SHA256, b"").hex().startswith("e3b0c44298fc1c14")
    assert content_hash(HashAlgorithm.SHA3_256, b"").hex().startswith("a7ffc6f8bf1ed766")
    assert content_hash(HashAlgorithm.BLAKE3_256, b"").hex().startswith("af1349b9f5f9a1a6")
    for algorithm in HashAlgorithm:
        assert fits_algorithm(algorithm, content_hash(algorithm, memoryview(b"abc")))


def test_content_hash__unknown_algorithm() -> None:
    with pytest.raises(ValueError, match="unknown hash algorithm 9"):
        content_hash(9, b"")
    assert not fits_algorithm(9, bytes(32)) and not fits_algorithm(1, bytes(31))
