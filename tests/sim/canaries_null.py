"""Planted bugs in null versions, which the next such one takes the place of (canaries.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.target.names.state import RowState
from replicast.target.names.undecided import Undecided
from replicast.wire.name_messages import NO_VERSION, VersionSummary


def null_supersedes_nothing(patch: pytest.MonkeyPatch) -> None:
    """A put of a null version leaves the one before it where it was."""
    add = RowState._add

    def beside(self: RowState, index: int, operation: Any, changes: Any) -> None:
        add(self, index, replace(operation, superseded=NO_VERSION), changes)

    patch.setattr(RowState, "_add", beside)


def null_of_committed_only(patch: pytest.MonkeyPatch) -> None:
    """The null version that is superseded is the committed one, whatever is ordered before."""

    def committed(self: Undecided, prefix: bytes) -> VersionSummary | None:
        held = self._state.null_version(prefix)
        return None if held is None else held.summary

    patch.setattr(Undecided, "null", committed)
