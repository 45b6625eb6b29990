"""What a challenge may name, how often, and that little is kept."""

from __future__ import annotations

from replicast.auth.recent import AGE_MAX_NS, TRIES_MAX, RecentMessages, Ring, Sent
from replicast.machine import Destination, Group

GROUP = Group("negotiating", 1)


def sent(counter: int, to: Destination = 2, count: int = 1, tries: int = 1) -> Sent:
    return Sent(to, 0, 10, b"o" * 16, 5, 0, tries, counter, (b"datagram",) * count, 4)


def remembering(count_max: int = 10, bytes_max: int = 1000) -> RecentMessages:
    return RecentMessages(Ring(count_max, bytes_max), Ring(count_max, bytes_max))


def test_body__is_what_stands_behind_the_headers() -> None:
    whole = Sent(2, 0, 10, b"o" * 16, 5, 0, 1, 1, (bytes(80) + b"bo", bytes(80) + b"dy"), 4)
    assert whole.body == b"body"
    assert sent(1, count=0).body == b""


def test_claim__by_any_fragment_and_once() -> None:
    recent = remembering()
    for message in (sent(1), sent(2, count=3), sent(9)):
        recent.add(message)
    found = recent.claim(4, 2, 0)
    assert found is not None and found.counter == 2
    assert recent.claim(3, 2, 0) is None
    assert recent.claim(5, 2, 0) is None


def test_claim__by_its_receiver_only_but_by_each_member_of_a_group() -> None:
    recent = remembering()
    recent.add(sent(1))
    recent.add(sent(2, to=GROUP))
    assert recent.claim(1, 3, 0) is None
    assert recent.claim(2, 3, 0) is recent.claim(2, 4, 0)
    assert recent.claim(2, 3, 0) is None


def test_claim__not_when_old_nor_for_ever() -> None:
    recent = remembering()
    recent.add(sent(1))
    recent.add(sent(2, tries=TRIES_MAX))
    assert recent.claim(1, 2, AGE_MAX_NS + 1) is None
    assert recent.claim(2, 2, 0) is None


def test_add__bounded_in_count_and_bytes() -> None:
    recent = remembering(count_max=2)
    for counter in (1, 2, 3):
        recent.add(sent(counter))
    assert recent.claim(1, 2, 0) is None and recent.claim(2, 2, 0)
    small = remembering(bytes_max=7)
    small.add(sent(1))
    small.add(sent(2))
    assert small.claim(1, 2, 0) is None and small.claim(2, 2, 0)


def test_add__small_ones_leave_those_in_fragments_their_place() -> None:
    recent = remembering(count_max=2)
    recent.add(sent(1, count=3))
    for counter in range(4, 40):
        recent.add(sent(counter))
    assert recent.repair(1, 2, 0) is not None
    recent.add(sent(40, count=2))
    recent.add(sent(42, count=2))
    assert recent.repair(1, 2, 0) is None
    found = recent.claim(41, 2, 0)
    assert found is not None and found.counter == 40
