"""Users of the S3 gateways under faults: no acknowledged change is lost, all directories converge.

An administrator changes users while voters crash, elect, pause and are cut off; it and two
gateways follow, and ask at times for all that was acknowledged by then. Replay one: SIM_SEED=n pytest tests/sim/test_users.py
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from typing import Any

import pytest

from replicast.flexhash import server
from replicast.flexhash.commands import Code, Role, UserState
from replicast.flexhash.follow import Follower
from replicast.flexhash.follow_events import AdoptSettings, AdoptTable, AdoptUsers, CommandDone
from replicast.flexhash.follow_users import UsersFollower
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.state import HANDLERS, ControlState
from replicast.flexhash.state_users import users_after
from replicast.metrics import Counters
from replicast.sim.control import VOTERS, Node, RaftWorld, World
from replicast.units import SECOND
from replicast.wire.schema import Message
from replicast.wire.user_messages import (
    SealedSecret,
    UserCreate,
    UserInfo,
    UserRotate,
    UsersData,
    UserStateSet,
)

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(3))
ADMIN, GATEWAYS = 9, (10, 11)
NAMES = ("ann", "bob", "cy")
COMMAND_NS = 8 * SECOND
WISHES = 0.02  # of the steps of a gateway


class Gateway(Node):
    """Follows the users, as a process without VDEVs and votes does."""

    role = Role.GATEWAY

    def start(self) -> None:
        self.boot += 1
        self.holder = LeaseHolder(self.boot)  # never asks for a lease
        self.giving_up = None
        self.outcomes = {}
        self.users: dict[str, UserInfo] = {}
        self.wish: tuple[int, int] | None = None  # since when, and the last acknowledged revision
        self.wishes = 0  # that were fulfilled
        rng = random.Random(self.world.rng.getrandbits(64))
        self.follower = Follower(self.node, VOTERS, rng, Counters(), users=UsersFollower())

    def step_target(self) -> None:
        self.follower.tick(self.now_ns())
        for event in self.follower.take_events():
            if isinstance(event, AdoptTable):
                self.adopt(event.table)
            elif isinstance(event, AdoptSettings):
                self.follower.settings_adopted(event.version)
            elif isinstance(event, CommandDone):
                self.outcomes[event.token] = (event.code, event.value)
            elif isinstance(event, AdoptUsers):
                self.took(event)
        self.check_whole()
        self.check_current()
        self.submit()
        for ask in self.follower.take_asks():
            to = VOTERS[ask.voter]
            self.world.send(self.node, to, ask.message, ask.operation_id, to_voter=True)

    def took(self, event: AdoptUsers) -> None:
        for user in event.users:
            known = self.users.get(user.name)
            assert known is None or known.revision < user.revision, "a user went back"
            self.users[user.name] = user

    def check_whole(self) -> None:
        """All changes up to the version that it tells of itself are known to it."""
        follower = self.follower.users
        assert follower is not None
        for voter in VOTERS:
            for user in self.world.nodes[voter].state.users.values():
                if user.revision <= follower.version:
                    known = self.users.get(user.name)
                    assert known and known.revision >= user.revision, "a change was passed over"

    def check_current(self) -> None:
        """Once the Raft leader has answered, all is known that was acknowledged before it was asked."""
        follower = self.follower.users
        assert follower is not None
        if self.wish is None:
            if self.world.rng.random() < WISHES:
                self.wish = (self.now_ns(), acknowledged(self.world))
                self.follower.hurry_current(follower, self.now_ns())
            return
        since_ns, revision = self.wish
        if follower.current_ns is not None and follower.current_ns >= since_ns:
            assert follower.version >= revision, "an acknowledged change is not known"
            self.wish, self.wishes = None, self.wishes + 1

    def submit(self) -> None:
        """An administrator's part."""


def acknowledged(world: World) -> int:
    """The highest revision that the administrator knows of."""
    admin = world.nodes[ADMIN]
    assert isinstance(admin, Admin)
    return max((change.revision for change in admin.changes), default=0)


@dataclass
class Change:
    """One command and its outcome; `code` None: not known."""

    message: Any
    code: Code | None = None
    revision: int = 0


class Admin(Gateway):
    """Changes users, one command after the other, as far as it knows how they stand."""

    role = Role.ADMIN

    def start(self) -> None:
        super().start()
        self.busy = True
        self.token: int | None = None
        self.changes: list[Change] = []
        self.revisions: dict[str, int] = {}

    def submit(self) -> None:
        if self.token is not None and self.token in self.outcomes:
            code, value = self.outcomes.pop(self.token)
            self.token, last = None, self.changes[-1]
            last.code, last.revision = code, value
            if code in (Code.OK, Code.CONFLICT, Code.EXISTS):
                self.revisions[last.message.name] = value
        if self.token is None and self.busy and self.follower.settings.heard:
            message = self.next()
            self.token = self.follower.submit(message, self.now_ns() + COMMAND_NS)
            self.changes.append(Change(message))

    def next(self) -> Message:
        rng, name = self.world.rng, self.world.rng.choice(NAMES)
        secret = SealedSecret(key_epoch=1, nonce=bytes(12), data=rng.randbytes(40))
        seen = self.revisions.get(name)
        if seen is None:
            return UserCreate(
                name=name, key_id=f"KEY{name}", canonical_id="c", display_name=name, secret=secret
            )
        if rng.random() < 0.5:
            return UserRotate(name=name, seen=seen, secret=secret)
        return UserStateSet(name=name, state=rng.choice(list(UserState)))


