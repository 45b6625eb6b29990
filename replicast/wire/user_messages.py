"""Users of the S3 gateways: their records, the commands, and how a gateway learns of them.

administrator                         voter
  | -- USER_CREATE, USER_STATE_SET, USER_ROTATE (in COMMAND_SUBMIT)
gateway, administrator                voter
  | <- NOTICE with users_version ------ |
  | -- USERS_GET after ---------------> |   USERS_DATA: who changed since, again while `more`

A secret travels and is kept sealed (replicast.sealing); no voter opens it.
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import U8, U64, Flag, Kind, Message, Struct, message, struct

NONCE_BYTES = 12
SEALED_BYTES_MAX = 160
USERS_PER_DATA_MAX = 256

UserName = Annotated[str, Kind("text", 63)]
KeyId = Annotated[str, Kind("text", 128)]
CanonicalId = Annotated[str, Kind("text", 128)]
DisplayName = Annotated[str, Kind("text", 255)]


@struct
class SealedSecret(Struct):
    """AES-256-GCM under a key of cluster key `key_epoch`; `data` ends with the tag."""

    key_epoch: U8
    nonce: Annotated[bytes, Kind("fixed", NONCE_BYTES)]
    data: Annotated[bytes, Kind("bytes", SEALED_BYTES_MAX)]


@struct
class UserInfo(Struct):
    """One user; `state` is a UserState, `revision` the users version of its last change."""

    name: UserName
    key_id: KeyId
    canonical_id: CanonicalId
    display_name: DisplayName
    secret: SealedSecret
    state: U8
    revision: U64


@message(115)
class UserCreate(Message):
    """A command: make a user, active. Its name and its key id must be new."""

    name: UserName
    key_id: KeyId
    canonical_id: CanonicalId
    display_name: DisplayName
    secret: SealedSecret


@message(116)
class UserStateSet(Message):
    """A command: `state` is a UserState."""

    name: UserName
    state: U8


@message(117)
class UserRotate(Message):
    """A command: another secret in the place of the one at revision `seen`; void (CONFLICT) when
    the user has changed since."""

    name: UserName
    seen: U64
    secret: SealedSecret


@message(118)
class UsersGet(Message):
    """Asks for the users that changed after users version `after`; with `current` only the Raft
    leader answers, after a no-op that it proposed since is committed. Not for targets."""

    after: U64
    current: Flag


@message(119)
class UsersData(Message):
    """Users in the order of their last change: all that changed up to `version`, and after what
    was asked for. With `more` there are later ones."""

    version: U64
    more: Flag
    users: Annotated[tuple[UserInfo, ...], Kind("list", USERS_PER_DATA_MAX, UserInfo)]
