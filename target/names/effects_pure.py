"""What an entry puts into the view of its row, as keys and values: the definition. state.py says what the
keys mean; native/_row_effects.pyx is the faster twin of name_prefix() and entry_effects()."""

from __future__ import annotations

import struct

from replicast.target.names.position import Position
from replicast.wire.codec import encode
from replicast.wire.name_messages import DELETE_MARKER, OBJECT, VersionId, VersionSummary
from replicast.wire.row_messages import (
    MARK_DELETED,
    PUT,
    RowApplied,
    RowOperation,
    RowOutcome,
    RowVersion,
)

Change = tuple[bytes, bytes | None]  # a key, and its value; None: deleted

META = b"\xff" * 8
ADDING = (PUT, MARK_DELETED)  # kinds of operations that add a version
VERSION_KEY = struct.Struct(">QQI")
HEAD = struct.Struct(">IQ")
U32_MAX, U64_MAX = (1 << 32) - 1, (1 << 64) - 1


def name_prefix(row: int, incarnation: int, name: str) -> bytes:
    """Start of the keys of all versions of one name."""
    return HEAD.pack(row, incarnation) + name.encode() + b"\0"


def version_suffix(version: VersionId) -> bytes:
    """Sorts newest first."""
    return VERSION_KEY.pack(
        U64_MAX - version.time_ns, U64_MAX - version.segment_id, U32_MAX - version.sequence
    )


def summary_of(operation: RowOperation) -> VersionSummary:
    """The summary of the version that an operation adds, removes or was refused for."""
    return VersionSummary(
        version=operation.version,
        replaces=operation.replaces,
        kind=DELETE_MARKER if operation.kind == MARK_DELETED else OBJECT,
        null=operation.null,
        logical_size=operation.logical_size,
        etag=operation.etag,
        operation_id=operation.operation_id,
        body_hash=operation.body_hash,
        short_chunks=len(operation.short_of_copies),
    )


def version_key(row: int, operation: RowOperation) -> bytes:
    """Key of the version that an operation is about."""
    prefix = name_prefix(row, operation.bucket_incarnation, operation.name)
    return prefix + version_suffix(operation.version)


def version_added(row: int, index: int, operation: RowOperation) -> Change:
    """Its version."""
    value = RowVersion(index=index, restored_index=0, summary=summary_of(operation))
    return version_key(row, operation), encode(value)


def result(row: int, index: int, operation: RowOperation) -> list[Change]:
    """What it answered, and when that expires."""
    meta = row.to_bytes(4, "big") + META
    outcome = RowOutcome(
        time_ns=operation.time_ns, reason=operation.reason, summary=summary_of(operation)
    )
    when = operation.time_ns.to_bytes(8, "big")
    return [
        (meta + b"R" + operation.operation_id, encode(outcome)),
        (meta + b"E" + when + operation.operation_id, index.to_bytes(8, "big")),
    ]


def mark(row: int, position: Position, time_ns: int) -> Change:
    """It is applied."""
    value = RowApplied(time_ns=time_ns, position=position)
    return row.to_bytes(4, "big") + META + b"A", encode(value)


def entry_effects(row: int, position: Position, operation: RowOperation) -> list[Change]:
    """What applying an entry puts, whatever is there already: its version, if it adds one, its result,
    and that it is applied. Errors: as of the codec, struct and int for what does not fit its field."""
    index = position.index
    added = [version_added(row, index, operation)] if operation.kind in ADDING else []
    return [*added, *result(row, index, operation), mark(row, position, operation.time_ns)]
