"""Bugs planted by name, one contract clause each: the checkers of whole runs must see every one.

    CANARIES[name](monkeypatch)      until the monkeypatch is undone

Nothing of this is in the product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from replicast.target.names import service as names_service
from replicast.target.names.leader import Leadership
from replicast.target.names.state import RowState
from replicast.target.store.engine import StoreEngine


def acknowledge_before_fdatasync(patch: pytest.MonkeyPatch) -> None:
    """C1: a flush counts as durable when it was written."""

    def finish(self: StoreEngine, plan: Any) -> Any:
        outcomes = self.core.end_flush(plan, self._error, wrote=self._wrote)
        self.measure()
        return outcomes

    patch.setattr(StoreEngine, "finish", finish)


def failed_sync_ignored(patch: pytest.MonkeyPatch) -> None:
    """C1: a flush counts as durable although its fdatasync failed."""

    def finish(self: StoreEngine, plan: Any) -> Any:
        if self._error is None and plan.size_bytes and self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer[1].sync()
        outcomes = self.core.end_flush(plan, self._error, wrote=self._wrote)
        self.measure()
        return outcomes

    patch.setattr(StoreEngine, "finish", finish)


def take_over_without_asking(patch: pytest.MonkeyPatch) -> None:
    """A new leader does not ask the others what was prepared, and leads with what it has."""

    def choose(self: Leadership, now_ns: int) -> None:
        self.replica.commit(self.replica.log.last.index)
        self._lead(now_ns)

    patch.setattr(Leadership, "_ask", choose)


def forgotten_answers(patch: pytest.MonkeyPatch) -> None:
    """C4: results of operations are not remembered: a retry is carried out again."""
    patch.setattr(RowState, "outcome", lambda self, operation_id: None)


def listing_forgets_rows(patch: pytest.MonkeyPatch) -> None:
    """C3: a LIST leaves out what half of a target's rows hold."""
    page = names_service.list_page

    def short(request: Any, ready: list[Any], limit: int) -> Any:
        found = page(request, ready[: len(ready) // 2], limit)
        return replace(found, rows=tuple(row for row, _ in ready))

    patch.setattr(names_service, "list_page", short)


CANARIES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    each.__name__: each
    for each in (
        acknowledge_before_fdatasync,
        failed_sync_ignored,
        take_over_without_asking,
        forgotten_answers,
        listing_forgets_rows,
    )
}
