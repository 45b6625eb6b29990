"""A voter's side of the control plane, without sockets: requests in, replies and log entries out.

    client                              voter
      | -- WATCH (each second) ---------> |   NOTICE, and another at every change
      | -- TABLE_GET, SETTINGS_GET -----> |   TABLE_DATA, SETTINGS_DATA
      | -- USERS_GET -------------------> |   USERS_DATA; to gateways and administrators only
      | -- either with `current` -------> |   leader: the same once proved, else REDIRECT
      | -- LEASE_RENEW, PREPARE_ACK ----> |   leader: LEASE_GRANT / LEASE_REFUSED, else REDIRECT
      | -- COMMAND_SUBMIT --------------> |   leader: COMMAND_RESULT once applied, else REDIRECT
      | -- VOTERS_GET, START_GET -------> |   VOTERS_DATA, START_DATA, after a voter was replaced

flexhash/service.py drives it over CURVE and Raft, the tests over a simulated network.
A sender's node id and role come from its key; what they allow is in commands.ALLOWED.
Invariant: a CommandResult leaves only after its command was applied here; one that came behind
the end of the voter epoch was not, and is refused: its sender asks again.
Limits: COMMANDS_MAX and READS_MAX under way, WATCHERS_MAX watchers; beyond that BUSY or the
oldest goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from replicast.buggify import buggify
from replicast.flexhash.commands import ALLOWED, Code, EditKind, Role, decode_result, encode_command
from replicast.flexhash.state import STOPPING, ControlState
from replicast.flexhash.state_users import users_after
from replicast.flexhash.steward import Steward
from replicast.flexhash.succession import Succession
from replicast.flexhash.tables import TableBook
from replicast.frozen import frozen
from replicast.metrics import Counters
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError, decode
from replicast.wire.frame import NO_OPERATION
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.user_messages import UsersGet
from replicast.wire.voter_messages import ReplaceVoters, StartGet, VotersGet

COMMANDS_MAX = 1000
READS_MAX = 1000
COMMAND_NS = 5 * SECOND
WATCHERS_MAX = 8192
WATCH_NS = 5 * SECOND
AGE_UNKNOWN_NS = 1 << 62


@frozen
class Sender:
    """Where a request came from: the way back, and what the key says."""

    peer: bytes
    node_id: int
    role: Role


@frozen
class Reply:
    """One message for a peer."""

    peer: bytes
    message: Message
    operation_id: bytes
    generation: int


@dataclass(slots=True)
class Watcher:
    """Somebody who wants to hear of changes."""

    heard_ns: int
    told: tuple[int, ...]


@frozen
class Read:
    """A question for what holds now, until this leader has proved itself since."""

    sender: Sender
    operation_id: bytes
    message: cm.SettingsGet | UsersGet
    asked_ns: int


@frozen
class Standing:
    """What this voter knows of Raft now: hints, except that a led term is this node's own."""

    leading_term: int | None = None
    leader: int = 0
    term: int = 0
    has_quorum: bool = False
    age_ns: int | None = None  # of the lease of the target beside this voter
    voters: tuple[cm.VoterStatus, ...] = ()


