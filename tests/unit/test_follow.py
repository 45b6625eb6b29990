"""Where a client of the control plane turns when the Raft leader has died."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.follow import COMMAND_NS, SETTINGS_NS, Ask, Follower
from replicast.flexhash.lease import LeaseHolder
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError
from replicast.wire.frame import NO_OPERATION

VOTERS = (11, 12, 13)


def notice(leader: int) -> cm.Notice:
    return cm.Notice(
        leader=leader, age_ns=0, active=1, active_digest=bytes(32), prepared=0,
        prepared_digest=bytes(32), settings_version=0, floor=1, settings_floor=0, wall_ns=0,
    )  # fmt: skip


def asked(follower: Follower, kind: type[Any]) -> list[Ask]:
    return [ask for ask in follower.take_asks() if isinstance(ask.message, kind)]


def command() -> cm.BucketCreate:
    return cm.BucketCreate(
        tenant="default", bucket="photos", spread=4, inline_max_bytes=0, created_ns=0
    )


@pytest.mark.parametrize("dead", range(len(VOTERS)))
@pytest.mark.parametrize("step", [1, 2])
def test_commands__go_to_the_leader_that_a_notice_named(dead: int, step: int) -> None:
    """Silence of the old leader must not push the command past the new one."""
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    living = (dead + step) % len(VOTERS)
    follower.receive(dead, notice(VOTERS[dead]), NO_OPERATION, 0)
    follower.submit(command(), 30 * SECOND)
    follower.tick(0)
    (first,) = asked(follower, cm.CommandSubmit)
    assert first.voter == dead
    follower.receive(living, notice(VOTERS[living]), NO_OPERATION, 900 * MS)
    follower.tick(COMMAND_NS)
    (second,) = asked(follower, cm.CommandSubmit)
    assert second.voter == living
    first_message, second_message = first.message, second.message
    assert isinstance(first_message, cm.CommandSubmit)
    assert isinstance(second_message, cm.CommandSubmit)
    assert first_message.sequence == second_message.sequence  # once, whoever applies it


@pytest.mark.parametrize("change", [{"tenant": "t" * 3000}, {"spread": 1 << 40}])
def test_commands__that_cannot_be_encoded_are_refused_at_once(change: dict[str, Any]) -> None:
    """At their turn they would end the ticking, and with it the lease."""
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    with pytest.raises(WireError):
        follower.submit(replace(command(), **change), 30 * SECOND)
    follower.submit(command(), 30 * SECOND)
    follower.tick(0)
    assert len(asked(follower, cm.CommandSubmit)) == 1


def test_commands__go_round_while_nobody_is_named() -> None:
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    follower.submit(command(), 30 * SECOND)
    voters = []
    for number in range(3):
        follower.tick(number * COMMAND_NS)
        voters += [ask.voter for ask in asked(follower, cm.CommandSubmit)]
    assert sorted(voters) == [0, 1, 2]


def test_settings__another_voter_is_asked_after_silence() -> None:
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    follower.receive(0, notice(VOTERS[0]), NO_OPERATION, 0)
    follower.hurry_settings(0)
    voters = [ask.voter for ask in asked(follower, cm.SettingsGet)]
    follower.tick(SETTINGS_NS)
    voters += [ask.voter for ask in asked(follower, cm.SettingsGet)]
    assert len(voters) == 2 and voters[0] == 0 != voters[1]


@pytest.mark.parametrize("busy", ["idle", "command", "leased"])
def test_deadline__no_tick_before_it_has_anything_to_ask(busy: str) -> None:
    holder = LeaseHolder(1) if busy == "leased" else None
    follower = Follower(1, VOTERS, random.Random(1), Counters(), holder=holder)
    if busy == "command":
        follower.submit(command(), 30 * SECOND)
    if busy == "leased":
        follower.vouched = (bytes(16),)
    now_ns, asks = 0, 0
    while now_ns < 5 * SECOND:
        follower.tick(now_ns)
        asks += len(follower.take_asks())
        due_ns = follower.deadline_ns()
        assert due_ns > now_ns
        while (now_ns := now_ns + MS) < due_ns:
            follower.tick(now_ns)
            assert follower.take_asks() == []
            due_ns = min(due_ns, follower.deadline_ns())
    assert asks >= 5 * len(VOTERS)
