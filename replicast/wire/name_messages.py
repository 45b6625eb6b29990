"""Named operations, gateway -> row leader over UDP (DESIGN 9). operation_id in the header is
the id of the operation, the same in every retry: that is what makes it take effect once."""

from __future__ import annotations

from typing import Annotated

from replicast.wire.documents import REFERENCES_MAX
from replicast.wire.schema import (
    I64,
    U8,
    U16,
    U32,
    U64,
    Flag,
    Hash,
    Kind,
    Message,
    Struct,
    message,
    struct,
)

NAME_BYTES_MAX = 1024 + 64  # an object's, and what an upload's or a part's adds to it
AFTER_BYTES_MAX = NAME_BYTES_MAX + 8
ETAG_BYTES_MAX = 128
BODY_BYTES_MAX = 320 * 1024
ENTRIES_MAX = 1000
ROWS_MAX = 65_535

BucketName = Annotated[str, Kind("text", 63)]
TenantName = Annotated[str, Kind("text", 63)]
ObjectName = Annotated[str, Kind("text", NAME_BYTES_MAX)]
Body = Annotated[bytes, Kind("bytes", BODY_BYTES_MAX)]
ETag = Annotated[str, Kind("text", ETAG_BYTES_MAX)]


@struct
class VersionId(Struct):
    """Totally ordered across segments by (time_ns, segment_id, sequence). All zero: none."""

    time_ns: I64
    segment_id: U64
    sequence: U32


# Beside a bucket's names, in the same rows, lie those of its uploads and of their parts: in a
# space each, which is one of these added to the bucket's incarnation.
UPLOADS, PARTS = 1 << 63, 1 << 62
INCARNATION_MAX = PARTS - 1

NO_VERSION = VersionId(time_ns=0, segment_id=0, sequence=0)
# In NAME_GET and NAME_DELETE: the name's null version, whichever that is.
NULL_VERSION = VersionId(time_ns=0, segment_id=0, sequence=1)

# Condition.kind
ALWAYS, IF_ABSENT, IF_PRESENT, IF_VERSION, IF_ETAG, IF_NOT_ETAG = 0, 1, 2, 3, 4, 5


@struct
class Condition(Struct):
    """Checked in log order against the newest version; IF_ABSENT is If-None-Match: *."""

    kind: U8
    version: VersionId
    etag: ETag


@struct
class NameKey(Struct):
    """Which name: row and full names; bucket_incarnation, less its space, refuses a name of a
    deleted bucket."""

    row: U32
    tenant: TenantName
    bucket: BucketName
    bucket_incarnation: U64
    name: ObjectName


@struct
class OperationTime(Struct):
    """Cluster time (ns since the Unix epoch) when the operation was first sent and its put begun."""

    first_sent_ns: I64
    begun_ns: I64


SHORT_CHUNKS_MAX = 4096
ChidList = Annotated[tuple[bytes, ...], Kind("list", SHORT_CHUNKS_MAX, Kind("hash", 64))]
HOLDERS_MAX = 16
# For each chunk that a body references itself, in order, VDEVs that held it at the commit; or nothing at all.
HolderLists = Annotated[
    tuple[tuple[int, ...], ...],
    Kind("list", REFERENCES_MAX, Kind("list", HOLDERS_MAX, Kind("uint", 2))),
]


@message(40)
class NamePut(Message):
    """Commit a version: every chunk that `body` references is durable already. `body` is the
    canonical manifest body; the leader never parses it beyond the summary fields here. `null`: as the
    name's null version, in place of the one that it has; the leader knows the bucket's versioning better.
    `holders`: hints for readers, of each chunk that `body` references itself; or none."""

    key: NameKey
    time: OperationTime
    condition: Condition
    null: Flag
    logical_size: U64
    etag: ETag
    body_hash: Hash
    body: Body
    short_of_copies: ChidList  # chunks with fewer than `copies` copies: repair's work list
    holders: HolderLists


@message(41)
class NameDelete(Message):
    """A delete marker (version = NO_VERSION), or the removal of one version for good. A marker is
    refused where nothing is to be marked unless `absent_too`; `null`: it is the name's null version,
    in place of the one that it has. NULL_VERSION and `null`: where versions are not kept, the end of
    the only one. Of both the leader makes what the bucket's versioning says."""

    key: NameKey
    time: OperationTime
    condition: Condition
    version: VersionId
    null: Flag
    absent_too: Flag


