"""What an operator's walks may find after the last fault, and when they walk again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.gateway.walk import (
    ChunkFinding,
    CopyFinding,
    NameFinding,
    RepairFinding,
    WalkError,
)
from replicast.sim.walks import Walks

BUCKET, ROTTED, SOUND = "sim", 1, 2  # VDEV n is on host n


def name(vdev: int, state: str) -> NameFinding:
    return NameFinding(
        (CopyFinding(BUCKET, "n", b"", vdev, state), CopyFinding(BUCKET, "n", b"", 3, "ok"))
    )


def chunk(vdev: int, state: str, hosts: int = 3) -> ChunkFinding:
    reference: Any = SimpleNamespace(copies=3)
    copies = tuple(CopyFinding(BUCKET, "n", b"c", v, "ok") for v in (3, 4))
    return ChunkFinding(
        BUCKET, "n", reference, (CopyFinding(BUCKET, "n", b"c", vdev, state), *copies), hosts
    )


class Operator:
    """Walks by script: what each repair and verify finds; generations that verify ends in."""

    def __init__(self) -> None:
        self.table = SimpleNamespace(
            generation=1, host_of=str, policy=SimpleNamespace(min_copies=2)
        )
        self.repairs: list[list[Any]] = []
        self.verifies: list[tuple[int, list[Any]]] = []
        self.wrong: list[str] = []

    async def repair(self, bucket: str) -> AsyncIterator[Any]:
        for finding in self.repairs.pop(0) if self.repairs else []:
            yield finding

    async def verify(self, bucket: str) -> AsyncIterator[Any]:
        generation, found = self.verifies.pop(0)
        for finding in found:
            yield finding
        self.table.generation = generation

    def run(self) -> None:
        table: Any = self.table
        damage: Any = SimpleNamespace(host=str(ROTTED), hit=lambda host: host == str(ROTTED))
        asyncio.run(Walks(lambda: self, lambda: table, damage, self.wrong.append).run(BUCKET))
        assert not self.verifies and not self.repairs


@pytest.mark.parametrize("found", [name(ROTTED, "corrupt"), chunk(ROTTED, "corrupt", 2)])
def test_damage_that_a_newer_table_shows_first__is_repaired_and_looked_at_again(found: Any) -> None:
    operator = Operator()
    operator.verifies = [(2, [found]), (2, [name(ROTTED, "ok")])]
    operator.run()
    assert operator.wrong == []


def test_damage_that_a_second_repair_leaves__is_wrong() -> None:
    operator = Operator()
    operator.verifies = [(2, [name(ROTTED, "corrupt")])] * 2
    operator.run()
    assert len(operator.wrong) == 1


@pytest.mark.parametrize(
    "found",
    [
        name(SOUND, "corrupt"),
        name(ROTTED, "silent"),
        chunk(SOUND, "missing"),
        chunk(ROTTED, "ok", 2),
        WalkError(BUCKET, "n", "no quorum"),
    ],
)
@pytest.mark.parametrize("generation", [1, 2])
def test_anything_else_after_repair__is_wrong_by_any_table(generation: int, found: Any) -> None:
    operator = Operator()
    operator.verifies = [(generation, [found])]
    operator.run()
    assert len(operator.wrong) == 1 and "after repair" in operator.wrong[0]


@pytest.mark.parametrize(
    "found", [name(ROTTED, "corrupt"), chunk(ROTTED, "corrupt"), chunk(ROTTED, "missing")]
)
def test_damage_before_repair__is_wrong_after_it_only(found: Any) -> None:
    operator = Operator()
    operator.repairs, operator.verifies = [[found]], [(1, [found])]
    operator.run()
    assert len(operator.wrong) == 1 and "after repair" in operator.wrong[0]


@pytest.mark.parametrize(
    "found",
    [
        name(SOUND, "corrupt"),
        chunk(SOUND, "missing"),
        RepairFinding(chunk(ROTTED, "corrupt"), "short", 2),
        WalkError(BUCKET, "n", "no quorum"),
    ],
)
def test_repair_that_finds_or_leaves_what_it_must_not__is_wrong(found: Any) -> None:
    operator = Operator()
    operator.repairs, operator.verifies = [[found]], [(1, [])]
    operator.run()
    assert len(operator.wrong) == 1


def test_too_few_copies_before_repair__is_wrong() -> None:
    operator = Operator()
    alone = CopyFinding(BUCKET, "n", b"c", ROTTED, "missing")
    reference: Any = SimpleNamespace(copies=3)
    operator.repairs = [[ChunkFinding(BUCKET, "n", reference, (alone,), 0)]]
    operator.verifies = [(1, [])]
    operator.run()
    assert operator.wrong and "at least 1" in operator.wrong[0]
