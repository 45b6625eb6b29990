"""What `replicast user` does, as an administrator: users of the S3 gateways made, changed, listed.

    admin = UserAdmin(plane, seal)
    await admin.create(NewUser(...)); await admin.users(); await admin.rotate(name, secret)

Secrets are sealed here, before anything is sent (replicast.sealing).
"""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicast.cli.control import ControlPlane
from replicast.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    ReplicastError,
    Unauthorized,
    Unavailable,
)
from replicast.flexhash.commands import Code, UserState
from replicast.sealing import SealError, SecretSeal
from replicast.user_rules import check_secret, check_user
from replicast.wire.control_messages import ControlRefused, Redirect
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.user_messages import (
    NONCE_BYTES,
    SealedSecret,
    UserCreate,
    UserInfo,
    UserRotate,
    UsersData,
    UsersGet,
    UserStateSet,
)

KEY_ID_CHARACTERS = string.ascii_uppercase + string.digits
SECRET_CHARACTERS = string.ascii_letters + string.digits  # no / and +: some clients mangle them
KEY_ID_LENGTH, SECRET_LENGTH = 20, 40
CANONICAL_ID_BYTES = 32
LEADER_SECONDS = 30.0
ANSWER_SECONDS = 6.0  # a voter says after five that there is no quorum
PAUSE_SECONDS = 0.2
FILE_KEYS = {"name", "key_id", "secret", "canonical_id", "display_name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """One to be made. An empty canonical id or display name is chosen when it is made."""

    name: str
    key_id: str
    secret: str = field(repr=False)
    canonical_id: str = ""
    display_name: str = ""


def make_key_id() -> str:
    """20 upper-case letters and digits."""
    return "".join(secrets.choice(KEY_ID_CHARACTERS) for _ in range(KEY_ID_LENGTH))


def make_secret() -> str:
    """40 letters and digits: 238 random bits."""
    return "".join(secrets.choice(SECRET_CHARACTERS) for _ in range(SECRET_LENGTH))


class UserAdmin:
    """Over an open control plane."""

    def __init__(self, plane: ControlPlane, seal: SecretSeal) -> None:
        self._plane, self._seal = plane, seal

    async def users(self) -> list[UserInfo]:
        """All users as they are now, by name; raises Unavailable without a quorum."""
        users: dict[str, UserInfo] = {}
        after, more = 0, True
        while more:
            data = await self._ask_leader(UsersGet(after=after, current=True))
            users.update({user.name: user for user in data.users})
            after, more = data.version, data.more
        return [users[name] for name in sorted(users)]

    async def find(self, name: str) -> UserInfo:
        """One of them; raises NotFound."""
        for user in await self.users():
            if user.name == name:
                return user
        raise _no_such(name)

    async def create(self, new: NewUser) -> UserCreate:
        """Make it; returns what was made. Raises Conflict when the name or key id is taken."""
        canonical_id = new.canonical_id or secrets.token_hex(CANONICAL_ID_BYTES)
        display_name = new.display_name or new.name
        check_user(new.name, new.key_id, canonical_id, display_name)
        command = UserCreate(
            name=new.name,
            key_id=new.key_id,
            canonical_id=canonical_id,
            display_name=display_name,
            secret=self._sealed(new.secret, new.name, new.key_id),
        )
        await self._run(command, new.name)
        return command

    async def rotate(self, name: str, secret: str) -> UserInfo:
        """Give it this secret; the old one is refused from then on."""
        user = await self.find(name)
        sealed = self._sealed(secret, name, user.key_id)
        await self._run(UserRotate(name=name, seen=user.revision, secret=sealed), name)
        return user

    async def set_state(self, name: str, state: UserState) -> None:
        """Let it in, or shut it out."""
        await self._run(UserStateSet(name=name, state=state), name)

    async def load(self, wanted: Sequence[NewUser]) -> list[str]:
        """Make those that are not there; returns their names. Nothing is made when one is there
        and differs: a file that was edited must not change a secret by the way."""
        there = {user.name: user for user in await self.users()}
        differing = [u.name for u in wanted if u.name in there and not self._same(u, there[u.name])]
        if differing:
            raise Conflict(
                f"there already, but not as the file says: {', '.join(differing)}; nothing was made",
                reason="USER_DIFFERS",
            )
        new = [user for user in wanted if user.name not in there]
        for user in new:
            await self.create(user)
        return [user.name for user in new]

    def _same(self, new: NewUser, known: UserInfo) -> bool:
        """Whether the file would have made it so; what it does not say may be anything."""
        try:
            secret = self._seal.open(known.secret, name=known.name, key_id=known.key_id)
        except SealError:
            return False
        return (
            new.key_id == known.key_id
            and secrets.compare_digest(new.secret.encode(), secret.encode())
            and new.canonical_id in ("", known.canonical_id)
            and new.display_name in ("", known.display_name)
        )

    def _sealed(self, secret: str, name: str, key_id: str) -> SealedSecret:
        check_secret(secret)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._seal.seal(secret, name=name, key_id=key_id, nonce=nonce)

    async def _run(self, command: Message, name: str) -> None:
        try:
            result = await self._plane.client.command(command)
        except Unavailable as error:
            raise Unavailable(
                f"{error}: it may have been done, or be done yet; look with `replicast user list`",
                uncertain=True,
            ) from None
        refused = refusal(result.code, name)
        if refused is not None:
            raise refused

    async def _ask_leader(self, message: UsersGet) -> UsersData:
        """Ask round until the Raft leader has answered; raises Unauthorized, Unavailable."""
        client, end = self._plane.client, time.monotonic() + LEADER_SECONDS
        turn = 0
        voter = client.core.voters[0]
        while time.monotonic() < end:
            answer = await client.channels.request(
                voter, message, client.core.generation, ANSWER_SECONDS
            )
            if isinstance(answer, UsersData):
                return answer
            if isinstance(answer, ControlRefused) and answer.reason == Reason.UNAUTHORIZED:
                raise Unauthorized("this key is not an administrator's")
            voters = client.core.voters
            if isinstance(answer, Redirect) and answer.leader in voters:
                voter = answer.leader
                continue
            turn += 1
            voter = voters[turn % len(voters)]
            await asyncio.sleep(PAUSE_SECONDS)
        raise Unavailable("no majority of the voters answers: see `replicast raft status`")


def refusal(code: int, name: str) -> ReplicastError | None:
    """What the outcome of a command means."""
    word = Code(code).name
    match code:
        case Code.OK:
            return None
        case Code.EXISTS:
            return Conflict(
                f"user {name} exists already, or its key id is another user's", reason="USER_EXISTS"
            )
        case Code.NO_SUCH:
            return _no_such(name)
        case Code.CONFLICT:
            return Conflict(f"user {name} was changed meanwhile: look again", reason=word)
        case Code.FULL:
            return Unavailable("the cluster has as many users as it can hold", reason=word)
        case Code.FORBIDDEN:
            return Unauthorized("this key is not an administrator's", reason=word)
    return InvalidRequest(f"the voters refuse this user: {word}", reason=word)


def _no_such(name: str) -> NotFound:
    return NotFound(f"there is no user {name}", reason="NO_SUCH_USER")


def users_in(values: Mapping[str, Any], where: str) -> list[NewUser]:
    """The users in a file; raises InvalidRequest that names the entry and never the secret."""
    entries = values.get("users")
    if set(values) != {"users"} or not isinstance(entries, list):
        raise InvalidRequest(f"{where}: needs [[users]], and nothing else")
    users = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
            raise InvalidRequest(f"{where}: user {number}: all values are texts")
        unknown, missing = set(entry) - FILE_KEYS, {"name", "key_id", "secret"} - set(entry)
        if unknown or missing:
            what = f"unknown: {', '.join(sorted(unknown))}" if unknown else ""
            what = what or f"missing: {', '.join(sorted(missing))}"
            raise InvalidRequest(f"{where}: user {number}: {what}")
        user = NewUser(**entry)
        try:
            check_user(user.name, user.key_id, user.canonical_id or "c", user.display_name or "d")
            check_secret(user.secret)
        except InvalidRequest as error:
            raise InvalidRequest(f"{where}: user {number}: {error}", reason=error.reason) from None
        users.append(user)
    for what in ("name", "key_id"):
        if len({getattr(user, what) for user in users}) != len(users):
            raise InvalidRequest(f"{where}: two users with one {what}")
    return users