class ControlServer:
    """One per voter."""

    def __init__(
        self,
        node_id: int,
        state: ControlState,
        book: TableBook,
        counters: Counters,
        formation: cm.ClusterInit | None = None,
    ) -> None:
        self.node_id = node_id
        self.state = state
        self.book = book
        self.steward = Steward(state, book, counters, formation)
        self.standing = Standing()
        self._counters = counters
        self._watchers: dict[bytes, Watcher] = {}
        self._replies: list[Reply] = []
        self._commands: list[tuple[int, bytes]] = []
        self._waiting: dict[int, tuple[Sender, bytes, int]] = {}
        self._reads: list[Read] = []
        self._token = 1 << 32  # apart from the steward's
        self.succession = Succession(state)

    # -- driving ----------------------------------------------------------------------

    def tick(self, now_ns: int, wall_ns: int, standing: Standing) -> None:
        """Twice a second at least, of a leader every 100 ms, and after each event."""
        self.standing = standing
        for generation in (self.state.prepared, self.state.active):
            if not self.book.check(generation):
                self._counters.count("control_refused", "digest_mismatch")
        self.steward.tick(now_ns, wall_ns, standing.leading_term)
        for token, (sender, operation_id, since_ns) in list(self._waiting.items()):
            if now_ns - since_ns >= COMMAND_NS:
                del self._waiting[token]
                self._refuse(sender, operation_id, Reason.BUSY, "outcome unknown")
        self._answer_reads(now_ns)
        self._notify(now_ns, wall_ns)

    def take_replies(self) -> list[Reply]:
        """What to send; replies first come first."""
        replies, self._replies = self._replies, []
        return replies

    def take_commands(self) -> list[tuple[int, bytes]]:
        """(token, log entry) for Raft; outcomes go to command_done()."""
        commands, self._commands = self._commands + self.steward.take_commands(), []
        return commands

    def command_done(self, token: int, result: bytes | None, now_ns: int, wall_ns: int) -> None:
        """A command was applied here, or its outcome is unknown (None)."""
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            self.steward.command_done(token, result, now_ns, wall_ns, self.standing.leading_term)
            return
        sender, operation_id, _ = waiting
        if result is None:
            self._refuse(sender, operation_id, Reason.BUSY, "outcome unknown")
            return
        code, value = decode_result(result)
        if code == Code.ENDED:
            self._refuse(sender, operation_id, Reason.NOT_READY, "the voter epoch has ended")
        else:
            self._reply(sender, operation_id, cm.CommandResult(code=code, value=value))

    def regroup(self, start: bytes) -> None:
        """The voter goes over to the next epoch, which begins with `start`: what waits is void."""
        for sender, operation_id, _ in self._waiting.values():
            self._refuse(sender, operation_id, Reason.NOT_READY, "the voters change")
        for read in self._reads:
            self._redirect(read.sender, read.operation_id)
        self._waiting, self._reads, self._commands = {}, [], []
        self.succession.began(start)
        self.standing = Standing()
        self.steward.tick(0, 0, None)

    def receive(
        self, sender: Sender, message: Message, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        """One request from a known key."""
        handler = HANDLERS.get(type(message))
        if handler is None:
            self._refuse(sender, operation_id, Reason.BAD_REQUEST, "not a request")
        else:
            handler(self, sender, message, operation_id, now_ns, wall_ns)

    # -- watching -----------------------------------------------------------------------------

    def _on_watch(
        self, sender: Sender, m: cm.Watch, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        notice = self._notice(now_ns, wall_ns)
        self._watchers.pop(sender.peer, None)
        self._watchers[sender.peer] = Watcher(now_ns, _essence(notice))
        if len(self._watchers) > WATCHERS_MAX:
            del self._watchers[next(iter(self._watchers))]
        self._reply(sender, operation_id, notice)

    def _notify(self, now_ns: int, wall_ns: int) -> None:
        notice = self._notice(now_ns, wall_ns)
        essence = _essence(notice)
        for peer, watcher in list(self._watchers.items()):
            if now_ns - watcher.heard_ns > WATCH_NS:
                del self._watchers[peer]
            elif watcher.told != essence and not buggify("control/push-late"):
                watcher.told = essence
                self._replies.append(Reply(peer, notice, NO_OPERATION, self.state.active))

    def _notice(self, now_ns: int, wall_ns: int) -> cm.Notice:
        state, granter = self.state, self.steward.granter
        leads = self.steward.started
        prepared = state.history.get(state.prepared)
        sealed = prepared is not None and bool(prepared.digest)
        active = state.history.get(state.active)
        return cm.Notice(
            leader=self.node_id if leads else self.standing.leader,
            age_ns=self._age_ns(now_ns),
            active=state.active,
            active_digest=active.digest if active else bytes(32),
            prepared=state.prepared if sealed else 0,
            prepared_digest=prepared.digest if prepared and sealed else bytes(32),
            settings_version=state.settings_version,
            floor=granter.floor(now_ns) if leads else 0,
            settings_floor=granter.settings_floor(now_ns) if leads else 0,
            wall_ns=wall_ns,
            voter_epoch=state.epoch,
            users_version=state.users_version,
        )

    def _age_ns(self, now_ns: int) -> int:
        """How old the proof is that this voter hears the cluster."""
        own = self.steward.granter.age_ns(now_ns) if self.steward.started else None
        age = own if own is not None else self.standing.age_ns
        return AGE_UNKNOWN_NS if age is None else min(age, AGE_UNKNOWN_NS)

    # -- reading ----------------------------------------------------------------------------------

    def _on_table_get(
        self, sender: Sender, m: cm.TableGet, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        reply = self.book.reply(m.generation or self.state.active)
        if reply is None or buggify("control/table-not-here"):
            self._refuse(sender, operation_id, Reason.NOT_READY, "table is not here")
        else:
            self._reply(sender, operation_id, reply)

    def _on_state_get(
        self,
        sender: Sender,
        m: cm.SettingsGet | UsersGet,
        operation_id: bytes,
        now_ns: int,
        wall_ns: int,
    ) -> None:
        """SettingsGet and UsersGet."""
        if isinstance(m, UsersGet) and sender.role not in (Role.GATEWAY, Role.ADMIN):
            self._refuse(sender, operation_id, Reason.UNAUTHORIZED, "not for targets")
        elif not m.current:
            self._give(sender, m, operation_id)
        elif self.standing.leading_term is None or buggify("control/read-redirect"):
            self._redirect(sender, operation_id)
        elif len(self._reads) >= READS_MAX:
            self._refuse(sender, operation_id, Reason.BUSY, "too many questions under way")
        else:
            self._reads.append(Read(sender, operation_id, m, now_ns))
            self.steward.prove_soon(now_ns)

    def _answer_reads(self, now_ns: int) -> None:
        """Who was deposed may not know it. But when something that was proposed here after the
        question commits, all that was acknowledged before the question is applied here."""
        proof_ns = self.steward.granter.proof_ns
        waiting, self._reads = self._reads, []
        for read in waiting:
            if self.standing.leading_term is None:
                self._redirect(read.sender, read.operation_id)
            elif proof_ns is not None and proof_ns >= read.asked_ns:
                self._give(read.sender, read.message, read.operation_id)
            elif now_ns - read.asked_ns >= COMMAND_NS:
                self._refuse(read.sender, read.operation_id, Reason.BUSY, "no quorum answers")
            else:
                self._reads.append(read)

    def _give(self, sender: Sender, m: cm.SettingsGet | UsersGet, operation_id: bytes) -> None:
        state = self.state
        if isinstance(m, UsersGet):
            users = users_after(state.users, state.users_version, m.after)
            self._reply(sender, operation_id, users)
            return
        changed = m.have_version != state.settings_version
        reply = cm.SettingsData(
            version=state.settings_version,
            changed=changed,
            buckets=tuple(state.buckets.values()) if changed else (),
            settings=tuple(cm.Setting(key=k, value=v) for k, v in state.settings.items())
            if changed
            else (),
        )
        self._reply(sender, operation_id, reply)

    def _on_status_get(
        self, sender: Sender, m: cm.StatusGet, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        self._reply(sender, operation_id, self.status(now_ns))

    def status(self, now_ns: int) -> cm.StatusData:
        """What `replicast status` shows of the control plane."""
        state, standing = self.state, self.standing
        leases = self.steward.granter.records if self.steward.started else {}
        return cm.StatusData(
            cluster_id=state.cluster_id,
            segment_id=state.segment_id,
            node_id=self.node_id,
            leader=self.node_id if self.steward.started else standing.leader,
            voter_epoch=state.group_epoch,
            term=standing.term,
            has_quorum=standing.has_quorum,
            age_ns=self._age_ns(now_ns),
            active=state.active,
            prepared=state.prepared,
            pending_count=len(state.edits) + len(state.emptied),
            settings_version=state.settings_version,
            freeze_until_wall_ns=state.freeze_until_wall_ns,
            expected_targets=state.expected_targets,
            targets=tuple(state.targets.values()),
            vdevs=tuple(state.vdevs.values()),
            leases=tuple(
                cm.LeaseStatus(
                    node_id=node,
                    remaining_ns=max(0, r.lease_until_ns - now_ns),
                    adopted=r.adopted,
                    fenced=r.fenced,
                )
                for node, r in sorted(leases.items())
            ),
            voters=standing.voters,
        )

    def _on_keys_get(
        self, sender: Sender, m: cm.KeysGet, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        if sender.role != Role.ADMIN:
            self._refuse(sender, operation_id, Reason.UNAUTHORIZED, "administrators only")
        else:
            self._reply(sender, operation_id, cm.KeysData(keys=tuple(self.state.keys.values())))

    def _on_succession(
        self, sender: Sender, m: Message, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        """VotersGet and StartGet."""
        answer = self.succession.answer(m, sender.node_id)
        if isinstance(answer, Reason):
            self._refuse(sender, operation_id, answer, "no later voters are known here")
        else:
            self._reply(sender, operation_id, answer)

    # -- for the leader -------------------------------------------------------------------------------

    def _on_lease_renew(
        self, sender: Sender, m: cm.LeaseRenew, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        if sender.role not in (Role.TARGET, Role.VOTER):
            self._refuse(sender, operation_id, Reason.UNAUTHORIZED, "targets only")
        elif not self.steward.started or buggify("control/redirect"):
            self._redirect(sender, operation_id)
        else:
            reply = self.steward.renew(sender.node_id, m, now_ns, wall_ns)
            self._reply(sender, operation_id, reply)

    def _on_prepare_ack(
        self, sender: Sender, m: cm.PrepareAck, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        if sender.role in (Role.TARGET, Role.VOTER) and self.steward.started:
            self.steward.acked(sender.node_id, m)

    def _on_command_submit(
        self, sender: Sender, m: cm.CommandSubmit, operation_id: bytes, now_ns: int, wall_ns: int
    ) -> None:
        if self.standing.leading_term is None:
            self._redirect(sender, operation_id)
            return
        if len(self._waiting) >= COMMANDS_MAX:
            self._refuse(sender, operation_id, Reason.BUSY, "too many commands under way")
            return
        try:
            command = decode(m.kind, m.body)
        except WireError as error:
            self._refuse(sender, operation_id, Reason.BAD_REQUEST, error.reason)
            return
        if not self._allowed(sender, command):
            self._counters.count("control_refused", "forbidden")
            result = cm.CommandResult(code=Code.FORBIDDEN, value=0)
            self._reply(sender, operation_id, result)
            return
        if isinstance(command, ReplaceVoters):
            before = [voter.node_id for voter in self.standing.voters]
            code = self.succession.objection(command, before, self.steward.granter, now_ns)
            if code is not None:
                self._reply(sender, operation_id, cm.CommandResult(code=code, value=0))
                return
        self._token += 1
        self._waiting[self._token] = (sender, operation_id, now_ns)
        client = _client_key(sender.node_id, m.client)
        self._commands.append((self._token, encode_command(command, client, m.sequence)))

    def _allowed(self, sender: Sender, command: Message) -> bool:
        """Whether that role may send that command, about that target or VDEV."""
        if not isinstance(command, ALLOWED[sender.role]):
            return False
        if sender.role == Role.ADMIN:
            return True
        if isinstance(command, cm.TargetJoin):
            return command.target.node_id == sender.node_id
        if isinstance(command, cm.VdevJoin):
            return command.target == sender.node_id
        if isinstance(command, cm.VdevStates):
            mine = [self._may_stop(sender, change) for change in command.changes]
            return bool(mine) and all(mine)
        if isinstance(command, cm.RowsChange) and command.kind == EditKind.LEAD:
            return False  # the steward's
        if isinstance(command, cm.RowsChange | cm.RowsEmptied):
            own = command.by if isinstance(command, cm.RowsChange) else command.vdev
            vdev = self.state.vdevs.get(own)
            return vdev is not None and vdev.target == sender.node_id
        return True

    def _may_stop(self, sender: Sender, change: cm.VdevChange) -> bool:
        """A target says of its own VDEVs that they are about to go, and nothing else."""
        vdev = self.state.vdevs.get(change.index)
        own = vdev is not None and vdev.target == sender.node_id
        return own and change.state == STOPPING

    # -- replying -----------------------------------------------------------------------------------------

    def _reply(self, sender: Sender, operation_id: bytes, message: Message) -> None:
        self._replies.append(Reply(sender.peer, message, operation_id, self.state.active))

    def _redirect(self, sender: Sender, operation_id: bytes) -> None:
        # Naming itself while not yet proven would only make the client turn in a circle.
        leader = self.standing.leader
        self._reply(sender, operation_id, cm.Redirect(leader=leader))

    def _refuse(self, sender: Sender, operation_id: bytes, reason: Reason, detail: str) -> None:
        self._counters.count("control_refused", reason.name.lower())
        self._reply(sender, operation_id, cm.ControlRefused(reason=reason, detail=detail))


def _essence(notice: cm.Notice) -> tuple[int, ...]:
    """What makes a notice worth pushing."""
    return (
        notice.leader,
        notice.active,
        notice.prepared,
        notice.settings_version,
        notice.floor,
        notice.settings_floor,
        notice.voter_epoch,
        notice.users_version,
    )


def _client_key(node_id: int, client: int) -> int:
    """Clients of different nodes never share an entry, whatever number they choose."""
    parts = node_id.to_bytes(8, "big") + client.to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(parts, digest_size=8).digest(), "big") | 1


HANDLERS: dict[type[Message], Callable[[ControlServer, Sender, Any, bytes, int, int], None]] = {
    cm.Watch: ControlServer._on_watch,
    cm.TableGet: ControlServer._on_table_get,
    cm.SettingsGet: ControlServer._on_state_get,
    UsersGet: ControlServer._on_state_get,
    cm.StatusGet: ControlServer._on_status_get,
    cm.KeysGet: ControlServer._on_keys_get,
    cm.LeaseRenew: ControlServer._on_lease_renew,
    cm.PrepareAck: ControlServer._on_prepare_ack,
    cm.CommandSubmit: ControlServer._on_command_submit,
    VotersGet: ControlServer._on_succession,
    StartGet: ControlServer._on_succession,
}
