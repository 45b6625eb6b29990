"""Commands about buckets, sent in COMMAND_SUBMIT (control_messages.py)."""

from __future__ import annotations

from replicast.wire.control_records import Name, RegionName
from replicast.wire.schema import U8, U32, U64, Flag, Message, message
from replicast.wire.user_messages import CanonicalId


@message(106)
class BucketCreate(Message):
    """Make a bucket; the state machine gives the incarnation. `settings_floor` as the sender
    knows it: CONFLICT, with the version to wait for, when a removal was not adopted by then."""

    tenant: Name
    bucket: Name
    spread: U32
    inline_max_bytes: U32
    created_ns: U64
    settings_floor: U64
    owner: CanonicalId
    versioning: U8
    location: RegionName


@message(107)
class BucketDeleteBegin(Message):
    """Step one: rows refuse new names once they have adopted the settings version returned,
    which also names this marking: a bucket that is marked already keeps its own."""

    tenant: Name
    bucket: Name


@message(108)
class BucketDeleteEnd(Message):
    """Step two: found empty (`remove`), or not and the mark is taken back. Void unless `marked`
    is what step one returned: another deletion may have unmarked the bucket meanwhile."""

    tenant: Name
    bucket: Name
    incarnation: U64
    marked: U64
    remove: Flag


@message(138)
class BucketVersioning(Message):
    """Keep the versions of a bucket's names from now on (ENABLED), or no new ones (SUSPENDED)."""

    tenant: Name
    bucket: Name
    incarnation: U64
    versioning: U8


@message(139)
class BucketEncryptionSet(Message):
    """How what is put into a bucket is kept when its client says nothing of encryption: a
    BucketEncryption."""

    tenant: Name
    bucket: Name
    incarnation: U64
    encryption: U8
