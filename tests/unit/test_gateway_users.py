"""gateway/users.py, flexhash/follow_users.py: how a gateway follows the users."""

from __future__ import annotations

import random

import pytest

from replicast.flexhash.commands import Code, UserState, decode_result, encode_command
from replicast.flexhash.follow import HURRY_NS, SETTINGS_NS, WATCH_NS, Follower
from replicast.flexhash.follow_events import AdoptUsers, Ask
from replicast.flexhash.follow_users import CURRENT_PAUSE_NS, UsersFollower
from replicast.flexhash.state import ControlState
from replicast.flexhash.state_users import users_after
from replicast.gateway.users import UserDirectory
from replicast.keys import ClusterKeys
from replicast.metrics import Counters
from replicast.sealing import SecretSeal
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.frame import NO_OPERATION
from replicast.wire.schema import Message
from replicast.wire.user_messages import (
    USERS_PER_DATA_MAX,
    UserCreate,
    UserRotate,
    UsersData,
    UsersGet,
    UserStateSet,
)

VOTERS = (11, 12, 13)
SEAL = SecretSeal(bytes(16), ClusterKeys(1, {1: b"k" * 32}))
OTHER = SecretSeal(bytes(16), ClusterKeys(1, {1: b"x" * 32}))


def create(name: str, secret: str = "a-secret", seal: SecretSeal = SEAL) -> UserCreate:
    key_id = f"KEY{name}"
    return UserCreate(
        name=name,
        key_id=key_id,
        canonical_id="shared",
        display_name=name.title(),
        secret=seal.seal(secret, name=name, key_id=key_id, nonce=bytes(12)),
    )


