"""replicast/cli/users.py, user_command.py: users made and changed by an administrator."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from replicast.cli.main import main
from replicast.cli.users import (
    KEY_ID_LENGTH,
    SECRET_LENGTH,
    NewUser,
    UserAdmin,
    make_key_id,
    make_secret,
    refusal,
    users_in,
)
from replicast.errors import Conflict, InvalidRequest, NotFound, Unauthorized, Unavailable
from replicast.flexhash.commands import Code, UserState, decode_result, encode_command
from replicast.flexhash.state import ControlState
from replicast.flexhash.state_users import users_after
from replicast.keys import ClusterKeys
from replicast.sealing import SecretSeal
from replicast.user_rules import KEY_ID, SECRET
from replicast.wire import control_messages as cm
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.user_messages import USERS_PER_DATA_MAX, UsersGet

SEAL = SecretSeal(bytes(16), ClusterKeys(1, {1: b"k" * 32}))


class Voters:
    """Three of them, of which the second leads; what a TableClient is to UserAdmin."""

    def __init__(self) -> None:
        self.state = ControlState()
        self.core = SimpleNamespace(voters=(11, 12, 13), generation=1)
        self.channels = self
        self.asked: list[int] = []
        self.refuses: cm.ControlRefused | None = None
        self.silent = False

    async def command(self, message: Message) -> cm.CommandResult:
        if self.silent:
            raise Unavailable("no voter confirmed it in time")
        code, value = decode_result(self.state.apply(encode_command(message)))
        return cm.CommandResult(code=code, value=value)

    async def request(
        self, voter: int, message: Message, generation: int, timeout_seconds: float
    ) -> Message | None:
        self.asked.append(voter)
        assert isinstance(message, UsersGet) and message.current
        if self.refuses is not None:
            return self.refuses
        if voter == 11:
            return cm.Redirect(leader=12)
        return users_after(self.state.users, self.state.users_version, message.after)


def admin() -> tuple[UserAdmin, Voters]:
    voters = Voters()
    plane: Any = SimpleNamespace(client=voters)
    return UserAdmin(plane, SEAL), voters


def new(name: str, secret: str = "a-secret", **fields: str) -> NewUser:
    return NewUser(name=name, key_id=f"KEY{name}", secret=secret, **fields)


def secret_of(voters: Voters, name: str) -> str:
    user = voters.state.users[name]
    return SEAL.open(user.secret, name=name, key_id=user.key_id)


def test_made_keys__are_as_long_as_people_know_them_and_never_the_same() -> None:
    key_ids, made = {make_key_id() for _ in range(100)}, {make_secret() for _ in range(100)}
    assert len(key_ids) == len(made) == 100
    assert all(len(k) == KEY_ID_LENGTH == 20 and KEY_ID.fullmatch(k) for k in key_ids)
    assert all(k.upper() == k and k.isalnum() for k in key_ids)
    assert all(len(s) == SECRET_LENGTH == 40 and SECRET.fullmatch(s) for s in made)


def test_create__seals_and_fills_in_what_was_not_said() -> None:
    one, voters = admin()
    made = asyncio.run(one.create(new("ann")))
    assert secret_of(voters, "ann") == "a-secret"
    assert len(made.canonical_id) == 64 and made.display_name == "ann"
    asyncio.run(one.create(new("bob", canonical_id="c", display_name="Bob B.")))
    assert voters.state.users["bob"].canonical_id == "c"
    assert voters.state.users["ann"].secret.nonce != voters.state.users["bob"].secret.nonce


def test_create__what_is_taken_or_wrong_is_refused_before_or_by_the_voters() -> None:
    one, voters = admin()
    asyncio.run(one.create(new("ann")))
    with pytest.raises(Conflict):
        asyncio.run(one.create(new("ann")))
    for wrong in (new("a b"), new("bob", secret="short"), new("bob", canonical_id='"')):
        with pytest.raises(InvalidRequest) as caught:
            asyncio.run(one.create(wrong))
        assert "short" not in str(caught.value)
    assert list(voters.state.users) == ["ann"]
    voters.silent = True
    with pytest.raises(Unavailable, match="user list") as unknown:
        asyncio.run(one.create(new("cy")))
    assert unknown.value.uncertain


def test_users__come_from_the_leader_in_pieces_and_by_name() -> None:
    one, voters = admin()
    for number in reversed(range(USERS_PER_DATA_MAX + 2)):
        asyncio.run(one.create(new(f"u{number:04}")))
    users = asyncio.run(one.users())
    assert [u.name for u in users] == [f"u{n:04}" for n in range(USERS_PER_DATA_MAX + 2)]
    assert voters.asked == [11, 12, 11, 12]
    voters.refuses = cm.ControlRefused(reason=Reason.UNAUTHORIZED, detail="")
    with pytest.raises(Unauthorized):
        asyncio.run(one.users())


def test_rotate_and_state__of_one_user() -> None:
    one, voters = admin()
    asyncio.run(one.create(new("ann")))
    asyncio.run(one.rotate("ann", "b-secret"))
    asyncio.run(one.set_state("ann", UserState.DISABLED))
    assert secret_of(voters, "ann") == "b-secret"
    assert voters.state.users["ann"].state == UserState.DISABLED
    for wrong in (one.rotate("eve", "b-secret"), one.set_state("eve", UserState.ACTIVE)):
        with pytest.raises(NotFound):
            asyncio.run(wrong)


def test_load__twice_is_once_and_a_difference_stops_it() -> None:
    one, voters = admin()
    wanted = [new("ann", canonical_id="c"), new("bob", display_name="Bob")]
    assert asyncio.run(one.load(wanted)) == ["ann", "bob"]
    before = voters.state.snapshot()
    assert asyncio.run(one.load(wanted)) == []
    assert asyncio.run(one.load([new("ann")])) == []  # says less
    for other in (
        new("ann", secret="b-secret"),
        new("ann", canonical_id="d"),
        NewUser(name="ann", key_id="other", secret="a-secret"),
    ):
        with pytest.raises(Conflict, match="ann"):
            asyncio.run(one.load([new("cy"), other]))
    assert voters.state.snapshot() == before
    assert asyncio.run(one.load([*wanted, new("cy")])) == ["cy"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "needs"),
        ({"users": [], "more": 1}, "nothing else"),
        ({"users": [1]}, "user 1"),
        ({"users": [{"name": "ann"}]}, "missing: key_id, secret"),
        ({"users": [{"name": "a", "key_id": "KEY", "secret": "s" * 8, "x": ""}]}, "unknown: x"),
        ({"users": [{"name": "a", "key_id": "KEY", "secret": 8}]}, "texts"),
        ({"users": [{"name": "a", "key_id": "KEY", "secret": "hidden"}]}, "user 1: a secret"),
        ({"users": [{"name": "a", "key_id": "K", "secret": "hidden-it"}]}, "user 1: key id"),
        ({"users": [{"name": n, "key_id": "KEY", "secret": "s" * 8} for n in "ab"]}, "one key_id"),
        (
            {"users": [{"name": "a", "key_id": f"KEY{n}", "secret": "s" * 8} for n in "ab"]},
            "one name",
        ),
    ],
)
def test_users_in__says_what_is_wrong_and_no_secret(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        users_in(values, "users.toml")
    text = str(caught.value)
    assert text.startswith("users.toml: ") and said in text and "hidden" not in text


def test_refusal__every_code_has_a_meaning() -> None:
    assert refusal(Code.OK, "ann") is None
    assert all(refusal(code, "ann") is not None for code in Code if code != Code.OK)


def invoke(*arguments: str | Path, stdin: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(main, ["user", *map(str, arguments)], input=stdin)
    return done.exit_code, done.output


def test_command__files_with_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("a-secret\n")
    os.chmod(path, 0o644)
    for arguments in (("create", "ann", "--secret-file"), ("rotate", "ann", "--secret-file")):
        code, said = invoke(*arguments, path)
        assert code == 2 and "chmod 600" in said and "a-secret" not in said
    assert invoke("load", path) == (
        2,
        f"replicast: {path}: others may read this secret; run: chmod 600 {path}\n",
    )
    code, said = invoke("create", "ann", "--secret-file", path, "--secret-stdin", stdin="a-secret")
    assert code == 2 and "not both" in said
    code, said = invoke("load", "-", stdin="users = [")
    assert code == 2 and said == "replicast: standard input: not valid TOML\n"
    assert invoke("create", "ann", "--secret-file", tmp_path / "none")[0] == 1
