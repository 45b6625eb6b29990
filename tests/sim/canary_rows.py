"""Which test shows which planted bug, which checker says so, and where to look first.

ROWS                              one a canary
seen(row, seed)                   one run with the canary: the checkers that reported something
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from . import canaries_chunks as chunks
from . import canaries_control as control
from . import canaries_names as names
from .canaries import CANARIES
from .whole import run

Canary = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Row:
    """`seed` shows it; its checker is the one whose clause the bug breaks."""

    canary: Canary
    checker: str
    test: str
    seed: int
    seconds: float | None = 10

    @property
    def name(self) -> str:
        """Of the canary."""
        return self.canary.__name__


ROWS = [
    Row(CANARIES["acknowledge_before_fdatasync"], "linearizable", "attrition", 1, None),
    Row(CANARIES["failed_sync_ignored"], "durability", "disks", 1, None),
    Row(CANARIES["forgotten_answers"], "linearizable", "clog", 3, None),
    Row(CANARIES["listing_forgets_rows"], "errors", "clog", 1, None),
    Row(control.stale_name_request_answered, "fences", "everything", 2, None),
    Row(control.starts_by_an_older_table, "generations", "attrition", 4),
    Row(names.catch_up_skips_an_entry, "durability", "contended", 1),
    Row(names.conditions_ignored, "linearizable", "contended", 1),
    Row(names.repeat_carried_out_again, "linearizable", "contended", 2),
    Row(names.versions_by_time_of_day, "linearizable", "standstill", 5),
    Row(chunks.bytes_not_verified, "bytes", "disks", 3),
    Row(chunks.copy_counted_that_is_not_there, "durability", "empty_disk", 1),
    Row(chunks.reservations_never_released, "bounds", "clog", 1, 5),
    Row(chunks.no_backoff, "bounds", "clog", 1, 5),
]


def seen(row: Row, seed: int) -> list[str]:
    """The checkers that report something of this seed with the canary."""
    with pytest.MonkeyPatch.context() as patch:
        row.canary(patch)
        return run(row.test, seed, row.seconds, buggify=False).checkers
