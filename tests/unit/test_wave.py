"""Wave: when the payload goes to the rendezvous group, and when by unicast."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.gateway.context import ChunkSettings
from replicast.gateway.wave import Wave, Waves
from replicast.machine import Group
from replicast.transfer import SendPayload
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import PayloadGaps, PutAccept, PutAccepted

SIZE = 100_000
GROUP = Group("rendezvous", 5)


def owner_of(vdev_index: int) -> Any:
    return SimpleNamespace(node_id=10 * vdev_index, host=f"h{vdev_index}")


def wave(payload: list[SendPayload] | None = None) -> Wave:
    """Winners 1, 2, 3 of nodes 10, 20, 30."""
    accept = PutAccept(
        row=1,
        chid=bytes(32),
        hash_algorithm=1,
        size_bytes=SIZE,
        winners=(1, 2, 3),
        holders=(),
        transfer_id=bytes(16),
        datagram_bytes=1392,
        rendezvous=GROUP.number,
        authenticated=False,
    )
    bid = SimpleNamespace(start_ns=0, duration_ns=1)
    ballot = SimpleNamespace(bids={1: bid, 2: bid, 3: bid}, owner=owner_of)
    return Wave(accept, bytes(SIZE), ballot, ChunkSettings(), 0, [] if payload is None else payload)  # type: ignore[arg-type]


def accepted(vdev: int, *, joined: bool = True) -> PutAccepted:
    return PutAccepted(vdevs=(vdev,), credit_bytes=SIZE, joined=joined)


def sent_to(made: Wave) -> list[object]:
    return [event.to for event in made.sender.take()]


def test_accepted__all_joined_is_one_job_for_the_group() -> None:
    made = wave()
    for vdev in (1, 2):
        made.accepted(10 * vdev, accepted(vdev))
        assert sent_to(made) == [] and made.waits_for_rendezvous
    made.accepted(30, accepted(3))
    assert sent_to(made) == [GROUP] and not made.waits_for_rendezvous


def test_accepted__one_that_has_not_joined_makes_it_unicast() -> None:
    made = wave()
    made.accepted(10, accepted(1))
    made.accepted(20, accepted(2, joined=False))
    made.accepted(30, accepted(3))
    assert sent_to(made) == [(10,), (20,), (30,)]


def test_go_without_late__the_group_for_two_unicast_for_the_third() -> None:
    made = wave()
    made.accepted(10, accepted(1))
    made.accepted(20, accepted(2))
    made.go_without_late()
    assert sent_to(made) == [GROUP]
    made.accepted(30, accepted(3))
    assert sent_to(made) == [(30,)]


def test_go_without_late__one_alone_gets_it_by_unicast() -> None:
    made = wave()
    made.accepted(10, accepted(1))
    made.go_without_late()
    made.go_without_late()
    assert sent_to(made) == [(10,)]


def test_gaps__a_put_accepted_that_was_lost_does_not_hold_up_the_others() -> None:
    made = wave()
    made.accepted(10, accepted(1))
    made.accepted(20, accepted(2))
    report = PayloadGaps(transfer_id=bytes(16), received_bytes=0, credit_bytes=SIZE, ranges=())
    made.gaps(30, report, 0)
    assert sent_to(made) == [GROUP, (30,)] and not made.waits_for_rendezvous


def test_drop__the_last_one_missing_starts_the_group() -> None:
    made = wave()
    made.accepted(10, accepted(1))
    made.accepted(20, accepted(2))
    made.drop(made.winners[2])
    assert sent_to(made) == [GROUP]


def test_excess_ns__is_measured_against_the_first_of_the_wave() -> None:
    made = wave()
    first, second, third = made.winners
    third.promised_ns = 50
    assert made.excess_ns(first, 1000) == 0, "what delays all is ours"
    assert made.excess_ns(second, 1030) == 30
    assert made.excess_ns(third, 1040) == 0, "it had said so"


def test_excess_ns__nobody_to_compare_with() -> None:
    made = wave()
    made.accept = replace(made.accept, winners=(1,))
    assert made.excess_ns(made.winners[0], 10**9) is None


@pytest.mark.parametrize("first_stored_ns", [None, 0, 5 * SECOND])
@pytest.mark.parametrize("joined", [0, 2])
@pytest.mark.parametrize("late", [0, 1, 3])
def test_deadlines__are_those_of_all_winners_before_any_time(
    first_stored_ns: int | None, joined: int, late: int
) -> None:
    made, waves = wave(), Waves(first_stored_ns)
    waves.add(made)
    for vdev in range(1, joined + 1):
        made.accepted(10 * vdev, accepted(vdev))
    report = PayloadGaps(transfer_id=bytes(16), received_bytes=SIZE, credit_bytes=0, ranges=())
    made.gaps(20, report, 4 * SECOND)  # bytes of the second one have arrived, late as it is
    for each in made.winners[:late]:
        each.late = True
    all_ns = [made.late_ns(each, first_stored_ns) for each in made.live()]
    if made.waits_for_rendezvous:
        all_ns.append(made.unicast_from_ns)
    near = {each + off for each in all_ns for off in (-1, 0, 1)}
    for before_ns in {0, 100 * MS, made.punctual_until_ns, 100 * SECOND, *near}:
        assert waves.deadline_ns(before_ns) == min([before_ns, *all_ns])
    assert made.unicast_from_ns < made.punctual_until_ns


def test_payload__of_all_waves_gathers_where_their_put_takes_it() -> None:
    payload: list[SendPayload] = []
    for made in (wave(payload), wave(payload)):
        for vdev in (1, 2, 3):
            made.accepted(10 * vdev, accepted(vdev))
    assert [event.to for event in payload] == [GROUP, GROUP]


def test_hosts__are_those_whose_word_is_awaited() -> None:
    made, waves = wave(), Waves()
    waves.add(made)
    made.winners[1].late = True
    assert waves.hosts() == {"h1", "h3"}
    made.drop(made.winners[0])
    assert waves.hosts() == {"h3"}