class Room:
    """A gateway, and voters of which each may have applied another part of the log."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.counters = Counters()
        self.follower = Follower(1, VOTERS, random.Random(1), self.counters, users=UsersFollower())
        self.directory = UserDirectory(SEAL, self.counters)
        self.voters = [ControlState() for _ in VOTERS]

    def apply(self, message: Message, *voters: int) -> None:
        for number in voters or range(len(VOTERS)):
            assert decode_result(self.voters[number].apply(encode_command(message)))[0] == Code.OK

    def notice(self, voter: int) -> None:
        notice = cm.Notice(
            leader=VOTERS[0], age_ns=0, active=0, active_digest=bytes(32), prepared=0,
            prepared_digest=bytes(32), settings_version=0, floor=0, settings_floor=0, wall_ns=0,
            voter_epoch=0, users_version=self.voters[voter].users_version,
        )  # fmt: skip
        self.follower.receive(voter, notice, NO_OPERATION, self.now_ns)

    def asks(self) -> list[Ask]:
        return [a for a in self.follower.take_asks() if isinstance(a.message, UsersGet)]

    def answer(self, ask: Ask) -> None:
        assert isinstance(ask.message, UsersGet)
        state = self.voters[ask.voter]
        data = users_after(state.users, state.users_version, ask.message.after)
        self.follower.receive(ask.voter, data, ask.operation_id, self.now_ns)

    def settle(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.follower.tick(self.now_ns)
            for ask in self.asks():
                self.answer(ask)
            for event in self.follower.take_events():
                if isinstance(event, AdoptUsers):
                    self.directory.adopt(event)
            self.now_ns += HURRY_NS


def test_directory__knows_nothing_before_a_voter_told_and_then_that_there_is_nobody() -> None:
    room = Room()
    assert not room.directory.known
    room.settle()
    assert room.directory.known and room.directory.find("KEYann") is None


def test_directory__follows_each_change() -> None:
    room = Room()
    room.settle()
    before = room.directory.snapshot
    room.apply(create("ann"))
    room.notice(0)
    room.settle(1)
    ann = room.directory.find("KEYann")
    assert ann is not None and ann.active and ann.secret == "a-secret"
    assert "a-secret" not in repr(room.directory.snapshot)
    again = create("ann", "b-secret")
    room.apply(UserRotate(name="ann", seen=1, secret=again.secret))
    room.notice(0)
    room.settle(1)
    rotated = room.directory.find("KEYann")
    assert rotated is not None and rotated.secret == "b-secret"
    room.apply(UserStateSet(name="ann", state=UserState.DISABLED))
    room.notice(0)
    room.settle(1)
    disabled = room.directory.find("KEYann")
    assert disabled is not None and not disabled.active
    assert ann.active and ann.secret == "a-secret" and not before.by_key_id  # never changed
    assert room.counters.get("users_version") == 3 and room.counters.get("users") == 1


def test_directory__who_shares_a_canonical_id_is_shown_as_the_first() -> None:
    room = Room()
    room.apply(create("ann"))
    room.apply(create("bob"))
    room.settle()
    room.apply(UserStateSet(name="bob", state=UserState.DISABLED))
    room.notice(0)
    room.settle()
    owner = room.directory.owner("shared")
    assert owner is not None and owner.display_name == "Ann"
    assert room.directory.owner("nobody") is None


def test_directory__a_secret_that_does_not_open_shuts_out_that_user_only() -> None:
    room = Room()
    room.apply(create("eve", seal=OTHER))
    room.apply(create("ann"))
    room.settle()
    eve, ann = room.directory.find("KEYeve"), room.directory.find("KEYann")
    assert eve is not None and not eve.active and eve.secret == ""
    assert ann is not None and ann.active
    assert room.counters.get("users_unreadable") == 1


def test_follower__takes_many_in_pieces() -> None:
    room = Room()
    for number in range(2 * USERS_PER_DATA_MAX + 5):
        room.apply(create(f"u{number}"))
    room.follower.tick(0)
    (first,) = room.asks()
    room.answer(first)
    (event,) = room.follower.take_events()
    assert isinstance(event, AdoptUsers) and not event.whole
    room.directory.adopt(event)
    assert not room.directory.known
    (second,) = room.asks()  # at once
    room.answer(second)
    room.settle(2)
    assert room.directory.known
    assert len(room.directory.snapshot.by_key_id) == 2 * USERS_PER_DATA_MAX + 5


def test_follower__asks_another_voter_when_one_lags() -> None:
    room = Room()
    room.settle()
    room.apply(create("ann"), 2)
    room.notice(2)
    (first,) = room.asks()
    assert first.voter == 2  # who told of it; it does not answer
    room.now_ns += SETTINGS_NS
    asked = []
    for _ in range(4):
        room.follower.tick(room.now_ns)
        for ask in room.asks():
            asked.append(ask.voter)
            room.answer(ask)
        room.now_ns += HURRY_NS
    assert asked == [0, 1, 2]
    assert room.follower.users is not None and not room.follower.users.behind


def test_follower__a_lost_answer_costs_a_pause_and_a_lost_notice_one_watch() -> None:
    room = Room()
    room.settle()
    room.apply(create("ann"))
    room.notice(1)
    (lost,) = room.asks()
    room.now_ns += SETTINGS_NS
    room.follower.tick(room.now_ns)
    (again,) = room.asks()
    assert again.voter != lost.voter
    room.answer(again)
    room.answer(lost)  # late: harmless
    room.settle(1)
    assert room.directory.find("KEYann") is not None
    assert room.follower.deadline_ns() <= room.now_ns + WATCH_NS


def current(room: Room) -> list[Ask]:
    return [a for a in room.asks() if isinstance(a.message, UsersGet) and a.message.current]


def wish(room: Room) -> None:
    users = room.follower.users
    assert users is not None
    room.follower.hurry_current(users, room.now_ns)


def fulfilled_ns(room: Room) -> int | None:
    users = room.follower.users
    assert users is not None
    return users.current_ns


def test_current_users__the_raft_leader_is_asked_and_believed_at_once() -> None:
    room = Room()
    room.notice(0)
    room.settle()
    room.apply(create("ann"))  # nobody has told
    asked_ns = room.now_ns
    wish(room)
    (ask,) = current(room)
    assert ask.voter == 0
    room.now_ns += MS
    room.answer(ask)
    assert fulfilled_ns(room) == asked_ns
    (event,) = room.follower.take_events()
    assert isinstance(event, AdoptUsers)
    room.directory.adopt(event)
    assert room.directory.find("KEYann") is not None


def test_current_users__what_any_voter_says_is_no_answer() -> None:
    room = Room()
    room.follower.tick(0)
    (anyone,) = room.asks()
    wish(room)
    assert len(current(room)) == 1
    room.answer(anyone)
    assert fulfilled_ns(room) is None


def test_current_users__all_pieces_are_one_answer() -> None:
    room = Room()
    room.settle()
    for number in range(USERS_PER_DATA_MAX + 1):
        room.apply(create(f"u{number}"))
    wish(room)
    (first,) = current(room)
    room.answer(first)
    assert fulfilled_ns(room) is None
    (second,) = current(room)  # at once
    room.answer(second)
    assert fulfilled_ns(room) == room.now_ns


def test_current_users__any_number_of_wishes_costs_the_voters_four_questions_a_second() -> None:
    room = Room()
    room.settle()
    began_ns, asked = room.now_ns, 0
    while room.now_ns - began_ns < SECOND:
        wish(room)
        for ask in current(room):
            asked += 1
            room.answer(ask)
        room.follower.tick(room.now_ns)
        room.now_ns += 5 * MS
    assert asked == SECOND // CURRENT_PAUSE_NS == 4
    assert not current(room)
    room.now_ns += CURRENT_PAUSE_NS
    assert room.follower.deadline_ns() <= room.now_ns
    room.follower.tick(room.now_ns)
    (last,) = current(room)  # of the last wish
    room.answer(last)
    users = room.follower.users
    assert users is not None and not users.wants_current


def test_current_users__a_voter_that_does_not_lead_names_who_does() -> None:
    room = Room()
    room.notice(0)
    room.settle()
    wish(room)
    (first,) = current(room)
    redirect = cm.Redirect(leader=VOTERS[2])
    room.follower.receive(first.voter, redirect, first.operation_id, room.now_ns)
    (second,) = current(room)
    assert (first.voter, second.voter) == (0, 2)


def test_follower__what_nobody_asked_for_is_dropped() -> None:
    room = Room()
    room.settle()
    room.apply(create("ann"), 0)
    state = room.voters[0]
    data = users_after(state.users, state.users_version, 0)
    room.follower.receive(0, data, b"x" * 16, room.now_ns)
    target = Follower(1, VOTERS, random.Random(1), Counters())  # follows no users
    target.receive(0, data, b"x" * 16, room.now_ns)
    assert room.follower.take_events() == target.take_events() == []


@pytest.mark.parametrize("seed", range(20))
def test_directory__ends_like_the_state_whatever_was_lost_or_lagged(seed: int) -> None:
    rng = random.Random(seed)
    room, names = Room(), [f"u{n}" for n in range(6)]
    log: list[Message] = []
    behind = [0] * len(VOTERS)
    for _ in range(200):
        name = rng.choice(names)
        known = room.voters[0].users.get(name)
        if known is None:
            log.append(create(name, rng.choice(["a-secret", "b-secret"])))
        elif rng.random() < 0.5:
            state = rng.choice([UserState.ACTIVE, UserState.DISABLED])
            log.append(UserStateSet(name=name, state=state))
        else:
            secret = create(name, rng.choice(["c-secret", "d-secret"])).secret
            log.append(UserRotate(name=name, seen=known.revision, secret=secret))
        for number in [0, *(n for n in (1, 2) if rng.random() < 0.3)]:
            while behind[number] < len(log):
                room.apply(log[behind[number]], number)
                behind[number] += 1
        if rng.random() < 0.5:
            room.notice(rng.randrange(len(VOTERS)))
        room.follower.tick(room.now_ns)
        for ask in room.asks():
            if rng.random() < 0.7:
                room.answer(ask)
        room.settle(rng.randrange(2))
        room.now_ns += rng.randrange(SETTINGS_NS)
    for number in (1, 2):
        for message in log[behind[number] :]:
            room.apply(message, number)
    room.now_ns += SETTINGS_NS
    room.notice(1)
    room.settle(60)
    users = room.voters[0].users
    assert {u.key_id: u.active for u in room.directory.snapshot.by_key_id.values()} == {
        u.key_id: u.state == UserState.ACTIVE for u in users.values()
    }
    for user in room.directory.snapshot.by_key_id.values():
        sealed = users[user.name].secret
        assert SEAL.open(sealed, name=user.name, key_id=user.key_id) == user.secret


def test_answered__a_piece_of_an_earlier_version_changes_nothing() -> None:
    follower = UsersFollower()
    state = ControlState()
    state.apply(encode_command(create("ann")))
    follower.anyone.asked(b"1", 0, 0)
    assert follower.answered(users_after(state.users, 1, 0), b"1") is not None
    follower.anyone.asked(b"2", 0, 0)
    assert follower.answered(UsersData(version=0, more=False, users=()), b"2") is None
    assert follower.version == 1
