"""`repair` and `verify` after a run's faults, and what each of them may still find.

Only the host whose disks were damaged may hold something bad when repair comes, and nobody when
verify comes after it. But repair reads by the table of its moment: a VDEV that joins a row by a
later table is first read by verify, which then finds damage that nobody has seen before. So if the
table has changed since repair began, what verify finds on that host is no verdict yet: both walk
again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from replicast.flexhash.table import Table
from replicast.gateway.walk import (
    ChunkFinding,
    CopyFinding,
    Finding,
    NameFinding,
    Repair,
    WalkError,
)
from replicast.sim.damage import Damage

BAD_COPIES = ("corrupt", "missing")


class Walker(Protocol):
    """gateway/walk.py's Walk: one walk over a bucket."""

    def repair(self, bucket: str) -> AsyncIterator[Finding | Repair]: ...
    def verify(self, bucket: str) -> AsyncIterator[Finding]: ...


class Walks:
    """Walks of an operator after the last fault; `wrong` is told what breaks durability."""

    def __init__(
        self,
        walk: Callable[[], Walker],
        table: Callable[[], Table],
        damage: Damage,
        wrong: Callable[[str], None],
    ) -> None:
        self._walk, self._table, self._damage, self._wrong = walk, table, damage, wrong

    async def run(self, bucket: str) -> None:
        """Ends when the table rests, as that of a healthy cluster does."""
        while True:
            generation = self._table().generation
            await self._repair(bucket)
            found = [f async for f in self._walk().verify(bucket) if not _sound(f)]
            rests = self._table().generation == generation
            for finding in found:
                if rests or not self._late(finding):
                    self._wrong(f"after repair: {finding}")
            if rests or not any(map(self._late, found)):
                return

    async def _repair(self, bucket: str) -> None:
        async for found in self._walk().repair(bucket):
            if isinstance(found, NameFinding | ChunkFinding):
                for copy in found.copies:
                    if copy.state in BAD_COPIES and not self._damaged(copy):
                        self._wrong(f"nothing damaged it: {copy}")
                if isinstance(found, ChunkFinding):
                    self._check_counted(found)
            elif isinstance(found, WalkError) or found.action != "restored":
                self._wrong(f"repair: {found}")

    def _check_counted(self, found: ChunkFinding) -> None:
        """Whoever put it counted copies on min_copies hosts; one of them may have been damaged."""
        table = self._table()
        there = {table.host_of(copy.vdev_index) for copy in found.copies if copy.state != "missing"}
        least = table.policy.min_copies - (self._damage.host is not None)
        if len(there) < least:
            self._wrong(f"on {len(there)} hosts before repair, at least {least}: {found}")

    def _damaged(self, copy: CopyFinding) -> bool:
        return self._damage.hit(self._table().host_of(copy.vdev_index))

    def _late(self, finding: Finding) -> bool:
        """Is all that is wrong with it damage that repair may not have read?"""
        if isinstance(finding, WalkError):
            return False
        bad = [copy for copy in finding.copies if copy.state != "ok"]
        return bool(bad) and all(c.state in BAD_COPIES and self._damaged(c) for c in bad)


def _sound(finding: Finding) -> bool:
    if isinstance(finding, NameFinding):
        return finding.whole
    if isinstance(finding, ChunkFinding):
        bad = any(copy.state in BAD_COPIES for copy in finding.copies)
        return finding.hosts >= finding.wanted and not bad
    return False
