"""Records inside the messages of the control plane, and the bounds of their fields.

The state machine (replicast.flexhash.state) keeps these records as they are.
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import (
    U8,
    U16,
    U32,
    U64,
    Bytes16,
    Bytes32,
    Flag,
    Kind,
    Message,
    Struct,
    message,
    struct,
)
from replicast.wire.user_messages import CanonicalId, UserInfo

COMMAND_BYTES_MAX = 16 << 10
TABLE_BYTES_MAX = 48 << 20
VDEVS_PER_TARGET_MAX = 512
ROWS_PER_COMMAND_MAX = 6000
STATE_ITEMS_MAX = 65_535

Name = Annotated[str, Kind("text", 255)]
Host = Annotated[str, Kind("text", 255)]
RegionName = Annotated[str, Kind("text", 63)]
Key = Annotated[str, Kind("text", 40)]
Value = Annotated[str, Kind("text", 4096)]
Text = Annotated[str, Kind("text", 1024)]
Body = Annotated[bytes, Kind("bytes", COMMAND_BYTES_MAX)]
TableBytes = Annotated[bytes, Kind("bytes", TABLE_BYTES_MAX)]
Rows = Annotated[tuple[int, ...], Kind("list", ROWS_PER_COMMAND_MAX, Kind("uint", 2))]
Indexes = Annotated[tuple[int, ...], Kind("list", STATE_ITEMS_MAX, Kind("uint", 2))]
VOTERS_MAX = 5
VdevIds = Annotated[tuple[bytes, ...], Kind("list", VDEVS_PER_TARGET_MAX, Kind("fixed", 16))]


@struct
class Place(Struct):
    """Where something listens."""

    host: Host
    port: U16


@struct
class TargetInfo(Struct):
    """A target as the table lists it; `vdev_count` is how many VDEVs it was formed with."""

    node_id: U64
    name: Name
    host: Name
    zone: Name
    udp: Place
    peer: Place
    control: Place
    metrics: Place
    public_key: Key
    vdev_count: U16


@struct
class VdevInfo(Struct):
    """A VDEV as the state machine knows it; `state` is a VdevState."""

    index: U16
    vdev_id: Bytes16
    target: U64
    weight: U32
    state: U8
    open_count: U64
    opener: U64


@struct
class PolicyInfo(Struct):
    """The table's policy; fixed by ClusterInit."""

    row_count: U32
    group_size: U8
    copies: U8
    min_copies: U8
    algorithm: U16


@struct
class BucketInfo(Struct):
    """One bucket; `incarnation` is the settings version that made it, `state` a BucketState,
    `marked` the settings version of its deletion mark (0: none), `owner` the canonical id of the
    user who made it (empty: nobody did, so only others than S3 gateways use it), `versioning` a
    Versioning, `encryption` a BucketEncryption, `location` the name of the region it was made with (empty:
    that of the S3 gateway that is asked)."""

    tenant: Name
    bucket: Name
    incarnation: U64
    spread: U32
    inline_max_bytes: U32
    state: U8
    created_ns: U64
    marked: U64
    owner: CanonicalId
    versioning: U8
    encryption: U8
    location: RegionName


@struct
class KeyInfo(Struct):
    """One allowed CURVE key (z85) and what its holder is; `role` is a Role."""

    public_key: Key
    node_id: U64
    role: U8
    name: Name


@struct
class Setting(Struct):
    """One cluster-wide setting."""

    key: Name
    value: Value


@struct
class VoterInfo(Struct):
    """One voter: where clients ask it, where its peers do, and the key that proves it."""

    node_id: U64
    name: Name
    control: Place
    raft: Place
    public_key: Key


@struct
class VdevChange(Struct):
    """A VDEV's new state; void when the VDEV was opened again in between."""

    index: U16
    open_count: U64
    state: U8


@struct
class RowEdit(Struct):
    """One pending change of a row; `seen` is the generation its submitter looked at."""

    row: U16
    vdev: U16
    kind: U8
    seen: U64
    by: U16


@struct
class LeaseStatus(Struct):
    """One target's lease as the Raft leader sees it; remaining 0 = surely ended."""

    node_id: U64
    remaining_ns: U64
    adopted: U64
    fenced: Flag


@struct
class VoterStatus(Struct):
    """One voter as the answering one sees it."""

    node_id: U64
    name: Name
    connected: Flag


@struct
class InputsInfo(Struct):
    """What one generation is built from, besides the table before it."""

    generation: U64
    previous: U64
    targets: Annotated[tuple[TargetInfo, ...], Kind("list", STATE_ITEMS_MAX, TargetInfo)]
    vdevs: Annotated[tuple[VdevInfo, ...], Kind("list", STATE_ITEMS_MAX, VdevInfo)]
    edits: Annotated[tuple[RowEdit, ...], Kind("list", STATE_ITEMS_MAX, RowEdit)]
    emptied: Annotated[tuple[RowEdit, ...], Kind("list", STATE_ITEMS_MAX, RowEdit)]
    damaged: Indexes
    digest: Annotated[bytes, Kind("bytes", 32)]


@struct
class ClientInfo(Struct):
    """Last command of one client, for exactly-once."""

    client: U64
    sequence: U64
    code: U8
    value: U64


@struct
class TokenInfo(Struct):
    """One join token; used ones stay as a record."""

    token_hash: Bytes32
    role: U8
    used: Flag


@message(145)
class StateSnapshot(Message):
    """The whole replicated state (never on the data path; documented in docs/control-plane.md)."""

    version: U16
    cluster_id: Bytes16
    segment_id: U64
    recovery_epoch: U16
    expected_targets: U16
    policy: PolicyInfo
    last_generation: U64
    active: U64
    prepared: U64
    change_count: U64
    frozen_count: U64
    settings_version: U64
    removed_version: U64
    users_version: U64
    freeze_until_wall_ns: U64
    lease_bound_wall_ns: U64
    noop_term: U64
    noop_number: U64
    vdev_index_last: U32
    voter_epoch: U32
    voters: Annotated[tuple[VoterInfo, ...], Kind("list", VOTERS_MAX, VoterInfo)]
    targets: Annotated[tuple[TargetInfo, ...], Kind("list", STATE_ITEMS_MAX, TargetInfo)]
    vdevs: Annotated[tuple[VdevInfo, ...], Kind("list", STATE_ITEMS_MAX, VdevInfo)]
    edits: Annotated[tuple[RowEdit, ...], Kind("list", STATE_ITEMS_MAX, RowEdit)]
    emptied: Annotated[tuple[RowEdit, ...], Kind("list", STATE_ITEMS_MAX, RowEdit)]
    damaged: Indexes
    history: Annotated[tuple[InputsInfo, ...], Kind("list", 64, InputsInfo)]
    buckets: Annotated[tuple[BucketInfo, ...], Kind("list", STATE_ITEMS_MAX, BucketInfo)]
    settings: Annotated[tuple[Setting, ...], Kind("list", 4096, Setting)]
    users: Annotated[tuple[UserInfo, ...], Kind("list", STATE_ITEMS_MAX, UserInfo)]
    keys: Annotated[tuple[KeyInfo, ...], Kind("list", STATE_ITEMS_MAX, KeyInfo)]
    tokens: Annotated[tuple[TokenInfo, ...], Kind("list", 4096, TokenInfo)]
    clients: Annotated[tuple[ClientInfo, ...], Kind("list", STATE_ITEMS_MAX, ClientInfo)]
