"""The tables that a process holds: a voter's book of built ones, and the files of adopted ones.

A voter builds every generation from the inputs in the replicated state, outside of
Raft's apply, and compares its digest with the sealed one. Where the table to build on
is missing (a voter restored from a snapshot) the book takes it from another voter.

    job = book.wanted()                 what to build now, if anything
    book.put(job.run())                 run() may go to a worker thread

Files: `tables/<generation, 16 hex digits>`, written under a temporary name, synced,
renamed, directory synced; a file that is not a table is passed over, never fatal.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from replicast.disk import Disk
from replicast.flexhash.entries import TableError
from replicast.flexhash.inputs import build_table
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.wire import control_messages as cm

KEEP = 4
FILE_KEEP = 3
TABLE_BYTES_MAX = 64 << 20  # far above the largest table there can be


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One table to build; immutable inputs only, so any thread may run it."""

    previous: Table | None
    inputs: cm.InputsInfo
    policy: cm.PolicyInfo

    def run(self) -> Table | None:
        """The table, or None when the inputs cannot be one (the generation is then aborted)."""
        try:
            return build_table(self.previous, self.inputs, self.policy)
        except TableError:
            return None


class TableBook:
    """A voter's tables by generation, checked against the replicated state."""

    def __init__(self, state: ControlState) -> None:
        self._state = state
        self.tables: dict[int, Table] = {}
        self.impossible: set[int] = set()
        self.mismatch = 0  # generation whose digest here is not the sealed one
        self._packed: dict[int, bytes] = {}

    def wanted(self) -> BuildJob | None:
        """The oldest generation that can and should be built now."""
        state = self._state
        for goal in (state.active, state.prepared):
            inputs = self._first_missing(goal)
            if inputs is not None:
                return BuildJob(self.tables.get(inputs.previous), inputs, state.policy)
        return None

    def _first_missing(self, goal: int) -> cm.InputsInfo | None:
        """Walk back from `goal` to the first table that can be built on one that is here."""
        generation = goal
        while generation not in self.tables:
            inputs = self._state.history.get(generation)
            if inputs is None or generation in (*self.impossible, self.mismatch):
                return None
            if not inputs.previous or inputs.previous in self.tables:
                return inputs
            generation = inputs.previous
        return None

    def failed(self, generation: int) -> None:
        """The inputs of `generation` are no table."""
        self.impossible.add(generation)

    def put(self, table: Table) -> bool:
        """Keep a table, built here or fetched; False when it is not the sealed one."""
        inputs = self._state.history.get(table.generation)
        if inputs is not None and inputs.digest and inputs.digest != table.digest:
            self.mismatch = table.generation
            return False
        self.tables[table.generation] = table
        for generation in sorted(self.tables)[:-KEEP]:
            if generation != self._state.active:
                del self.tables[generation]
                self._packed.pop(generation, None)
        return True

    def check(self, generation: int) -> bool:
        """Whether the table here agrees with the sealed digest (True when either is missing)."""
        inputs, table = self._state.history.get(generation), self.tables.get(generation)
        if inputs is None or table is None or not inputs.digest or inputs.digest == table.digest:
            return True
        self.mismatch = generation
        del self.tables[generation]
        self._packed.pop(generation, None)
        return False

    def reply(self, generation: int) -> cm.TableData | None:
        """The table as it travels; None when it is not here, or not sealed."""
        table = self.tables.get(generation)
        inputs = self._state.history.get(generation)
        if table is None or (inputs is not None and inputs.digest != table.digest):
            return None
        packed = self._packed.get(generation)
        if packed is None:
            packed = self._packed[generation] = zlib.compress(table.to_bytes(), 1)
        return cm.TableData(
            generation=generation,
            digest=table.digest,
            raw_bytes=len(table.to_bytes()),
            data=packed,
        )


def unpack_table(reply: cm.TableData, digest: bytes) -> Table:
    """The table in a reply, if it is the one with `digest`; raises TableError."""
    if reply.raw_bytes > TABLE_BYTES_MAX:
        raise TableError(f"table of {reply.raw_bytes} bytes; {TABLE_BYTES_MAX} is the most")
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(reply.data, reply.raw_bytes + 1)
    except zlib.error:
        raise TableError("table reply is not compressed data") from None
    if len(raw) != reply.raw_bytes or hashlib.blake2b(raw, digest_size=32).digest() != digest:
        raise TableError(f"table {reply.generation} has another digest than announced")
    table = Table.from_bytes(raw)
    if table.generation != reply.generation:
        raise TableError(f"table {table.generation} came as {reply.generation}")
    return table


class TableFiles:
    """Adopted tables on disk, newest last."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk = disk
        self._directory = directory

    def save(self, table: Table) -> None:
        """Durable when this returns."""
        self._disk.make_directory(self._directory)
        path = self._directory / f"{table.generation:016x}"
        temporary = path.with_suffix(".new")
        file = self._disk.open(temporary, create=True)
        try:
            file.truncate(0)
            file.write(0, [table.to_bytes()])
            file.sync()
        finally:
            file.close()
        self._disk.rename(temporary, path)
        self._disk.sync_directory(self._directory)
        for name in self._names()[:-FILE_KEEP]:
            self._disk.remove(self._directory / name)

    def load(self) -> list[Table]:
        """All readable tables, oldest first."""
        tables = []
        for name in self._names():
            file = self._disk.open(self._directory / name)
            try:
                tables.append(Table.from_bytes(file.read(0, file.size())))
            except TableError:
                continue  # damaged: it is fetched again
            finally:
                file.close()
        return tables

    def _names(self) -> list[str]:
        try:
            names = self._disk.list(self._directory)
        except FileNotFoundError:
            return []
        return sorted(n for n in names if len(n) == 16 and "." not in n)
