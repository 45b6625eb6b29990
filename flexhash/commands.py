"""What the Raft log carries: the envelope of a command, its result, and who may send which.

    u8 message type | u64 client | u64 sequence | body (replicast.wire.codec)

(client, sequence) makes a retry of an unknown outcome harmless: the state machine
keeps each client's last sequence and result. Client 0 is the steward, whose
commands are compare-and-set by themselves. A command that cannot be decoded
gets the result BAD_COMMAND on every replica alike; nothing raises.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketEncryptionSet,
    BucketVersioning,
)
from replicast.wire.codec import WireError, decode, encode
from replicast.wire.schema import Message
from replicast.wire.user_messages import UserCreate, UserRotate, UserStateSet
from replicast.wire.voter_messages import ReplaceVoters

ENVELOPE = struct.Struct("<BQQ")
RESULT = struct.Struct("<BQ")
STEWARD_CLIENT = 0


class Code(IntEnum):
    """Outcome of a command."""

    OK = 0
    BAD_COMMAND = 1  # cannot be decoded or is out of range
    OLD_SEQUENCE = 2  # an earlier command of this client, its result is no longer kept
    NOT_FORMED = 3  # the cluster is not initialised, or not all expected VDEVs are there
    EXISTS = 4  # already there
    NO_SUCH = 5  # names something unknown
    CONFLICT = 6  # the state has moved on since the sender looked
    FULL = 7  # a bound of the state machine is reached; retry later
    ENDED = 9  # behind the end of the voter epoch, so not applied: again, in the next one
    NOT_UP = 10  # who is to vote holds no lease (answered by the service, never by the log)
    FORBIDDEN = 8  # this role may not do that (answered by the service, never by the log)


class Role(IntEnum):
    """What the holder of a key is; 0 marks a revoked key."""

    REVOKED = 0
    TARGET = 1
    GATEWAY = 2
    ADMIN = 3
    VOTER = 4


class BucketState(IntEnum):
    """A bucket that is being deleted takes no new names."""

    ACTIVE = 1
    DELETING = 2


class BucketEncryption(IntEnum):
    """Whether objects are encrypted that nobody asked to encrypt: by the S3 gateways, with keys of the
    cluster (SERVER)."""

    NONE = 0
    SERVER = 1


class UserState(IntEnum):
    """A disabled user is refused whatever it asks; what belongs to it stays its own."""

    ACTIVE = 1
    DISABLED = 2


class EditKind(IntEnum):
    """Change of a row's name replicas (the numbers of RowsChange.kind)."""

    ADD = 1
    REMOVE = 2
    LEAD = 3  # the Raft leader's own: balance.py


BUCKET_COMMANDS = (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketVersioning,
    BucketEncryptionSet,
)
USER_COMMANDS = (UserCreate, UserStateSet, UserRotate)
TARGET_COMMANDS = (cm.TargetJoin, cm.VdevJoin, cm.VdevStates, cm.RowsChange, cm.RowsEmptied)
ADMIN_COMMANDS = (
    *BUCKET_COMMANDS,
    *USER_COMMANDS,
    cm.ClusterInit,
    cm.VdevStates,
    cm.Freeze,
    cm.KeyAllow,
    cm.KeyRevoke,
    cm.TokenAdd,
    cm.TokenUse,
    cm.SettingSet,
    ReplaceVoters,
)
ALLOWED: dict[Role, tuple[type[Message], ...]] = {
    Role.REVOKED: (),
    Role.TARGET: TARGET_COMMANDS,
    Role.GATEWAY: BUCKET_COMMANDS,
    Role.ADMIN: ADMIN_COMMANDS,
    Role.VOTER: TARGET_COMMANDS,
}
STEWARD_COMMANDS = (cm.Prepare, cm.Seal, cm.Activate, cm.Abort, cm.Noop, cm.VdevStates)
COMMANDS = frozenset((*TARGET_COMMANDS, *ADMIN_COMMANDS, *STEWARD_COMMANDS))


@dataclass(frozen=True, slots=True)
class Command:
    """One decoded log entry."""

    client: int
    sequence: int
    message: Message


def encode_command(message: Message, client: int = STEWARD_CLIENT, sequence: int = 0) -> bytes:
    """The log entry; raises WireError("range") for a command that is too big."""
    body = encode(message)
    if len(body) > cm.COMMAND_BYTES_MAX:
        raise WireError("range")
    return ENVELOPE.pack(message.TYPE, client, sequence) + body


def decode_command(entry: bytes) -> Command:
    """The command in `entry`; raises WireError for anything that is not one."""
    if len(entry) < ENVELOPE.size or len(entry) > ENVELOPE.size + cm.COMMAND_BYTES_MAX:
        raise WireError("truncated")
    number, client, sequence = ENVELOPE.unpack_from(entry)
    message = decode(number, entry[ENVELOPE.size :])
    if type(message) not in COMMANDS:
        raise WireError("unknown_type")
    return Command(client, sequence, message)


def encode_result(code: Code, value: int = 0) -> bytes:
    """The bytes that apply() returns."""
    return RESULT.pack(code, value)


def decode_result(result: bytes) -> tuple[Code, int]:
    """(code, value); BAD_COMMAND for bytes that no state machine of this version made."""
    if len(result) != RESULT.size:
        return Code.BAD_COMMAND, 0
    code, value = RESULT.unpack(result)
    return (Code(code), value) if code in list(Code) else (Code.BAD_COMMAND, 0)
