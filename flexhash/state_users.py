"""Commands about users of the S3 gateways, applied to the replicated state (state.py).

Invariants: names and key ids are unique; `users` is in the order of the last changes, whose
numbers (users_version) are used once. So "who changed since" is the end of it, and who has
heard all changes up to one number needs only those behind it. Users are never removed: their
buckets still belong to them.
Limit: USERS_MAX, FULL beyond.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicast.errors import InvalidRequest
from replicast.flexhash.commands import Code, UserState
from replicast.user_rules import check_user
from replicast.wire.user_messages import (
    USERS_PER_DATA_MAX,
    SealedSecret,
    UserCreate,
    UserInfo,
    UserRotate,
    UsersData,
    UserStateSet,
)

if TYPE_CHECKING:
    from replicast.flexhash.state import ControlState

Result = tuple[Code, int]
USERS_MAX = 10_000
TAG_BYTES = 16


def user_create(state: ControlState, m: UserCreate) -> Result:
    """Make one, active; the value is its revision (of EXISTS: that of who has the name or key id)."""
    try:
        check_user(m.name, m.key_id, m.canonical_id, m.display_name)
    except InvalidRequest:
        return Code.BAD_COMMAND, 0
    if not _sealed(m.secret):
        return Code.BAD_COMMAND, 0
    known = state.users.get(m.name) or state.users.get(state.user_of_key.get(m.key_id, ""))
    if known is not None:
        return Code.EXISTS, known.revision
    if len(state.users) >= USERS_MAX:
        return Code.FULL, 0
    user = UserInfo(
        name=m.name,
        key_id=m.key_id,
        canonical_id=m.canonical_id,
        display_name=m.display_name,
        secret=m.secret,
        state=UserState.ACTIVE,
        revision=0,
    )
    state.user_of_key[m.key_id] = m.name
    return _changed(state, user)


def user_state_set(state: ControlState, m: UserStateSet) -> Result:
    """Let it in, or shut it out; the value is its revision."""
    known = state.users.get(m.name)
    if m.state not in list(UserState):
        return Code.BAD_COMMAND, 0
    if known is None:
        return Code.NO_SUCH, 0
    if known.state == m.state:
        return Code.OK, known.revision
    return _changed(state, replace(known, state=m.state))


def user_rotate(state: ControlState, m: UserRotate) -> Result:
    """Another secret; the value is the user's revision."""
    known = state.users.get(m.name)
    if not _sealed(m.secret):
        return Code.BAD_COMMAND, 0
    if known is None:
        return Code.NO_SUCH, 0
    if known.revision != m.seen:
        return Code.CONFLICT, known.revision
    return _changed(state, replace(known, secret=m.secret))


def _sealed(secret: SealedSecret) -> bool:
    return len(secret.data) > TAG_BYTES


def _changed(state: ControlState, user: UserInfo) -> Result:
    """Put it last, under the next number."""
    state.users_version += 1
    state.users.pop(user.name, None)
    state.users[user.name] = replace(user, revision=state.users_version)
    return Code.OK, state.users_version


def users_after(users: dict[str, UserInfo], version: int, after: int) -> UsersData:
    """The changes after `after`, oldest first, as far as one message holds them."""
    newer: list[UserInfo] = []
    for user in reversed(users.values()):
        if user.revision <= after:
            break
        newer.append(user)
    newer.reverse()
    more = len(newer) > USERS_PER_DATA_MAX
    told = tuple(newer[:USERS_PER_DATA_MAX])
    return UsersData(version=told[-1].revision if more else version, more=more, users=told)
