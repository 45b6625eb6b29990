"""Changes of replica sets on their way to Raft: one command at a time, with all rows that wait.

When a VDEV leaves or comes back, hundreds of rows ask one after the other, each when it has caught
up. What comes while a command is under way goes with the next one, as in group commit: so their
number follows the pace of Raft, not the number of rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from replicast.errors import ReplicastError
from replicast.flexhash.commands import Code, EditKind
from replicast.target.names.store import RowsChange
from replicast.wire import control_messages as cm
from replicast.wire.control_messages import ROWS_PER_COMMAND_MAX, CommandResult

log = logging.getLogger(__name__)

ROWS_WAITING_MAX = 65_536
Submit = Callable[[RowsChange], Awaitable[CommandResult]]


def command_of(change: RowsChange) -> cm.RowsChange:
    """As it is submitted; OK's value is the generation whose table shows the outcome."""
    return cm.RowsChange(
        by=change.by,
        by_open_count=change.by_open_count,
        vdev=change.vdev_index,
        open_count=change.open_count,
        kind=EditKind.ADD if change.add else EditKind.REMOVE,
        seen=change.seen,
        rows=change.rows,
    )


class RowChanges:
    """Submits; `refused(change)` hears of those that surely had no effect."""

    def __init__(self, submit: Submit, refused: Callable[[RowsChange], None]) -> None:
        self._submit, self._refused = submit, refused
        self._waiting: dict[RowsChange, dict[int, None]] = {}  # by the change without its rows
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._waiting.values())

    def ask(self, change: RowsChange) -> None:
        """Have the change of these rows submitted, soon; too many are dropped, and ask again."""
        if len(self) + len(change.rows) > ROWS_WAITING_MAX:
            return
        rows = self._waiting.setdefault(replace(change, rows=()), {})
        rows.update(dict.fromkeys(change.rows))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def stop(self) -> None:
        """Ask for nothing more."""
        self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._one()
        finally:
            self._worker = None

    async def _one(self) -> None:
        kind, rows = next(iter(self._waiting.items()))
        taken = tuple(rows)[:ROWS_PER_COMMAND_MAX]
        for row in taken:
            del rows[row]
        if not rows:
            del self._waiting[kind]
        change = replace(kind, rows=taken)
        try:
            result = await self._submit(change)
        except ReplicastError as error:
            log.warning("rows of VDEV %d: outcome unknown: %s", change.vdev_index, error)
            return
        if result.code != Code.OK:
            self._refused(change)
