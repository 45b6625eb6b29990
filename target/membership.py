"""What a target daemon reads from its folder at start, and who it lets speak to it.

The folder is written by `replicast cluster join` (replicast/joining.py). Later
members are known from the adopted table, and on voters from the replicated keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from replicast.auth.keyring import KeyRing
from replicast.flexhash.entries import Policy, TargetEntry
from replicast.flexhash.table import Table
from replicast.flexhash.voters import VoterSet, formed_voters
from replicast.formation import (
    CLUSTER_KEY_FILE,
    NODE_KEY_FILE,
    Formation,
    Member,
    load_cluster_file,
    load_formation,
)
from replicast.keys import Identity, KeyPair, Role, load_cluster_keys, load_key_pair
from replicast.wire.control_messages import ClusterInit, PolicyInfo

RECOVERY_EPOCH = 1


@dataclass(frozen=True, slots=True)
class Membership:
    """This node's place in its cluster."""

    directory: Path
    formation: Formation
    me: Member
    key_pair: KeyPair
    keys: KeyRing

    def entry(self) -> TargetEntry:
        """What the table says of this target."""
        me = self.me
        return TargetEntry(
            node_id=me.node_id,
            name=me.name,
            host=me.host,
            zone=me.zone,
            udp=me.udp,
            peer=me.peer,
            control=me.control,
            public_key=me.public_key,
            metrics=me.metrics,
        )

    def formed_voters(self) -> VoterSet:
        """Who voted first; replaced voters are in voters.toml."""
        return formed_voters(self.formation.voter_epoch, self.formation.voter_members())

    def policy(self) -> Policy:
        """The table's policy."""
        p = self.formation.parameters
        return Policy(
            row_count=p.row_count,
            group_size=p.group_size,
            copies=p.copies,
            min_copies=p.min_copies,
            algorithm=p.algorithm,
        )

    def cluster_init(self) -> ClusterInit:
        """The first command of the Raft group."""
        p = self.policy()
        return ClusterInit(
            cluster_id=self.formation.cluster_id,
            segment_id=self.formation.segment_id,
            recovery_epoch=RECOVERY_EPOCH,
            expected_targets=len(self.formation.of_role(Role.TARGET)),
            policy=PolicyInfo(
                row_count=p.row_count,
                group_size=p.group_size,
                copies=p.copies,
                min_copies=p.min_copies,
                algorithm=p.algorithm,
            ),
        )


def load_membership(directory: Path) -> Membership:
    """Read the folder; raises FormationError or KeyFileError naming file and cause."""
    formation = load_formation(directory)
    node_id = load_cluster_file(directory).node_id
    keys = load_cluster_keys(directory / CLUSTER_KEY_FILE)
    return Membership(
        directory=directory,
        formation=formation,
        me=formation.member(node_id),
        key_pair=load_key_pair(directory / NODE_KEY_FILE),
        keys=KeyRing(formation.cluster_id, keys.current, keys.keys),
    )


class Doorkeeper:
    """`allow` for CURVE servers: members of the formation, and targets of the newest table."""

    def __init__(self, formation: Formation) -> None:
        self._formed = {m.public_key: Identity(m.node_id, Role(m.role)) for m in formation.members}
        self._table: dict[str, Identity] = {}

    def __call__(self, public_key: str) -> Identity | None:
        return self._formed.get(public_key) or self._table.get(public_key)

    def update(self, table: Table) -> None:
        """Targets that joined later."""
        self._table = {
            t.public_key: Identity(t.node_id, Role.TARGET) for t in table.targets.values()
        }
