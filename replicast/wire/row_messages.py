"""Replication of name rows between targets (DESIGN 9), and what a row keeps in its log and view.

All of them travel over CURVE channels; ROW_APPEND and ROW_STATUS also over UDP, under the key that their
receiver gave their sender with PAIR_KEY (target/row_paths.py).

Every message is a list of per-row items, so that one message per pair of processes
carries all their rows. An item names the sending and the receiving VDEV (a target owns
several) and the tenure that it belongs to: (epoch, tenure), `epoch` being the generation
that installed the leader and `tenure` a number that the leader never uses twice. An entry
is identified by (epoch, tenure, index) of the leader that made it.
"""

from __future__ import annotations

from functools import total_ordering
from typing import Annotated

from replicast.wire.name_messages import (
    BODY_BYTES_MAX,
    Body,
    BucketName,
    ChidList,
    ETag,
    HolderLists,
    ObjectName,
    TenantName,
    VersionId,
    VersionSummary,
)
from replicast.wire.schema import (
    I64,
    U8,
    U16,
    U32,
    U64,
    Bytes16,
    Bytes32,
    Flag,
    Hash,
    Kind,
    Message,
    Struct,
    message,
    struct,
)

ITEMS_MAX = 65_535
ENTRIES_MAX = 4096
# A body, its lists of chunks short of copies and of who holds which, and the fixed fields.
ENTRY_BYTES_MAX = BODY_BYTES_MAX + 320 * 1024


@struct
@total_ordering
class RowPosition(Struct):
    """One entry's identity; all zero is the start of every log."""

    epoch: U64
    tenure: U64
    index: U64

    def __init__(self, epoch: int, tenure: int, index: int) -> None:
        self.epoch, self.tenure, self.index = epoch, tenure, index  # type: ignore[misc]

    def __lt__(self, other: RowPosition) -> bool:
        mine = self.epoch, self.tenure, self.index
        return mine < (other.epoch, other.tenure, other.index)


@struct
class RowBase(Struct):
    """Where a log begins that was cut: at or below `position` it has only the entries that versions
    refer to. It was cut when `settled_index` was applied: the versions of then, not of `position`.
    Results up to `forgotten_index` were forgotten by then. `time_ns` is of the entry at
    `position`. All zero: the log was never cut."""

    position: RowPosition
    time_ns: I64
    settled_index: U64
    forgotten_index: U64


@struct
class RowEntry(Struct):
    """One log entry as it is stored; `data` is an encoded RowOperation."""

    epoch: U64
    index: U64
    data: Annotated[bytes, Kind("bytes", ENTRY_BYTES_MAX)]


EntryList = Annotated[tuple[RowEntry, ...], Kind("list", ENTRIES_MAX, RowEntry)]


@struct
class AppendItem(Struct):
    """Entries after `previous`, and how far the row is committed. `open_count` is the life of
    the receiving VDEV that the leader talks to: what was meant for an earlier one is refused."""

    row: U32
    leader: U16
    replica: U16
    epoch: U64
    tenure: U64
    open_count: U64
    committed_index: U64
    previous: RowPosition
    entries: EntryList


@message(60)
class RowAppend(Message):
    """Leader -> replica."""

    items: Annotated[tuple[AppendItem, ...], Kind("list", ITEMS_MAX, AppendItem)]


ACCEPTED, MISMATCH, STALE, INSTALLING = 0, 1, 2, 3


@struct
class StatusItem(Struct):
    """`outcome` MISMATCH: the entries do not follow what this replica has. STALE: it knows a
    leader of `known_epoch`. INSTALLING: it is being installed, or has to be; the piece that begins
    behind `acknowledged_index` comes next. `last` is the last durable entry; `acknowledged_index` the highest
    durable one that is known to be the same as the leader's, without a gap."""

    row: U32
    replica: U16
    leader: U16
    epoch: U64
    tenure: U64
    open_count: U64
    outcome: U8
    known_epoch: U64
    acknowledged_index: U64
    committed_index: U64
    last: RowPosition


@message(61)
class RowStatus(Message):
    """Replica -> leader: an acknowledgement, or the answer to ROW_QUERY."""

    items: Annotated[tuple[StatusItem, ...], Kind("list", ITEMS_MAX, StatusItem)]


@struct
class QueryItem(Struct):
    """The replica promises to refuse older tenures and says where it stands."""

    row: U32
    leader: U16
    replica: U16
    epoch: U64
    tenure: U64


@message(62)
class RowQuery(Message):
    """Leader -> replica: taking over, or after silence."""

    items: Annotated[tuple[QueryItem, ...], Kind("list", ITEMS_MAX, QueryItem)]


