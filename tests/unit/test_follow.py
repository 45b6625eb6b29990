"""Where a client of the control plane turns when the Raft leader has died, and what it believes late."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash.follow import FETCH_NS, HURRY_NS, SETTINGS_NS, Follower
from replicast.flexhash.follow_commands import COMMAND_NS
from replicast.flexhash.follow_events import AdoptSettings, AdoptTable, Ask
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.shelf import TableShelf
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import BucketCreate
from replicast.wire.codec import WireError
from replicast.wire.frame import NO_OPERATION
from replicast.wire.reasons import Reason
from tests.unit.small_tables import table as small_table

VOTERS = (11, 12, 13)


def notice(leader: int, users_version: int = 0) -> cm.Notice:
    return cm.Notice(
        leader=leader, age_ns=0, active=1, active_digest=bytes(32), prepared=0,
        prepared_digest=bytes(32), settings_version=0, floor=1, settings_floor=0, wall_ns=0, voter_epoch=0,
        users_version=users_version,
    )  # fmt: skip


def asked(follower: Follower, kind: type[Any]) -> list[Ask]:
    return [ask for ask in follower.take_asks() if isinstance(ask.message, kind)]


def command() -> BucketCreate:
    return BucketCreate(
        tenant="default",
        bucket="photos",
        spread=4,
        inline_max_bytes=0,
        created_ns=0,
        settings_floor=0,
        owner="",
        versioning=1,
        location="",
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


def data(version: int) -> cm.SettingsData:
    return cm.SettingsData(version=version, changed=True, buckets=(), settings=())


def current_asked(follower: Follower) -> list[Ask]:
    return [
        ask
        for ask in asked(follower, cm.SettingsGet)
        if isinstance(ask.message, cm.SettingsGet) and ask.message.current
    ]


def wanting(leader: int) -> tuple[Follower, Ask]:
    """A follower that has just asked the Raft leader for its settings."""
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    follower.receive(leader, notice(VOTERS[leader]), NO_OPERATION, 0)
    follower.hurry_current(follower.settings, 0)
    (ask,) = current_asked(follower)
    assert ask.voter == leader
    return follower, ask


def test_current_settings__another_voter_is_asked_after_silence() -> None:
    follower, _ = wanting(leader=0)
    follower.tick(SETTINGS_NS)
    (second,) = current_asked(follower)
    assert second.voter != 0


def test_current_settings__a_redirect_is_followed_at_once_and_after_a_pause_without_a_name() -> (
    None
):
    follower, first = wanting(leader=0)
    follower.receive(0, cm.Redirect(leader=VOTERS[2]), first.operation_id, MS)
    (second,) = current_asked(follower)
    assert second.voter == 2
    follower.receive(2, cm.Redirect(leader=0), second.operation_id, 2 * MS)
    assert current_asked(follower) == [] and follower.deadline_ns() <= 2 * MS + HURRY_NS
    follower.tick(2 * MS + HURRY_NS)
    (third,) = current_asked(follower)
    assert third.voter == 0


def test_current_settings__a_refusal_is_asked_again_after_a_pause() -> None:
    follower, first = wanting(leader=0)
    busy = cm.ControlRefused(reason=Reason.BUSY, detail="")
    follower.receive(0, busy, first.operation_id, MS)
    assert current_asked(follower) == []
    follower.tick(MS + HURRY_NS)
    assert len(current_asked(follower)) == 1


def test_current_settings__what_any_voter_says_is_no_answer() -> None:
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    follower.tick(0)
    (anyone,) = asked(follower, cm.SettingsGet)
    follower.hurry_current(follower.settings, MS)
    (current,) = current_asked(follower)
    follower.receive(anyone.voter, data(1), anyone.operation_id, 2 * MS)
    assert follower.settings.heard and follower.settings.current_ns is None
    follower.receive(current.voter, data(2), current.operation_id, 3 * MS)
    assert follower.settings.current_ns == MS and not follower.settings.wants_current


def test_current_settings__an_older_question_does_not_answer_a_newer_wish() -> None:
    follower, first = wanting(leader=0)
    follower.hurry_current(follower.settings, 10 * MS)
    assert current_asked(follower) == [], "one question at a time"
    follower.receive(0, data(1), first.operation_id, 20 * MS)
    (second,) = current_asked(follower)
    follower.receive(0, data(2), second.operation_id, 30 * MS)
    assert follower.settings.current_ns == 20 * MS
    versions = [e.version for e in follower.take_events() if isinstance(e, AdoptSettings)]
    assert versions == [1, 2]


def test_settings__a_voter_that_lags_is_not_asked_again_at_once() -> None:
    """Its answers came as fast as it was asked: 4,000 questions a second."""
    follower = Follower(1, VOTERS, random.Random(1), Counters())
    follower.tick(0)
    (first,) = asked(follower, cm.SettingsGet)
    ahead = replace(notice(VOTERS[1]), settings_version=2)
    follower.receive(1, ahead, NO_OPERATION, MS)
    for version in (1, 0):  # one that it had not got yet, and none
        now_ns = 0 if version else HURRY_NS
        follower.receive(first.voter, data(version), first.operation_id, now_ns + 2 * MS)
        assert asked(follower, cm.SettingsGet) == []
        assert follower.deadline_ns() <= now_ns + 2 * MS + HURRY_NS
        follower.tick(now_ns + 2 * MS + HURRY_NS)
        (second,) = asked(follower, cm.SettingsGet)
        assert second.voter != first.voter
        first = second
    follower.receive(first.voter, data(2), first.operation_id, SECOND)
    assert asked(follower, cm.SettingsGet) == [] and not follower.settings.behind


def test_settings__an_answer_that_comes_late_is_taken_and_is_not_of_now() -> None:
    """Over a slow link each came behind the next question, and none counted."""
    follower, current = wanting(leader=0)
    follower.receive(0, replace(notice(VOTERS[0]), settings_version=3), NO_OPERATION, 0)
    for number in (1, 2, 3):
        follower.tick(number * SETTINGS_NS)
    follower.take_asks()
    follower.receive(0, data(3), current.operation_id, 4 * SETTINGS_NS)
    versions = [e.version for e in follower.take_events() if isinstance(e, AdoptSettings)]
    assert versions == [3]
    assert not follower.settings.behind and follower.settings.wants_current
    assert follower.settings.current_ns is None


def test_table__an_answer_that_comes_late_is_taken_once() -> None:
    follower, shelf = Follower(1, VOTERS, random.Random(1), Counters()), TableShelf()
    shelf.put(small_table(2))
    reply = shelf.reply(2, 0)
    assert isinstance(reply, cm.TableData)
    active = replace(notice(VOTERS[0]), active=2, active_digest=reply.digest)
    follower.receive(0, active, NO_OPERATION, 0)
    (first,) = asked(follower, cm.TableGet)
    follower.tick(FETCH_NS)
    (second,) = asked(follower, cm.TableGet)
    follower.receive(first.voter, reply, first.operation_id, FETCH_NS + MS)
    (event,) = [e for e in follower.take_events() if isinstance(e, AdoptTable)]
    follower.adopted(event.table, FETCH_NS + 2 * MS)
    follower.receive(second.voter, reply, second.operation_id, FETCH_NS + 3 * MS)
    follower.tick(3 * FETCH_NS)
    assert asked(follower, cm.TableGet) == [] and follower.take_events() == []


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


def test_lease__is_asked_for_at_once_of_a_new_raft_leader() -> None:
    """It knows nobody's adoption, and lets nobody take rows over before it does."""
    follower = Follower(1, VOTERS, random.Random(1), Counters(), holder=LeaseHolder(1))
    follower.vouched = ()
    follower.receive(0, notice(VOTERS[0]), NO_OPERATION, 0)
    follower.tick(0)
    assert [ask.voter for ask in asked(follower, cm.LeaseRenew)] == [0]
    follower.receive(1, notice(VOTERS[0]), NO_OPERATION, 10 * MS)
    follower.tick(10 * MS)
    assert asked(follower, cm.LeaseRenew) == []
    follower.receive(1, notice(VOTERS[1]), NO_OPERATION, 20 * MS)
    assert follower.deadline_ns() <= 20 * MS
    follower.tick(20 * MS)
    assert [ask.voter for ask in asked(follower, cm.LeaseRenew)] == [1]
