"""Who votes: the list of one voter epoch, and the command that ends an epoch.

A voter epoch is one Raft group with one list of voters, for its whole life. ReplaceVoters is the
last command of its log: the state after it is what the next epoch's group begins with, and what
lies behind it is applied by nobody (a stopped state machine; Lamport, Malkhi, Zhou:
"Reconfiguring a State Machine"). So two epochs never both decide anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicast.flexhash.commands import Code
from replicast.formation import Member
from replicast.machine import Address, NodeId
from replicast.wire.control_records import Place, VoterInfo
from replicast.wire.voter_messages import ReplaceVoters, VotersData

if TYPE_CHECKING:
    from replicast.flexhash.state import ControlState

COUNTS = (1, 3, 5)
AS_FORMED = bytes(32)  # the start of the first epoch: nothing


@dataclass(frozen=True, slots=True)
class VoterEntry:
    """One voter: where clients ask it, where its peers do (clients need not know), its key."""

    node_id: NodeId
    control: Address
    public_key: str
    raft: Address = ("", 0)
    label: str = ""


@dataclass(frozen=True, slots=True)
class VoterSet:
    """The voters of an epoch, in order of node id; `start` is the digest of its first state."""

    epoch: int
    voters: tuple[VoterEntry, ...]
    start: bytes = AS_FORMED

    @property
    def node_ids(self) -> tuple[NodeId, ...]:
        """Of all voters."""
        return tuple(voter.node_id for voter in self.voters)


def voter_set(epoch: int, voters: Iterable[VoterEntry], start: bytes = AS_FORMED) -> VoterSet:
    """Put in order."""
    return VoterSet(epoch, tuple(sorted(voters, key=lambda voter: voter.node_id)), start)


def formed_voters(epoch: int, members: Iterable[Member]) -> VoterSet:
    """As the formation document lists them."""
    return voter_set(
        epoch, [VoterEntry(m.node_id, m.control, m.public_key, m.raft, m.name) for m in members]
    )


def told(m: VotersData) -> VoterSet:
    """What a voter says."""
    return voter_set(m.voter_epoch, map(entry_of, m.voters), m.start)


def digest_of(start: bytes) -> bytes:
    """Names the state that an epoch begins with."""
    return hashlib.blake2b(start, digest_size=32).digest()


def info(voter: VoterEntry) -> VoterInfo:
    """As it travels."""
    return VoterInfo(
        node_id=voter.node_id,
        name=voter.label,
        control=Place(host=voter.control[0], port=voter.control[1]),
        raft=Place(host=voter.raft[0], port=voter.raft[1]),
        public_key=voter.public_key,
    )


def entry_of(m: VoterInfo) -> VoterEntry:
    """As it is kept here."""
    return VoterEntry(
        m.node_id,
        (m.control.host, m.control.port),
        m.public_key,
        (m.raft.host, m.raft.port),
        m.name,
    )


def one_replaced(before: Sequence[NodeId], after: Sequence[NodeId]) -> bool:
    """Whether one voter, and no more, gives its place to another."""
    return len(before) == len(after) and len(set(after) - set(before)) == 1


def end_epoch(state: ControlState, m: ReplaceVoters) -> tuple[Code, int]:
    """The command, applied; the value is the new epoch (of CONFLICT: the one that goes on)."""
    if m.voter_epoch != state.epoch:
        return Code.CONFLICT, state.epoch
    node_ids = [voter.node_id for voter in m.voters]
    if len(set(node_ids)) != len(node_ids):
        return Code.EXISTS, 0
    if len(node_ids) not in COUNTS:
        return Code.BAD_COMMAND, 0
    if state.voters and not one_replaced([v.node_id for v in state.voters], node_ids):
        return Code.BAD_COMMAND, 0
    for voter in m.voters:
        target = state.targets.get(voter.node_id)
        if target is None:
            return Code.NO_SUCH, voter.node_id
        if (target.public_key, target.control) != (voter.public_key, voter.control):
            return Code.BAD_COMMAND, voter.node_id
    state.voter_epoch, state.voters = m.voter_epoch + 1, m.voters
    return Code.OK, state.voter_epoch
