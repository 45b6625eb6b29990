"""flexhash/state_users.py: users in the replicated state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash import state_users
from replicast.flexhash.commands import Code, UserState, decode_result, encode_command
from replicast.flexhash.state import ControlState
from replicast.flexhash.state_users import users_after
from replicast.wire.schema import Message
from replicast.wire.user_messages import (
    USERS_PER_DATA_MAX,
    SealedSecret,
    UserCreate,
    UserRotate,
    UserStateSet,
)


def sealed(fill: int = 1) -> SealedSecret:
    return SealedSecret(key_epoch=1, nonce=bytes(12), data=bytes([fill]) * 56)


def create(name: str, **fields: Any) -> UserCreate:
    command = UserCreate(
        name=name,
        key_id=f"KEY{name}",
        canonical_id="c0",
        display_name=name,
        secret=sealed(),
    )
    return replace(command, **fields)


def run(
    state: ControlState, message: Message, client: int = 0, sequence: int = 0
) -> tuple[Code, int]:
    return decode_result(state.apply(encode_command(message, client, sequence)))


def test_create__names_and_key_ids_are_unique() -> None:
    state = ControlState()
    assert run(state, create("ann")) == (Code.OK, 1)
    assert run(state, create("ann", key_id="other")) == (Code.EXISTS, 1)
    assert run(state, create("bob", key_id="KEYann")) == (Code.EXISTS, 1)
    assert run(state, create("bob")) == (Code.OK, 2)  # of one owner with ann: the same canonical id
    assert list(state.users) == ["ann", "bob"] and state.users["ann"].state == UserState.ACTIVE


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a/b"},
        {"key_id": "ab"},
        {"key_id": "ab/cd"},
        {"canonical_id": ""},
        {"canonical_id": 'a"b'},
        {"display_name": ""},
        {"display_name": "a\nb"},
        {"display_name": "a\ufffeb"},
        {"secret": SealedSecret(key_epoch=1, nonce=bytes(12), data=bytes(16))},
    ],
)
def test_create__what_no_gateway_could_show_is_refused(fields: dict[str, Any]) -> None:
    state = ControlState()
    before = state.snapshot()
    assert run(state, replace(create("ann"), **fields))[0] == Code.BAD_COMMAND
    assert state.snapshot() == before


def test_create__at_most_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_users, "USERS_MAX", 2)
    state = ControlState()
    run(state, create("a"))
    run(state, create("b"))
    assert run(state, create("c")) == (Code.FULL, 0)
    assert run(state, create("b"))[0] == Code.EXISTS


def test_state_set__changes_once() -> None:
    state = ControlState()
    run(state, create("ann"))
    assert run(state, UserStateSet(name="ann", state=UserState.DISABLED)) == (Code.OK, 2)
    assert run(state, UserStateSet(name="ann", state=UserState.DISABLED)) == (Code.OK, 2)
    assert run(state, UserStateSet(name="ann", state=9))[0] == Code.BAD_COMMAND
    assert run(state, UserStateSet(name="eve", state=UserState.DISABLED))[0] == Code.NO_SUCH
    assert state.users["ann"].state == UserState.DISABLED


def test_rotate__only_what_the_sender_has_seen() -> None:
    state = ControlState()
    run(state, create("ann"))
    assert run(state, UserRotate(name="ann", seen=1, secret=sealed(2))) == (Code.OK, 2)
    assert run(state, UserRotate(name="ann", seen=1, secret=sealed(3))) == (Code.CONFLICT, 2)
    assert run(state, UserRotate(name="eve", seen=0, secret=sealed(3)))[0] == Code.NO_SUCH
    empty = SealedSecret(key_epoch=1, nonce=bytes(12), data=b"")
    assert run(state, UserRotate(name="ann", seen=2, secret=empty))[0] == Code.BAD_COMMAND
    assert state.users["ann"].secret == sealed(2)


def test_rotate__a_retry_takes_effect_once() -> None:
    state = ControlState()
    assert run(state, create("ann"), 7, 1) == (Code.OK, 1)
    assert run(state, create("ann"), 7, 1) == (Code.OK, 1)
    rotate = UserRotate(name="ann", seen=1, secret=sealed(2))
    assert run(state, rotate, 7, 2) == run(state, rotate, 7, 2) == (Code.OK, 2)
    assert run(state, create("ann"), 7, 1)[0] == Code.OLD_SEQUENCE


def test_snapshot__keeps_users_their_order_and_their_key_ids() -> None:
    state, restored = ControlState(), ControlState()
    for name in ("ann", "bob", "cy"):
        run(state, create(name))
    run(state, UserStateSet(name="ann", state=UserState.DISABLED))
    restored.restore(state.snapshot())
    assert list(restored.users) == ["bob", "cy", "ann"]
    assert restored.users == state.users and restored.users_version == 4
    assert run(restored, create("dan", key_id="KEYbob")) == (Code.EXISTS, 2)


def test_users_after__pages_go_on_where_the_last_one_ended() -> None:
    state, seen, after = ControlState(), list[str](), 0
    for number in range(2 * USERS_PER_DATA_MAX + 1):
        run(state, create(f"u{number}"))
    more = True
    while more:
        data = users_after(state.users, state.users_version, after)
        assert len(data.users) <= USERS_PER_DATA_MAX
        seen += [user.name for user in data.users]
        after, more = data.version, data.more
    assert seen == list(state.users) and after == state.users_version
    assert users_after(state.users, state.users_version, after).users == ()