@struct
class FetchItem(Struct):
    """Entries after `after_index` are wanted; or, with `install`, the piece behind `after_index` of
    an install with this base (none has begun: all zero)."""

    row: U32
    leader: U16
    replica: U16
    epoch: U64
    tenure: U64
    after_index: U64
    install: Flag
    base: RowBase


@message(63)
class RowFetch(Message):
    """Leader that takes over -> replica that knows more."""

    items: Annotated[tuple[FetchItem, ...], Kind("list", ITEMS_MAX, FetchItem)]


@struct
class FetchedItem(Struct):
    """As much as fits one message of what was asked for, up to the first that cannot be read. `previous` has
    epoch and tenure 0 when it is committed and cannot be read itself."""

    row: U32
    replica: U16
    leader: U16
    epoch: U64
    tenure: U64
    previous: RowPosition
    entries: EntryList


@message(64)
class RowFetched(Message):
    """Replica -> leader that takes over."""

    items: Annotated[tuple[FetchedItem, ...], Kind("list", ITEMS_MAX, FetchedItem)]


@struct
class AskEntryItem(Struct):
    """The entry at `index` cannot be read here: it is applied, so every replica has the same."""

    row: U32
    asker: U16
    replica: U16
    index: U64


@message(65)
class RowAskEntry(Message):
    """Replica -> any other in-sync replica."""

    items: Annotated[tuple[AskEntryItem, ...], Kind("list", ITEMS_MAX, AskEntryItem)]


@struct
class GiveEntryItem(Struct):
    """The entry; none: it cannot be read there either, or is not applied."""

    row: U32
    asker: U16
    replica: U16
    index: U64
    entries: EntryList


@message(66)
class RowGiveEntry(Message):
    """Answer to ROW_ASK_ENTRY."""

    items: Annotated[tuple[GiveEntryItem, ...], Kind("list", ITEMS_MAX, GiveEntryItem)]


@struct
class InstallItem(Struct):
    """A piece of what a log holds up to its base: the entries that versions refer to, those behind
    `after_index`, in order; `done` when there are no more. `open_count` is the taker's life,
    (epoch, tenure) the leader's, who gives or, taking over, takes."""

    row: U32
    giver: U16
    taker: U16
    epoch: U64
    tenure: U64
    open_count: U64
    base: RowBase
    after_index: U64
    done: Flag
    entries: EntryList


@message(67)
class RowInstall(Message):
    """Leader -> replica whose log ends before the leader's begins, or answer to ROW_FETCH."""

    items: Annotated[tuple[InstallItem, ...], Kind("list", ITEMS_MAX, InstallItem)]


@message(68)
class PairKey(Message):
    """Over CURVE: the key of the ROW_APPENDs and ROW_STATUSes that its receiver sends us over UDP from
    now. `session`: ours; the key ends with it."""

    session: U64
    key: Bytes32


# -- formats in the log and in the view; never sent by themselves ------------------

PUT, MARK_DELETED, REMOVE_VERSION, REFUSE, RESTORED = 1, 2, 3, 4, 5


@message(70)
class RowOperation(Message):
    """What an entry holds. PUT and MARK_DELETED add `version`, as the name's null version or not, and
    remove `superseded`, the null version before; REMOVE_VERSION removes `version`;
    RESTORED says that `version` is not short of copies any more.
    REFUSE records a final refusal (`reason`), so that a retry gets the same answer.
    `time_ns` is the row's cluster time, strictly increasing from entry to entry."""

    tenure: U64  # first, so that an entry's identity needs no decoding
    kind: U8
    reason: U8
    time_ns: I64
    operation_id: Bytes16
    tenant: TenantName
    bucket: BucketName
    bucket_incarnation: U64
    name: ObjectName
    version: VersionId
    replaces: VersionId
    null: Flag
    superseded: VersionId
    logical_size: U64
    etag: ETag
    body_hash: Hash
    short_of_copies: ChidList
    holders: HolderLists
    body: Body


@message(71)
class RowVersion(Message):
    """View value of one version; its body is in entry `index` of the row's log. `restored_index`:
    the entry that said that it is not short of copies any more, 0 without."""

    index: U64
    restored_index: U64
    summary: VersionSummary


@message(72)
class RowOutcome(Message):
    """View value of one operation's result; reason 0 = done."""

    time_ns: I64
    reason: U8
    summary: VersionSummary


@message(73)
class RowApplied(Message):
    """View value: the last entry whose effects are in the view."""

    time_ns: I64
    position: RowPosition


@message(74)
class RowCut(Message):
    """In a ROW_CUT record: the base."""

    base: RowBase