@message(42)
class NameGet(Message):
    """Newest version (NO_VERSION) or one version; without the body when only head is wanted."""

    key: NameKey
    version: VersionId
    want_body: Flag


@message(43)
class NameVersions(Message):
    """All versions of one name, newest first."""

    key: NameKey


@message(44)
class NameList(Message):
    """One page of names of a bucket from all the listed rows that this target leads. Names in
    (`after`, ...) with `prefix`, byte order, at most `limit`; `deleted`: those too whose newest
    version is a delete marker."""

    rows: Annotated[tuple[int, ...], Kind("list", ROWS_MAX, Kind("uint", 4))]
    tenant: TenantName
    bucket: BucketName
    bucket_incarnation: U64
    prefix: ObjectName
    after: Annotated[str, Kind("text", AFTER_BYTES_MAX)]  # a name, or a bound behind a prefix
    limit: U16
    deleted: Flag


@message(45)
class NameVerify(Message):
    """Have the replica on this VDEV read the version's log entry from disk, past its caches, and
    check the hash of the body. One that is damaged is fetched again from another replica."""

    key: NameKey
    version: VersionId
    hash_algorithm: U8
    vdev_index: U16


@message(46)
class NameRestored(Message):
    """Repair has brought all chunks of this version back to their copies: it is no longer short."""

    key: NameKey
    time: OperationTime
    version: VersionId


OBJECT, DELETE_MARKER = 1, 2


@struct
class VersionSummary(Struct):
    """What is known of a version without its body. `null`: the one version of its name that has no id
    of its own for clients, and that the next such one takes the place of."""

    version: VersionId
    replaces: VersionId
    kind: U8
    null: Flag
    logical_size: U64
    etag: ETag
    operation_id: Annotated[bytes, Kind("fixed", 16)]
    body_hash: Hash
    short_chunks: U16  # chunks that had fewer than `copies` copies at the commit


@message(50)
class NameResult(Message):
    """Answer to NAME_PUT, NAME_DELETE and NAME_GET (body and holders empty unless wanted)."""

    summary: VersionSummary
    copies: U8  # replicas of the row that hold it durably
    holders: HolderLists
    body: Body


@message(51)
class NameVersionList(Message):
    """Answer to NAME_VERSIONS, newest first."""

    versions: Annotated[tuple[VersionSummary, ...], Kind("list", 4096, VersionSummary)]


@struct
class ListEntry(Struct):
    """One name and its newest version (a delete marker only when `deleted` ones were asked for)."""

    name: ObjectName
    summary: VersionSummary


@message(52)
class NameEntries(Message):
    """Answer to NAME_LIST in byte order; `more`: the target has names beyond the last entry.
    `rows` = the rows answered for: one that is missing was refused and the page is not whole."""

    rows: Annotated[tuple[int, ...], Kind("list", ROWS_MAX, Kind("uint", 4))]
    entries: Annotated[tuple[ListEntry, ...], Kind("list", ENTRIES_MAX, ListEntry)]
    more: Flag


@message(53)
class NameVerified(Message):
    """Answer to NAME_VERIFY; `result` as in CHUNK_VERIFIED."""

    vdev_index: U16
    result: U8
    detail: Annotated[str, Kind("text", 500)]


__all__ = [
    "AFTER_BYTES_MAX",
    "ALWAYS",
    "BODY_BYTES_MAX",
    "DELETE_MARKER",
    "ENTRIES_MAX",
    "ETAG_BYTES_MAX",
    "HOLDERS_MAX",
    "IF_ABSENT",
    "IF_ETAG",
    "IF_NOT_ETAG",
    "IF_PRESENT",
    "IF_VERSION",
    "INCARNATION_MAX",
    "NAME_BYTES_MAX",
    "NO_VERSION",
    "NULL_VERSION",
    "OBJECT",
    "PARTS",
    "UPLOADS",
    "Condition",
    "HolderLists",
    "ListEntry",
    "NameDelete",
    "NameEntries",
    "NameGet",
    "NameKey",
    "NameList",
    "NamePut",
    "NameRestored",
    "NameResult",
    "NameVerified",
    "NameVerify",
    "NameVersionList",
    "NameVersions",
    "OperationTime",
    "VersionId",
    "VersionSummary",
]
