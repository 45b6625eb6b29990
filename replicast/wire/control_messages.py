"""Leases, generations, table service and membership commands, over CURVE channels (DESIGN 6).

Two kinds live here. Requests and replies travel between a client of the control
plane (target, gateway, administrator) and a voter. Commands are what the Raft
log carries: a client wraps one in CommandSubmit; the sender's role comes from
its key, never from a field. Lists are bounded so that one command fits 16 KiB.
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.control_records import (
    COMMAND_BYTES_MAX as COMMAND_BYTES_MAX,
)
from replicast.wire.control_records import (
    ROWS_PER_COMMAND_MAX as ROWS_PER_COMMAND_MAX,
)
from replicast.wire.control_records import (
    STATE_ITEMS_MAX as STATE_ITEMS_MAX,
)
from replicast.wire.control_records import (
    TABLE_BYTES_MAX as TABLE_BYTES_MAX,
)
from replicast.wire.control_records import (
    VDEVS_PER_TARGET_MAX as VDEVS_PER_TARGET_MAX,
)
from replicast.wire.control_records import (
    Body as Body,
)
from replicast.wire.control_records import (
    BucketInfo as BucketInfo,
)
from replicast.wire.control_records import (
    ClientInfo as ClientInfo,
)
from replicast.wire.control_records import (
    Host as Host,
)
from replicast.wire.control_records import (
    Indexes as Indexes,
)
from replicast.wire.control_records import (
    InputsInfo as InputsInfo,
)
from replicast.wire.control_records import (
    Key as Key,
)
from replicast.wire.control_records import (
    KeyInfo as KeyInfo,
)
from replicast.wire.control_records import (
    LeaseStatus as LeaseStatus,
)
from replicast.wire.control_records import (
    Name as Name,
)
from replicast.wire.control_records import (
    Place as Place,
)
from replicast.wire.control_records import (
    PolicyInfo as PolicyInfo,
)
from replicast.wire.control_records import (
    RowEdit as RowEdit,
)
from replicast.wire.control_records import (
    Rows as Rows,
)
from replicast.wire.control_records import (
    Setting as Setting,
)
from replicast.wire.control_records import (
    StateSnapshot as StateSnapshot,
)
from replicast.wire.control_records import (
    TableBytes as TableBytes,
)
from replicast.wire.control_records import (
    TargetInfo as TargetInfo,
)
from replicast.wire.control_records import (
    Text as Text,
)
from replicast.wire.control_records import (
    TokenInfo as TokenInfo,
)
from replicast.wire.control_records import (
    Value as Value,
)
from replicast.wire.control_records import (
    VdevChange as VdevChange,
)
from replicast.wire.control_records import (
    VdevIds as VdevIds,
)
from replicast.wire.control_records import (
    VdevInfo as VdevInfo,
)
from replicast.wire.control_records import (
    VoterInfo as VoterInfo,
)
from replicast.wire.control_records import (
    VoterStatus as VoterStatus,
)
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
    message,
)

# -- commands (Raft log) ------------------------------------------------------------


@message(90)
class ClusterInit(Message):
    """Once: who this cluster is and what its tables look like."""

    cluster_id: Bytes16
    segment_id: U64
    recovery_epoch: U16
    expected_targets: U16
    policy: PolicyInfo


@message(91)
class TargetJoin(Message):
    """A target registers or moves; same node id replaces what was known."""

    target: TargetInfo


@message(92)
class VdevJoin(Message):
    """A VDEV was opened: `opener` names the open and grows with each start of its target,
    `damaged` when its log lost records, `uncounted` when its disk took no writes: `open_count`
    is that of the open before."""

    vdev_id: Bytes16
    target: U64
    weight: U32
    open_count: U64
    opener: U64
    damaged: Flag
    uncounted: Flag


@message(93)
class VdevStates(Message):
    """VDEVs go up or down (steward), draining or out (administrator), or stop (their target)."""

    changes: Annotated[tuple[VdevChange, ...], Kind("list", 1024, VdevChange)]


@message(94)
class RowsChange(Message):
    """The acting leader `by` adds (kind 1) or removes (2) replica `vdev` of many rows; or the Raft
    leader has that replica lead them in its place (3).

    `seen` is the generation whose table the leader looked at: the change of a row is
    dropped when its names_since is newer (DESIGN 9). The open counts are those of that
    table: a leader that was opened again forgot what it submitted, a replica that was may
    have lost what it had caught up.
    """

    by: U16
    by_open_count: U64
    vdev: U16
    open_count: U64
    kind: U8
    seen: U64
    rows: Rows


@message(95)
class RowsEmptied(Message):
    """A draining VDEV holds nothing of these rows since it drains them in generation `seen`."""

    vdev: U16
    seen: U64
    rows: Rows


@message(96)
class Prepare(Message):
    """Freeze the inputs gathered so far as `generation` (must be the state's next one)."""

    generation: U64


@message(97)
class Seal(Message):
    """The digest of the prepared table as the proposer built it."""

    generation: U64
    digest: Bytes32


@message(98)
class Activate(Message):
    """The prepared generation is the cluster's table from here on."""

    generation: U64


@message(99)
class Abort(Message):
    """Drop the prepared generation; its row changes wait for the next, its number is gone."""

    generation: U64


@message(100)
class Noop(Message):
    """A leader's proof of authority at its own time of proposing."""

    term: U64
    number: U64


@message(101)
class Freeze(Message):
    """Planned work: nobody is declared down and leases run until `until_wall_ns` (0 = end it)."""

    until_wall_ns: U64
    now_wall_ns: U64


@message(102)
class KeyAllow(Message):
    """Let a key in."""

    key: KeyInfo


@message(103)
class KeyRevoke(Message):
    """Shut a key out."""

    public_key: Key


@message(104)
class TokenAdd(Message):
    """A join token (its hash) for one use by one role."""

    token_hash: Bytes32
    role: U8


@message(105)
class TokenUse(Message):
    """Use a token up and let the key in, in one step."""

    token_hash: Bytes32
    key: KeyInfo


@message(109)
class SettingSet(Message):
    """Set one cluster-wide setting; an empty value removes it."""

    setting: Setting


# -- requests and replies -------------------------------------------------------------


@message(120)
class CommandSubmit(Message):
    """Run one command; (client, sequence) makes a retry harmless. `kind` is its message type."""

    client: U64
    sequence: U64
    kind: U8
    body: Body


@message(121)
class CommandResult(Message):
    """`code` is a Code; `value` depends on the command (generation, index, incarnation...)."""

    code: U8
    value: U64


@message(122)
class Redirect(Message):
    """Not the Raft leader; `leader` is its node id as far as known, else 0."""

    leader: U64


@message(123)
class LeaseRenew(Message):
    """A target asks for its lease; leaderships lost by `adopted` were given up before.

    `vouched` lists the VDEVs with a flush completed lately. `stopping` gives the lease back.
    Without `may_lead` (its clock is off) no leadership is moved to it without need.
    """

    session: U64
    sequence: U64
    adopted: U64
    settings_version: U64
    stopping: Flag
    may_lead: Flag
    vouched: VdevIds


@message(124)
class LeaseGrant(Message):
    """Valid `duration_ns` from the request's sending; backed by a no-op `age_ns` old."""

    sequence: U64
    duration_ns: U64
    age_ns: U64
    floor: U64
    settings_floor: U64
    active: U64


@message(125)
class LeaseRefused(Message):
    """No lease: `reason` is a LeaseReason; adopt `active` and `settings_version` first."""

    sequence: U64
    reason: U8
    active: U64
    settings_version: U64


@message(126)
class Watch(Message):
    """Asks for a Notice now and at every change for the next seconds."""

    active: U64
    settings_version: U64


@message(127)
class Notice(Message):
    """What a voter knows; 0 for none. Floors only from the Raft leader, else 0. A later
    `voter_epoch` than the hearer's: ask for the voters (VOTERS_GET)."""

    leader: U64
    age_ns: U64
    active: U64
    active_digest: Bytes32
    prepared: U64
    prepared_digest: Bytes32
    settings_version: U64
    floor: U64
    settings_floor: U64
    wall_ns: U64
    voter_epoch: U32
    users_version: U64


@message(128)
class TableGet(Message):
    """Asks a voter for the table of `generation`, prepared or active, 0 being the active one; or a
    target that does not vote for one that it holds (0 it refuses)."""

    generation: U64


@message(129)
class TableData(Message):
    """A table (zlib of its canonical bytes); `digest` is of the canonical bytes."""

    generation: U64
    digest: Bytes32
    raw_bytes: U32
    data: TableBytes


@message(130)
class SettingsGet(Message):
    """Asks for buckets and settings unless the asker has `have_version`; with `current` only the
    Raft leader answers, after a no-op that it proposed since is committed."""

    have_version: U64
    current: Flag


@message(131)
class SettingsData(Message):
    """All buckets and settings at `version`; `changed` false when the asker had them."""

    version: U64
    changed: Flag
    buckets: Annotated[tuple[BucketInfo, ...], Kind("list", STATE_ITEMS_MAX, BucketInfo)]
    settings: Annotated[tuple[Setting, ...], Kind("list", 4096, Setting)]


@message(132)
class PrepareAck(Message):
    """This target holds the prepared table, with this digest."""

    generation: U64
    digest: Bytes32


@message(133)
class ControlRefused(Message):
    """A request that is not answered: `reason` is a replicast.wire.reasons.Reason."""

    reason: U8
    detail: Text


@message(134)
class StatusGet(Message):
    """Asks for the control plane's own state."""

    detail: Flag


@message(135)
class StatusData(Message):
    """Raft, generation and lease state; leases are listed by the Raft leader only. `voter_epoch`
    is that of the group which the answering voter takes part in."""

    cluster_id: Bytes16
    segment_id: U64
    node_id: U64
    leader: U64
    voter_epoch: U32
    term: U64
    has_quorum: Flag
    age_ns: U64
    active: U64
    prepared: U64
    pending_count: U32
    settings_version: U64
    freeze_until_wall_ns: U64
    expected_targets: U16
    targets: Annotated[tuple[TargetInfo, ...], Kind("list", STATE_ITEMS_MAX, TargetInfo)]
    vdevs: Annotated[tuple[VdevInfo, ...], Kind("list", STATE_ITEMS_MAX, VdevInfo)]
    leases: Annotated[tuple[LeaseStatus, ...], Kind("list", STATE_ITEMS_MAX, LeaseStatus)]
    voters: Annotated[tuple[VoterStatus, ...], Kind("list", 16, VoterStatus)]


@message(136)
class KeysGet(Message):
    """An administrator asks for the allow-list."""

    have_count: U32


@message(137)
class KeysData(Message):
    """The allow-list."""

    keys: Annotated[tuple[KeyInfo, ...], Kind("list", STATE_ITEMS_MAX, KeyInfo)]
