"""A voter's side of a change of voters: what it objects to, and what it tells of the next epoch.

A core, part of ControlServer (flexhash/server.py). An epoch begins with one state, the same bytes
at every voter: who votes in it from then on asks for them (START_GET), whoever begins with other
bytes would fork the cluster. They are told as long as the epoch lasts.
"""

from __future__ import annotations

from collections.abc import Sequence

from replicast.flexhash.commands import Code
from replicast.flexhash.lease import LeaseGranter
from replicast.flexhash.state import ControlState
from replicast.flexhash.voters import digest_of, one_replaced
from replicast.machine import NodeId
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.voter_messages import (
    START_PIECE_BYTES_MAX,
    ReplaceVoters,
    StartData,
    StartGet,
    VotersData,
    VotersGet,
)


class Succession:
    """One per voter."""

    def __init__(self, state: ControlState) -> None:
        self._state = state
        self._began: bytes | None = None  # this group's epoch with; None: as formed
        self._next: bytes | None = None  # the next one, once this has ended

    def began(self, start: bytes) -> None:
        """The group goes on as another epoch, which begins with `start`."""
        self._began, self._next = start, None

    def start(self) -> bytes | None:
        """What the epoch that goes on begins with; None: as formed."""
        if not self._state.ended:
            return self._began
        if self._next is None:
            self._next = self._state.snapshot()  # it does not change any more
        return self._next

    def answer(self, m: Message, node_id: NodeId) -> VotersData | StartData | Reason:
        """To VotersGet or StartGet of that node."""
        state, start = self._state, self.start()
        if start is None:
            return Reason.NOT_READY
        if isinstance(m, VotersGet) and m.have_epoch < state.voter_epoch:
            return VotersData(
                voter_epoch=state.voter_epoch, start=digest_of(start), voters=state.voters
            )
        if not isinstance(m, StartGet):
            return Reason.NOT_READY
        if node_id not in [voter.node_id for voter in state.voters]:
            return Reason.UNAUTHORIZED
        if m.voter_epoch != state.voter_epoch or m.offset > len(start):
            return Reason.NOT_READY
        return StartData(
            voter_epoch=m.voter_epoch,
            offset=m.offset,
            total_bytes=len(start),
            data=start[m.offset : m.offset + START_PIECE_BYTES_MAX],
        )

    def objection(
        self, m: ReplaceVoters, before: Sequence[NodeId], granter: LeaseGranter, now_ns: int
    ) -> Code | None:
        """Why the leader does not propose it, as far as the log cannot know: `before` vote now,
        and the new one has to hold a lease."""
        after = [voter.node_id for voter in m.voters]
        if m.voter_epoch != self._state.epoch or not before:
            return None  # asked before, or too late: the log has the answer
        if set(before) == set(after) or len(set(after)) != len(after):
            return Code.EXISTS
        if not one_replaced(before, after):
            return Code.BAD_COMMAND
        (new,) = set(after) - set(before)
        record = granter.records.get(new)
        up = record is not None and record.granted and granter.may_hold(new, now_ns)
        return None if up or new not in self._state.targets else Code.NOT_UP
