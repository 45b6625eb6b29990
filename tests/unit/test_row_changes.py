"""Row changes: one command at a time, with all rows that wait meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from replicast.errors import Unavailable
from replicast.flexhash.commands import Code
from replicast.target.names.store import RowsChange
from replicast.target.row_changes import ROWS_WAITING_MAX, RowChanges
from replicast.wire.control_messages import ROWS_PER_COMMAND_MAX, CommandResult

CHANGE = RowsChange(add=True, vdev_index=1, open_count=1, by=2, by_open_count=1, seen=5, rows=(7,))


class Raft:
    def __init__(self) -> None:
        self.submitted: list[RowsChange] = []
        self.refused: list[RowsChange] = []
        self.outcome = asyncio.Event()
        self.code: Code | None = Code.OK
        self.changes = RowChanges(self.submit, self.refused.append)

    async def submit(self, change: RowsChange) -> CommandResult:
        self.submitted.append(change)
        await self.outcome.wait()
        if self.code is None:
            raise Unavailable("no answer")
        return CommandResult(code=self.code, value=0)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def test_rows_that_wait__go_with_the_next_command() -> None:
    async def test() -> None:
        raft = Raft()
        for row in range(ROWS_PER_COMMAND_MAX + 10):
            raft.changes.ask(replace(CHANGE, rows=(row,)))
            await asyncio.sleep(0)
        raft.changes.ask(replace(CHANGE, seen=6, rows=(1, 2)))
        assert [change.rows for change in raft.submitted] == [(0,)]
        raft.outcome.set()
        await raft.settle()
        sizes = [(change.seen, len(change.rows)) for change in raft.submitted]
        assert sizes == [(5, 1), (5, ROWS_PER_COMMAND_MAX), (5, 9), (6, 2)]
        assert len(raft.changes) == 0 and not raft.refused

    asyncio.run(test())


def test_refused__is_told_and_unknown_is_not() -> None:
    async def test() -> None:
        for code, told in ((Code.CONFLICT, [CHANGE]), (None, [])):
            raft = Raft()
            raft.code = code
            raft.outcome.set()
            raft.changes.ask(CHANGE)
            await raft.settle()
            assert raft.submitted == [CHANGE] and raft.refused == told

    asyncio.run(test())


def test_too_many__are_dropped_and_stopping_forgets() -> None:
    async def test() -> None:
        raft = Raft()
        raft.changes.ask(replace(CHANGE, rows=tuple(range(ROWS_WAITING_MAX))))
        raft.changes.ask(replace(CHANGE, seen=6))
        assert len(raft.changes) == ROWS_WAITING_MAX
        raft.changes.stop()
        assert len(raft.changes) == 0

    asyncio.run(test())
