"""target/names: the row state machine and LIST against plain models."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.target.names.listing import list_page
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import Position
from replicast.target.names.state import RowState, name_prefix
from replicast.wire.name_messages import (
    DELETE_MARKER,
    NO_VERSION,
    NameList,
    VersionId,
    VersionSummary,
)
from replicast.wire.row_messages import (
    MARK_DELETED,
    PUT,
    REMOVE_VERSION,
    RowOperation,
)

NAMES = st.sampled_from(["a", "a\x01", "a/b", "ab", "b", "ä", "\U0001f600", "z" * 300])
KINDS = st.sampled_from([PUT, PUT, PUT, MARK_DELETED, REMOVE_VERSION])
STEPS = st.lists(st.tuples(st.integers(0, 2), NAMES, KINDS, st.booleans()), max_size=40)
Step = tuple[int, str, int, bool]  # row, name, kind, null
Model = dict[str, list[VersionSummary]]


def operation(
    number: int, name: str, kind: int, version: VersionId, superseded: VersionId | None
) -> RowOperation:
    """`superseded`: None for a version that is not the null one, NO_VERSION for the first null one."""
    return RowOperation(
        tenure=1, kind=kind, reason=0, time_ns=number, operation_id=number.to_bytes(16, "big"),
        tenant="t", bucket="b", bucket_incarnation=1, name=name, version=version,
        replaces=NO_VERSION, null=superseded is not None, superseded=superseded or NO_VERSION,
        logical_size=number, etag="", body_hash=b"\0", short_of_copies=(), holders=(),
        body=b"",
    )  # fmt: skip


def build(steps: list[Step]) -> tuple[MemoryRowStore, list[Model]]:
    """The same history in rows of one store, and as lists, oldest version first."""
    store = MemoryRowStore()
    states = [RowState(row, store, 1 << 40) for row in range(3)]
    models: list[Model] = [{}, {}, {}]
    for number, (row, name, kind, null) in enumerate(steps, 1):
        held = models[row].setdefault(name, [])
        version = VersionId(time_ns=number, segment_id=7, sequence=0)
        if kind == REMOVE_VERSION:
            version = held.pop(len(held) // 2).version if held else version
        superseded = None
        if null and kind != REMOVE_VERSION:
            before = next((s for s in held if s.null), None)
            superseded = before.version if before else NO_VERSION
            held[:] = [s for s in held if not s.null]
        index = states[row].applied.index + 1
        applied = operation(number, name, kind, version, superseded)
        states[row].apply(Position(1, 1, index), applied)
        if kind != REMOVE_VERSION:
            found = states[row].version(name_prefix(row, 1, name), version)
            assert found is not None
            held.append(found.summary)
    return store, models


@given(STEPS)
@settings(max_examples=60)
def test_versions__as_in_a_list(steps: list[Step]) -> None:
    store, models = build(steps)
    for row, model in enumerate(models):
        state = RowState(row, store, 1 << 40)
        for name, held in model.items():
            prefix = name_prefix(row, 1, name)
            found = [v.summary for v in state.versions(prefix, 1000)]
            assert found == list(reversed(held))
            nulls = [summary for summary in held if summary.null]
            null = state.null_version(prefix)
            assert ([null.summary] if null else []) == nulls
            newest = state.version(prefix, NO_VERSION)
            assert (newest.summary if newest else None) == (held[-1] if held else None)


@given(STEPS, st.integers(1, 5), st.sampled_from(["", "a", "a/", "ä", "zz"]))
@settings(max_examples=60)
def test_list__pages_make_up_the_sorted_names(steps: list[Step], limit: int, prefix: str) -> None:
    # A name lives in one row: the first that it was put to.
    home: dict[str, int] = {}
    store, models = build([(home.setdefault(n, r), n, k, null) for r, n, k, null in steps])
    expected = sorted(
        (
            name
            for model in models
            for name, held in model.items()
            if held and held[-1].kind != DELETE_MARKER and name.startswith(prefix)
        ),
        key=str.encode,
    )
    rows = [(row, store) for row in range(3)]
    seen: list[str] = []
    while True:
        request = NameList(
            rows=(0, 1, 2), tenant="t", bucket="b", bucket_incarnation=1,
            prefix=prefix, after=seen[-1] if seen else "", limit=limit, deleted=False,
        )  # fmt: skip
        page = list_page(request, rows, 1 << 20)
        seen += [entry.name for entry in page.entries]
        if not page.more:
            break
        assert len(page.entries) == limit
    assert seen == expected
