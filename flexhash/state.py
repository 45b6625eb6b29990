"""The replicated state of the control plane: what Raft agrees on, and nothing else.

apply(entry) is deterministic, never raises, reads no clock and builds no table:
the log carries inputs. Changes gather as pending; Prepare freezes them as the
inputs of the next generation, every voter builds the table outside
(replicast.flexhash.inputs), Seal records its digest, Activate makes it the
cluster's. flexhash/steward.py proposes those; flexhash/raft drives apply().
ReplaceVoters is the last command that the log of a voter epoch applies (flexhash/voters.py).

Invariants: generations count up by one and a number is never used twice; at most
one generation is prepared and not active; the inputs of the active and the prepared
one, and of a few before, are kept, so that a voter can build on an older table.
Limits: every collection is bounded; FULL is the answer beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replicast.flexhash.commands import (
    Code,
    Command,
    EditKind,
    Role,
    decode_command,
    encode_result,
)
from replicast.flexhash.entries import (
    ALGORITHM_VERSION,
    COPIES_MAX,
    GROUP_SIZE_MAX,
    TARGET_COUNT_MAX,
)
from replicast.flexhash.snapshot import pack, unpack
from replicast.flexhash.state_settings import (
    bucket_create,
    bucket_delete_begin,
    bucket_delete_end,
    bucket_encryption,
    bucket_versioning,
    setting_set,
)
from replicast.flexhash.state_users import user_create, user_rotate, user_state_set
from replicast.flexhash.voters import end_epoch
from replicast.generation import make_generation
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketEncryptionSet,
    BucketVersioning,
)
from replicast.wire.codec import WireError
from replicast.wire.schema import Message
from replicast.wire.user_messages import UserCreate, UserInfo, UserRotate, UserStateSet
from replicast.wire.voter_messages import ReplaceVoters

Result = tuple[Code, int]
CLIENTS_MAX = 8192
EDITS_MAX = 60_000
HISTORY_MAX = 8
KEYS_MAX = 16_384
TOKENS_MAX = 4096
VDEV_INDEX_MAX = 65_000
FREEZE_NS_MAX = 300 * 1_000_000_000
NO_POLICY = cm.PolicyInfo(row_count=0, group_size=0, copies=0, min_copies=0, algorithm=0)
# VdevState of the table, as numbers: the wire knows nothing of FlexHash.
UP, DOWN, DRAINING, OUT, STOPPING = 1, 2, 3, 4, 5
SERVING = (UP, DOWN, STOPPING)  # may be added to rows
TRANSITIONS = {
    (UP, DOWN), (DOWN, UP), (UP, DRAINING), (DOWN, DRAINING), (DRAINING, UP),
    (UP, OUT), (DOWN, OUT), (DRAINING, OUT),
    (UP, STOPPING), (STOPPING, DOWN), (STOPPING, DRAINING), (STOPPING, OUT),
}  # fmt: skip


class ControlState:
    """One replica's state. Fields are read freely, changed only by apply() and restore()."""

    def __init__(self, group_epoch: int = 0) -> None:
        self.group_epoch = group_epoch  # of the Raft group that applies here; not replicated
        self.voter_epoch = 0  # 0: as formed
        self.voters: tuple[cm.VoterInfo, ...] = ()  # of that epoch
        self.cluster_id = bytes(16)
        self.segment_id = self.recovery_epoch = self.expected_targets = 0
        self.policy = NO_POLICY
        self.last_generation = self.active = self.prepared = 0
        self.change_count = self.frozen_count = 0
        self.settings_version = 0
        self.removed_version = 0  # settings version of the newest removal of a bucket
        self.freeze_until_wall_ns = self.lease_bound_wall_ns = 0
        self.noop_term = self.noop_number = 0
        self.vdev_index_last = 0
        self.targets: dict[int, cm.TargetInfo] = {}
        self.vdevs: dict[int, cm.VdevInfo] = {}
        self.index_of: dict[bytes, int] = {}
        self.edits: dict[cm.RowEdit, None] = {}
        self.emptied: dict[cm.RowEdit, None] = {}
        self.damaged: dict[int, None] = {}
        self.history: dict[int, cm.InputsInfo] = {}
        self.buckets: dict[tuple[str, str], cm.BucketInfo] = {}
        self.settings: dict[str, str] = {}
        self.users_version = 0
        self.users: dict[str, UserInfo] = {}  # by name, in the order of their last changes
        self.user_of_key: dict[str, str] = {}
        self.keys: dict[str, cm.KeyInfo] = {}
        self.tokens: dict[bytes, cm.TokenInfo] = {}
        self.clients: dict[int, cm.ClientInfo] = {}

    # -- applying ------------------------------------------------------------------

    def apply(self, entry: bytes) -> bytes:
        """Run one log entry; returns an encoded result."""
        try:
            command = decode_command(entry)
        except WireError:
            return encode_result(Code.BAD_COMMAND)
        return encode_result(*self.run(command))

    def run(self, command: Command) -> Result:
        """Run one decoded command, exactly once per (client, sequence)."""
        known = self.clients.get(command.client)
        if known and command.sequence <= known.sequence:
            if command.sequence == known.sequence:
                return Code(known.code), known.value
            return Code.OLD_SEQUENCE, 0
        if self.ended:
            return Code.ENDED, self.voter_epoch
        result = HANDLERS[type(command.message)](self, command.message)
        if command.client:
            self._remember(command, result)
        return result

    def _remember(self, command: Command, result: Result) -> None:
        self.clients.pop(command.client, None)
        self.clients[command.client] = cm.ClientInfo(
            client=command.client, sequence=command.sequence, code=result[0], value=result[1]
        )
        if len(self.clients) > CLIENTS_MAX:
            del self.clients[next(iter(self.clients))]

    # -- questions -----------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The voter epoch that goes on."""
        return max(self.voter_epoch, self.group_epoch)

    @property
    def ended(self) -> bool:
        """Has this group's epoch ended? Then nothing changes any more."""
        return self.voter_epoch > self.group_epoch

    @property
    def next_generation(self) -> int:
        """The number that the next Prepare must name."""
        return max(self.last_generation, make_generation(self.recovery_epoch, 0)) + 1

    @property
    def pending(self) -> bool:
        """True when something waits for a new generation."""
        return self.change_count != self.frozen_count

    def formed(self) -> bool:
        """True when the expected targets and all VDEVs that they announced are registered."""
        if not self.policy.row_count or len(self.targets) < self.expected_targets:
            return False
        present = dict.fromkeys(self.targets, 0)
        for vdev in self.vdevs.values():
            if vdev.target in present and vdev.state != OUT:
                present[vdev.target] += 1
        return all(present[t.node_id] >= t.vdev_count for t in self.targets.values())

    # -- cluster and generations ---------------------------------------------------

    def _cluster_init(self, m: cm.ClusterInit) -> Result:
        if self.policy.row_count:
            same = (self.cluster_id, self.policy) == (m.cluster_id, m.policy)
            return (Code.OK if same else Code.EXISTS), 0
        p = m.policy
        if not 0 < p.row_count <= 1 << 16 or p.row_count & (p.row_count - 1):
            return Code.BAD_COMMAND, 0
        if not 1 <= p.min_copies <= p.copies <= min(p.group_size, COPIES_MAX):
            return Code.BAD_COMMAND, 0
        if p.group_size > GROUP_SIZE_MAX or p.algorithm != ALGORITHM_VERSION:
            return Code.BAD_COMMAND, 0
        self.cluster_id, self.segment_id, self.policy = m.cluster_id, m.segment_id, p
        self.recovery_epoch, self.expected_targets = m.recovery_epoch, m.expected_targets
        self.change_count += 1
        return Code.OK, 0

    def _prepare(self, m: cm.Prepare) -> Result:
        if self.prepared or m.generation != self.next_generation or not self.pending:
            return Code.CONFLICT, self.next_generation
        if not self.active and not self.formed():
            return Code.NOT_FORMED, 0
        self.history[m.generation] = cm.InputsInfo(
            generation=m.generation,
            previous=self.active,
            targets=tuple(self.targets[k] for k in sorted(self.targets)),
            vdevs=tuple(self.vdevs[k] for k in sorted(self.vdevs)),
            edits=tuple(self.edits),
            emptied=tuple(self.emptied),
            damaged=tuple(self.damaged),
            digest=b"",
        )
        while len(self.history) > HISTORY_MAX:
            del self.history[next(iter(self.history))]
        self.edits, self.emptied, self.damaged = {}, {}, {}
        self.last_generation = self.prepared = m.generation
        self.frozen_count = self.change_count
        return Code.OK, m.generation

    def _seal(self, m: cm.Seal) -> Result:
        if m.generation != self.prepared:
            return Code.CONFLICT, self.prepared
        inputs = self.history[m.generation]
        if inputs.digest and inputs.digest != m.digest:
            return Code.CONFLICT, m.generation
        self.history[m.generation] = replace(inputs, digest=m.digest)
        return Code.OK, m.generation

    def _activate(self, m: cm.Activate) -> Result:
        if m.generation == self.active:
            return Code.OK, m.generation
        if m.generation != self.prepared or not self.history[m.generation].digest:
            return Code.CONFLICT, self.prepared
        self.active, self.prepared = m.generation, 0
        return Code.OK, m.generation

    def _abort(self, m: cm.Abort) -> Result:
        if m.generation != self.prepared:
            return Code.CONFLICT, self.prepared
        dropped = self.history.pop(m.generation)
        self.edits = dict.fromkeys((*dropped.edits, *self.edits))
        self.emptied = dict.fromkeys((*dropped.emptied, *self.emptied))
        for index in (*dropped.damaged, *self.damaged):
            self._lost(index)
        self.prepared = 0
        self.change_count += 1
        return Code.OK, m.generation

    def _noop(self, m: cm.Noop) -> Result:
        self.noop_term, self.noop_number = m.term, m.number
        return Code.OK, m.number

    def _freeze(self, m: cm.Freeze) -> Result:
        if m.until_wall_ns > m.now_wall_ns + FREEZE_NS_MAX:
            return Code.BAD_COMMAND, 0
        # Leases granted under it run on when a freeze is ended early.
        self.lease_bound_wall_ns = max(self.lease_bound_wall_ns, m.until_wall_ns)
        self.freeze_until_wall_ns = m.until_wall_ns
        return Code.OK, m.until_wall_ns

    # -- targets and VDEVs ---------------------------------------------------------

    def _target_join(self, m: cm.TargetJoin) -> Result:
        info = m.target
        if not info.node_id or not info.name or not info.host:
            return Code.BAD_COMMAND, 0
        if info.node_id not in self.targets and len(self.targets) >= TARGET_COUNT_MAX:
            return Code.FULL, 0
        if self.targets.get(info.node_id) != info:
            self.targets[info.node_id] = info
            self.change_count += 1
        return Code.OK, info.node_id

    def _vdev_join(self, m: cm.VdevJoin) -> Result:
        """The value is the generation that takes account of this open: serve it no earlier."""
        if m.target not in self.targets or not m.weight:
            return Code.NO_SUCH, 0
        index = self.index_of.get(m.vdev_id)
        if index is None:
            return self._new_vdev(m)
        known = self.vdevs[index]
        if (m.open_count, m.opener) == (known.open_count, known.opener):
            return Code.OK, self._covering_generation()  # a repeated report of the same open
        if m.target == known.target and m.opener < known.opener:
            return Code.CONFLICT, 0  # of a process that has ended, long on its way
        # An uncounted open has written nothing since the one that it continues.
        newer = m.open_count + m.uncounted > known.open_count
        if m.damaged or not newer or known.state == OUT:
            self._lost(index)
        for edit in [e for e in self.edits if e.by == index]:
            del self.edits[edit]  # its submitter has forgotten it
        self.vdevs[index] = replace(
            known,
            target=m.target,
            weight=m.weight,
            open_count=m.open_count,
            opener=m.opener,
            state=DRAINING if known.state == DRAINING else _state_opened(m),
        )
        self.change_count += 1
        return Code.OK, self.next_generation

    def _lost(self, index: int) -> None:
        """Rolled back, cloned, damaged or given up: in sync for no row, whoever asked for it."""
        self.damaged[index] = None
        adds = [e for e in self.edits if e.vdev == index and e.kind == EditKind.ADD]
        for edit in adds:
            del self.edits[edit]

    def _covering_generation(self) -> int:
        """The generation that contains all that is known now."""
        return self.next_generation if self.pending else self.prepared or self.active

    def _new_vdev(self, m: cm.VdevJoin) -> Result:
        mine = sum(v.target == m.target and v.state != OUT for v in self.vdevs.values())
        if self.vdev_index_last >= VDEV_INDEX_MAX or mine >= cm.VDEVS_PER_TARGET_MAX:
            return Code.FULL, 0
        self.vdev_index_last += 1
        index = self.vdev_index_last
        self.vdevs[index] = cm.VdevInfo(
            index=index,
            vdev_id=m.vdev_id,
            target=m.target,
            weight=m.weight,
            state=_state_opened(m),
            open_count=m.open_count,
            opener=m.opener,
        )
        self.index_of[m.vdev_id] = index
        self.change_count += 1
        return Code.OK, self.next_generation

    def _vdev_states(self, m: cm.VdevStates) -> Result:
        changed = 0
        for change in m.changes:
            known = self.vdevs.get(change.index)
            if known is None or known.open_count != change.open_count:
                continue
            if (known.state, change.state) in TRANSITIONS:
                self.vdevs[change.index] = replace(known, state=change.state)
                changed += 1
        self.change_count += changed > 0
        return (Code.OK if changed else Code.CONFLICT), changed

    # -- rows ----------------------------------------------------------------------

    def _rows_change(self, m: cm.RowsChange) -> Result:
        vdev = self.vdevs.get(m.vdev)
        if m.kind not in list(EditKind):
            return Code.BAD_COMMAND, 0
        by = self.vdevs.get(m.by)
        if vdev is None or by is None:
            return Code.NO_SUCH, 0
        if by.open_count != m.by_open_count:
            return Code.CONFLICT, 0
        same_open = vdev.open_count == m.open_count
        if m.kind != EditKind.REMOVE and not (same_open and vdev.state in SERVING):
            return Code.CONFLICT, 0
        edits = [cm.RowEdit(row=r, vdev=m.vdev, kind=m.kind, seen=m.seen, by=m.by) for r in m.rows]
        return self._gather(self.edits, edits)

    def _rows_emptied(self, m: cm.RowsEmptied) -> Result:
        if m.vdev not in self.vdevs:
            return Code.NO_SUCH, 0
        edits = [cm.RowEdit(row=r, vdev=m.vdev, kind=0, seen=m.seen, by=m.vdev) for r in m.rows]
        return self._gather(self.emptied, edits)

    def _gather(self, into: dict[cm.RowEdit, None], edits: list[cm.RowEdit]) -> Result:
        """Keep `edits` for the next generation; its number says when the outcome is known."""
        if not self.active:
            return Code.NOT_FORMED, 0
        if any(e.row >= self.policy.row_count for e in edits):
            return Code.BAD_COMMAND, 0
        if len(into) + len(edits) > EDITS_MAX:
            return Code.FULL, 0
        into.update(dict.fromkeys(edits))
        self.change_count += bool(edits)
        return Code.OK, self.next_generation

    # -- keys and tokens -----------------------------------------------------------

    def _key_allow(self, m: cm.KeyAllow) -> Result:
        return self._allow(m.key)

    def _allow(self, key: cm.KeyInfo) -> Result:
        if key.role not in list(Role) or len(key.public_key) != 40:
            return Code.BAD_COMMAND, 0
        if key.public_key not in self.keys and len(self.keys) >= KEYS_MAX:
            return Code.FULL, 0
        self.keys[key.public_key] = key
        return Code.OK, key.node_id

    def _key_revoke(self, m: cm.KeyRevoke) -> Result:
        # Also for keys that only the formation document knows: the mark overrides it.
        known = self.keys.get(m.public_key)
        node_id, name = (known.node_id, known.name) if known else (0, "")
        return self._allow(
            cm.KeyInfo(public_key=m.public_key, node_id=node_id, role=Role.REVOKED, name=name)
        )

    def _token_add(self, m: cm.TokenAdd) -> Result:
        if m.token_hash in self.tokens:
            return Code.EXISTS, 0
        if len(self.tokens) >= TOKENS_MAX:
            used = next((k for k, t in self.tokens.items() if t.used), None)
            if used is None:
                return Code.FULL, 0
            del self.tokens[used]
        self.tokens[m.token_hash] = cm.TokenInfo(token_hash=m.token_hash, role=m.role, used=False)
        return Code.OK, 0

    def _token_use(self, m: cm.TokenUse) -> Result:
        token = self.tokens.get(m.token_hash)
        if token is None or token.role != m.key.role:
            return Code.NO_SUCH, 0
        if token.used:
            return Code.CONFLICT, 0
        result = self._allow(m.key)
        if result[0] == Code.OK:
            self.tokens[m.token_hash] = replace(token, used=True)
        return result

    # -- snapshot ------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The canonical bytes of the whole state."""
        return pack(vars(self))

    def restore(self, data: bytes) -> None:
        """Become what `data` says; raises WireError when it is no snapshot of this version."""
        vars(self).update(unpack(data))
        self.index_of = {v.vdev_id: i for i, v in self.vdevs.items()}
        self.user_of_key = {u.key_id: name for name, u in self.users.items()}


