"""What an entry puts into its row's view: it is read as what was written, and both twins are alike."""

from __future__ import annotations

import importlib
import struct
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.target.names import effects_pure
from replicast.target.names.effects_pure import summary_of, version_key
from replicast.target.names.position import Position
from replicast.wire.codec import WireError, decode
from replicast.wire.name_messages import NO_VERSION, VersionId
from replicast.wire.row_messages import (
    MARK_DELETED,
    PUT,
    REFUSE,
    REMOVE_VERSION,
    RESTORED,
    RowApplied,
    RowOperation,
    RowOutcome,
    RowPosition,
    RowVersion,
)

FAST: Any = effects_pure if PURE else importlib.import_module("replicast.native._row_effects")
U32, U64, I64 = (1 << 32) - 1, (1 << 64) - 1, (1 << 63) - 1
META = b"\0\0\0\x07" + b"\xff" * 8

times = st.integers(0, I64)
numbers = st.integers(0, U64)
versions = st.just(NO_VERSION) | st.builds(
    VersionId, time_ns=times, segment_id=numbers, sequence=st.integers(0, U32)
)
kinds = st.sampled_from([PUT, MARK_DELETED, REMOVE_VERSION, REFUSE, RESTORED])
names = st.sampled_from(["a", "", "a/ä\U0001f600", "z" * 1088])
hashes = st.binary(min_size=1, max_size=64)
operations = st.builds(
    RowOperation,
    tenure=numbers, kind=kinds, reason=st.integers(0, 255), time_ns=times,
    operation_id=st.binary(min_size=16, max_size=16), tenant=st.just("t"), bucket=st.just("b"),
    bucket_incarnation=numbers, name=names, version=versions, replaces=versions,
    null=st.booleans(), superseded=versions, logical_size=numbers,
    etag=st.text(max_size=30) | st.just("e" * 128), body_hash=hashes,
    short_of_copies=st.lists(hashes, max_size=3).map(tuple), holders=st.just(()), body=st.just(b""),
)  # fmt: skip
positions = st.builds(Position, numbers, numbers, numbers)

odd_numbers = st.sampled_from([-1, True, 256, 1 << 32, 1 << 63, 1 << 64, 1.0, None, "1"])
odd_bytes = st.sampled_from(
    [b"", bytes(15), bytearray(16), memoryview(bytes(16)), "x", None, 65 * b"h"]
)
odd_texts = st.sampled_from(["\ud800", "e" * 129, b"e", None])
odd_versions = st.one_of(
    st.none(),
    st.just(Position(1, 2, 3)),
    st.builds(VersionId, time_ns=odd_numbers, segment_id=numbers, sequence=st.just(0)),
    st.builds(VersionId, time_ns=times, segment_id=odd_numbers, sequence=odd_numbers),
)
ODD: dict[str, st.SearchStrategy[Any]] = {
    "kind": odd_numbers, "reason": odd_numbers, "time_ns": odd_numbers, "operation_id": odd_bytes,
    "bucket_incarnation": odd_numbers, "name": odd_texts, "version": odd_versions,
    "replaces": odd_versions, "null": st.sampled_from([None, 0, 2, "x"]),
    "logical_size": odd_numbers, "etag": odd_texts, "body_hash": odd_bytes,
    "short_of_copies": st.sampled_from([None, [b"h"], (b"h",) * 65_536]),
}  # fmt: skip
odd_changes = st.sampled_from(sorted(ODD)).flatmap(
    lambda field: ODD[field].map(lambda value: {field: value})
)


def outcome(call: Any, *arguments: object) -> object:
    try:
        return call(*arguments)
    except (TypeError, ValueError, AttributeError, OverflowError, WireError, struct.error) as error:
        return type(error), str(error)


@given(positions, operations)
def test_effects__are_read_as_what_was_written(position: Position, operation: RowOperation) -> None:
    found = dict(FAST.entry_effects(7, position, operation))
    index = position.index.to_bytes(8, "big")
    when = operation.time_ns.to_bytes(8, "big")
    assert found.pop(META + b"E" + when + operation.operation_id) == index
    assert decode(RowApplied.TYPE, found.pop(META + b"A")) == RowApplied(
        time_ns=operation.time_ns,
        position=RowPosition(epoch=position.epoch, tenure=position.tenure, index=position.index),
    )
    summary = summary_of(operation)
    assert decode(RowOutcome.TYPE, found.pop(META + b"R" + operation.operation_id)) == RowOutcome(
        time_ns=operation.time_ns, reason=operation.reason, summary=summary
    )
    if operation.kind in (PUT, MARK_DELETED):
        added = decode(RowVersion.TYPE, found.pop(version_key(7, operation)))
        assert added == RowVersion(index=position.index, restored_index=0, summary=summary)
    assert not found


@given(st.integers(0, U32), positions, operations)
def test_twins_agree(row: int, position: Position, operation: RowOperation) -> None:
    slow = effects_pure.entry_effects(row, position, operation)
    assert FAST.entry_effects(row, position, operation) == slow
    name = (row, operation.bucket_incarnation, operation.name)
    assert FAST.name_prefix(*name) == effects_pure.name_prefix(*name)


@given(
    st.just(7) | odd_numbers,
    positions | st.builds(Position, odd_numbers, odd_numbers, odd_numbers) | st.none(),
    operations,
    st.just({}) | odd_changes,
)
def test_twins_agree__on_what_does_not_fit(
    row: Any, position: Any, operation: RowOperation, changes: dict[str, Any]
) -> None:
    made = replace(operation, **changes)
    slow = outcome(effects_pure.entry_effects, row, position, made)
    assert outcome(FAST.entry_effects, row, position, made) == slow
    name = (row, made.bucket_incarnation, made.name)
    assert outcome(FAST.name_prefix, *name) == outcome(effects_pure.name_prefix, *name)
