"""target/names/state.py: results are forgotten as by a row that looks for old ones at each entry.

And it does not look while none can be old enough. `_oldest_ns` is what it goes by: below the times of
all results that are remembered, whatever has happened to the row.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.target.names.base import START, Base
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import ZERO, Position
from replicast.target.names.state import RowState
from replicast.wire.name_messages import NO_VERSION, VersionId
from replicast.wire.row_messages import PUT, REFUSE, RowOperation

RETENTION_NS = 10
# What happens before an entry, and how much later than the one before it is.
KINDS = ["nothing"] * 6 + ["reopened", "installed", "installed half", "retried"]
LATER_NS = [0, 0, 0, 0, 0, 1, 1, 2, 3, 12]  # more at once than an entry forgets
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(LATER_NS)), max_size=80)


class Scanner(RowState):
    """Looks at each entry."""

    def _expire(self, now_ns: int, changes: Any) -> None:
        self._oldest_ns = 0
        super()._expire(now_ns, changes)


class Row:
    """One state and its view."""

    def __init__(self, kind: type[RowState]) -> None:
        self.kind, self.store = kind, MemoryRowStore()
        self.scans = 0
        scan = self.store.view_scan

        def count(start: bytes, end: bytes, limit: int) -> Any:
            self.scans += 1
            return scan(start, end, limit)

        self.store.view_scan = count  # type: ignore[method-assign]
        self.state = kind(1, self.store, RETENTION_NS)

    def view(self) -> list[tuple[bytes, bytes]]:
        return list(self.store.view_scan(b"", b"\xff" * 40, 1 << 30))

    def reopen(self, base: Base = START) -> None:
        self.state = self.kind(1, self.store, RETENTION_NS, base)

    def install(self, base: Base, kept: list[tuple[int, RowOperation]]) -> None:
        """As RowReplica does with a view that is made of what a log has kept."""
        self.state.applied = ZERO
        while not self.state.clear(7):
            pass
        for index, operation in kept:
            self.state.keep(index, operation)
        self.state.begin(base)


def operation(index: int, time_ns: int, number: int) -> RowOperation:
    return RowOperation(
        tenure=1, kind=PUT if index % 3 else REFUSE, reason=0, time_ns=time_ns,
        operation_id=number.to_bytes(16, "big"), tenant="t", bucket="b", bucket_incarnation=1,
        name="n", version=VersionId(time_ns=time_ns, segment_id=7, sequence=0),
        replaces=NO_VERSION, null=False, superseded=NO_VERSION, logical_size=1, etag="",
        body_hash=b"\0", short_of_copies=(), holders=(), body=b"",
    )  # fmt: skip


@given(STEPS)
@settings(max_examples=200)
def test_results__are_forgotten_as_by_a_row_that_always_looks(steps: list[tuple[str, int]]) -> None:
    rows = [Row(RowState), Row(Scanner)]
    time_ns, number, log = 100, 0, list[tuple[int, RowOperation]]()
    for happens, later_ns in steps:
        time_ns += later_ns
        number += happens != "retried"
        if happens.startswith("installed") and log:
            _install(rows, log, half=happens.endswith("half"))
        for row in rows:
            if happens == "reopened":
                row.reopen(row.state._base)
        index = rows[0].state.applied.index + 1
        log = log[: index - 1]
        log.append((index, operation(index, time_ns, number)))
        for row in rows:
            row.state.apply(Position(1, 1, index), log[-1][1])
            _holds(row)
        assert rows[0].view() == rows[1].view()
        assert rows[0].state.forgotten_index == rows[1].state.forgotten_index


def _install(rows: list[Row], log: list[tuple[int, RowOperation]], half: bool) -> None:
    """What is behind the base is applied again, and remembered as it was when the log was cut."""
    forgotten_index, last = rows[0].state.forgotten_index, len(log)
    index = forgotten_index // 2 if half else forgotten_index
    if not index:
        return
    position, time_ns = Position(1, 1, index), log[index - 1][1].time_ns
    base = Base(position, time_ns, last, forgotten_index)
    for row in rows:
        row.install(base, [(i, o) for i, o in log[:index] if o.kind == PUT])
        for i, again in log[index:]:
            row.state.apply(Position(1, 1, i), again)
            _holds(row)


def _holds(row: Row) -> None:
    start = row.state._meta + b"E"
    times = [key[-24:-16] for key, _ in row.view() if key.startswith(start)]
    if times:
        assert row.state._oldest_ns <= int.from_bytes(min(times), "big")


def test_expiry__does_not_look_while_none_is_old_enough() -> None:
    row = Row(RowState)
    before = row.scans
    for index in range(1, 11):
        row.state.apply(Position(1, 1, index), operation(index, 100 + index, index))
    assert row.scans == before
    row.state.apply(Position(1, 1, 11), operation(11, 101 + RETENTION_NS, 11))
    assert row.scans == before  # the oldest is as old as that, and not older
    row.state.apply(Position(1, 1, 12), operation(12, 102 + RETENTION_NS, 12))
    assert row.scans == before + 1 and row.state.forgotten_index == 1
    row.reopen()
    before = row.scans
    row.state.apply(Position(1, 1, 13), operation(13, 102 + RETENTION_NS, 13))
    assert row.scans == before
    row.state.apply(Position(1, 1, 14), operation(14, 103 + RETENTION_NS, 14))
    assert row.scans == before + 1 and row.state.forgotten_index == 2