def _state_opened(m: cm.VdevJoin) -> int:
    """Nobody vouches for a VDEV that takes no writes: it is up when an open was counted."""
    return DOWN if m.uncounted else UP


HANDLERS: dict[type[Message], Callable[[ControlState, Any], Result]] = {
    cm.ClusterInit: ControlState._cluster_init,
    cm.TargetJoin: ControlState._target_join,
    cm.VdevJoin: ControlState._vdev_join,
    cm.VdevStates: ControlState._vdev_states,
    cm.RowsChange: ControlState._rows_change,
    cm.RowsEmptied: ControlState._rows_emptied,
    cm.Prepare: ControlState._prepare,
    cm.Seal: ControlState._seal,
    cm.Activate: ControlState._activate,
    cm.Abort: ControlState._abort,
    cm.Noop: ControlState._noop,
    cm.Freeze: ControlState._freeze,
    cm.KeyAllow: ControlState._key_allow,
    cm.KeyRevoke: ControlState._key_revoke,
    cm.TokenAdd: ControlState._token_add,
    cm.TokenUse: ControlState._token_use,
    BucketCreate: bucket_create,
    BucketDeleteBegin: bucket_delete_begin,
    BucketDeleteEnd: bucket_delete_end,
    BucketVersioning: bucket_versioning,
    BucketEncryptionSet: bucket_encryption,
    cm.SettingSet: setting_set,
    UserCreate: user_create,
    UserStateSet: user_state_set,
    UserRotate: user_rotate,
    ReplaceVoters: end_epoch,
}
