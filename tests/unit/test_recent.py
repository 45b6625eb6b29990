"""What a challenge may name, how often, and that little is kept."""

from __future__ import annotations

from replicast.auth.recent import AGE_MAX_NS, TRIES_MAX, RecentMessages, Sent
from replicast.machine import Destination, Group

GROUP = Group("negotiating", 1)


def sent(counter: int, to: Destination = 2, count: int = 1, tries: int = 1) -> Sent:
    return Sent(to, 0, 10, b"o" * 16, 5, 0, tries, counter, (b"datagram",) * count, 4)


def test_body__is_what_stands_behind_the_headers() -> None:
    whole = Sent(2, 0, 10, b"o" * 16, 5, 0, 1, 1, (bytes(80) + b"bo", bytes(80) + b"dy"), 4)
    assert whole.body == b"body"
    assert sent(1, count=0).body == b""


def test_claim__by_any_fragment_and_once() -> None:
    recent = RecentMessages(10, 1000)
    for message in (sent(1), sent(2, count=3), sent(9)):
        recent.add(message)
    found = recent.claim(4, 2, 0)
    assert found is not None and found.counter == 2
    assert recent.claim(3, 2, 0) is None
    assert recent.claim(5, 2, 0) is None


def test_claim__by_its_receiver_only_but_by_each_member_of_a_group() -> None:
    recent = RecentMessages(10, 1000)
    recent.add(sent(1))
    recent.add(sent(2, to=GROUP))
    assert recent.claim(1, 3, 0) is None
    assert recent.claim(2, 3, 0) is recent.claim(2, 4, 0)
    assert recent.claim(2, 3, 0) is None


def test_claim__not_when_old_nor_for_ever() -> None:
    recent = RecentMessages(10, 1000)
    recent.add(sent(1))
    recent.add(sent(2, tries=TRIES_MAX))
    assert recent.claim(1, 2, AGE_MAX_NS + 1) is None
    assert recent.claim(2, 2, 0) is None


def test_add__bounded_in_count_and_bytes() -> None:
    recent = RecentMessages(2, 1000)
    for counter in (1, 2, 3):
        recent.add(sent(counter))
    assert recent.claim(1, 2, 0) is None and recent.claim(2, 2, 0)
    small = RecentMessages(10, 7)
    small.add(sent(1))
    small.add(sent(2))
    assert small.claim(1, 2, 0) is None and small.claim(2, 2, 0)