def add_people(world: World) -> Admin:
    admin = Admin(world, ADMIN)
    for node in (admin, *(Gateway(world, number) for number in GATEWAYS)):
        world.nodes[node.node] = node
        world.repeat(node)
    return admin


def has(user: UserInfo, message: Any) -> bool:
    """Is this what the command makes of a user?"""
    if isinstance(message, UserStateSet):
        return user.state == message.state
    return user.secret == message.secret


def check(world: World, admin: Admin) -> int:
    """Nothing acknowledged is lost, and everybody knows the same; the number of changes."""
    states = [world.nodes[voter].state for voter in VOTERS]
    users = states[0].users
    for state in states:
        same = (state.users, state.users_version) == (users, states[0].users_version)
        assert same, "a voter has lost users"
    for name in NAMES:
        mine = [c for c in admin.changes if c.message.name == name]
        done = [c for c in mine if c.code == Code.OK]
        if not done:
            continue
        assert name in users, "an acknowledged user is lost"
        later = mine[mine.index(done[-1]) + 1 :]
        maybe = [c for c in later if c.code is None]
        user = users[name]
        assert user.revision >= done[-1].revision, "an acknowledged change is lost"
        if user.revision == done[-1].revision:
            assert has(user, done[-1].message)
        else:
            assert any(has(user, c.message) for c in maybe), "nobody asked for that"
        revisions = [c.revision for c in done]
        assert revisions == sorted(revisions)
    for number in (ADMIN, *GATEWAYS):
        node = world.nodes[number]
        assert isinstance(node, Gateway)
        assert node.users == users, "a directory has not converged"
        assert node.wishes > 3
    return len([c for c in admin.changes if c.code == Code.OK])


def torture(world: World, faults: int) -> int:
    admin = add_people(world)
    world.run(5, check=False)
    for _ in range(faults):
        world.fault()
        world.run(world.rng.uniform(0.2, 4.0), check=False)
    world.calm()
    world.run(10, check=False)
    admin.busy = False
    world.run(12, check=False)
    return check(world, admin)


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_changes_are_kept_and_told__real_raft(seed: int) -> None:
    """With crashes of voters, whose journals are cut behind snapshots of the users."""
    print(f"replay: SIM_SEED={seed}")
    assert torture(RaftWorld(seed), 6) > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_changes_are_kept_and_told(seed: int) -> None:
    print(f"replay: SIM_SEED={seed}")
    assert torture(World(seed), 10) > 20


def test_power_loss_of_all_voters__users_come_back(seed: int = 1) -> None:
    world = RaftWorld(seed)
    admin = add_people(world)
    world.run(8, check=False)
    for voter in VOTERS:
        world.crash(world.nodes[voter])
    world.run(10, check=False)
    admin.busy = False
    world.run(12, check=False)
    assert check(world, admin) > 20


def forgets(self: ControlState, data: bytes, restore: Any = ControlState.restore) -> None:
    restore(self, data)
    self.users, self.user_of_key = {}, {}


def tells_one(users: dict[str, UserInfo], version: int, after: int) -> UsersData:
    """Cuts a message short, and does not say so."""
    data = users_after(users, version, after)
    return replace(data, users=data.users[:1])


def rotates_blindly(state: ControlState, m: UserRotate) -> tuple[Code, int]:
    known = state.users.get(m.name)
    if known is None:
        return Code.NO_SUCH, 0
    state.users[m.name] = replace(known, secret=m.secret)  # under no number of its own
    return Code.OK, known.revision


@pytest.mark.parametrize(
    ("where", "what", "bug"),
    [(ControlState, "restore", forgets), (server, "users_after", tells_one)],
)
def test_canary(monkeypatch: pytest.MonkeyPatch, where: Any, what: str, bug: Any) -> None:
    """A planted bug must be seen, by one of the first seeds."""
    monkeypatch.setattr(where, what, bug)
    with pytest.raises(AssertionError, match=r"lost|converged|passed over|went back"):
        for seed in range(4):
            torture(RaftWorld(seed), 6)


def test_canary__a_change_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HANDLERS, UserRotate, rotates_blindly)
    with pytest.raises(AssertionError, match=r"converged|nobody asked|lost"):
        for seed in range(8):
            torture(World(seed), 6)


def believes_itself(self: UsersFollower, now_ns: int) -> None:
    self.current_ns = now_ns


def test_canary__what_is_known_is_taken_for_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsersFollower, "want_current", believes_itself)
    with pytest.raises(AssertionError, match="acknowledged change is not known"):
        for seed in range(8):
            torture(World(seed), 10)
