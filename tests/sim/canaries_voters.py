"""Planted bugs in the change of voters: what keeps two voter epochs apart (docs/control-plane.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.flexhash.state import ControlState
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import VoterSet
from replicast.formation import VOTER_EPOCH
from replicast.target.voter import VoterRole


def old_epoch_goes_on(patch: pytest.MonkeyPatch) -> None:
    """A voter that is restarted does not know any more that its epoch has ended, and the log goes on
    behind the end: an old majority goes on granting and deciding beside the new one."""
    load, opened = VoterFile.load, VoterRole.open
    on_voters, told = VoterRole.on_voters, VoterRole._on_ended
    over: dict[int, int] = {}  # by file: the epoch that was named there in a life before
    deaf: dict[int, ControlState] = {}  # states that hear of no end
    ended = ControlState.ended.fget
    assert ended is not None

    def forgotten(self: VoterFile) -> VoterSet | None:
        saved = load(self)
        if saved is not None and saved.epoch > VOTER_EPOCH:
            over[id(self)] = saved.epoch
            return replace(saved, epoch=VOTER_EPOCH)
        return saved

    def deafened(self: VoterRole) -> None:
        opened(self)
        if id(self._file) in over and self.control is not None:
            deaf[id(self.control.state)] = self.control.state

    def not_again(self: VoterRole, voters: VoterSet) -> None:
        if voters.epoch > over.get(id(self._file), 0):
            on_voters(self, voters)

    def not_told(self: VoterRole) -> None:
        if id(self._file) not in over:
            told(self)

    patch.setattr(VoterFile, "load", forgotten)
    patch.setattr(VoterRole, "open", deafened)
    patch.setattr(VoterRole, "on_voters", not_again)
    patch.setattr(VoterRole, "_on_ended", not_told)
    patch.setattr(
        ControlState, "ended", property(lambda self: id(self) not in deaf and ended(self))
    )
