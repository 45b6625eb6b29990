"""Planted bugs in how logs are cut and replicas installed (canaries.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from replicast.target.names import give
from replicast.target.names.follower import Role
from replicast.target.names.give import Giver
from replicast.target.names.leader import Leadership
from replicast.target.names.state import RowState


def install_forgets_results(patch: pytest.MonkeyPatch) -> None:
    """C4: a replica that is installed does not know what operations of the retry window answered."""

    def settle(self: RowState, index: int, operation: Any, changes: Any) -> None:
        self.forgotten_index = index

    patch.setattr(RowState, "_settle", settle)


def install_skips_an_entry(patch: pytest.MonkeyPatch) -> None:
    """C1: every tenth of the entries that a log has kept is not given to who is installed."""
    kept = Giver._kept

    def most(self: Giver, replica: Any, after_index: int) -> Iterator[Any]:
        return (pair for pair in kept(self, replica, after_index) if pair[0] % 10)

    patch.setattr(Giver, "_kept", most)


def added_before_it_is_whole(patch: pytest.MonkeyPatch) -> None:
    """C1: a replica is added to the set when its install has begun."""
    on_status = Leadership.on_status

    def early(self: Leadership, item: Any, now_ns: int) -> bool:
        follows = on_status(self, item, now_ns)
        follower = self.followers.get(item.replica)
        if follower is not None and follower.installing and follower.role == Role.CATCHING_UP:
            follower.role = Role.JOINING
            self._members._submit(follower, True, now_ns)
        return follows

    patch.setattr(Leadership, "on_status", early)
    patch.setattr(give, "PIECE_ENTRIES_MAX", 1)  # else it is whole before Raft has answered
