"""A client of the control plane, without sockets: every target and every gateway has one.

Watches all voters, fetches and verifies tables and settings (with `near` the tables from targets
near by, follow_tables.py), runs commands on the Raft leader with retries, and for a target holds
the lease. flexhash/client.py drives it over CURVE; the tests drive it over a simulated network.

Adopting a table (DESIGN 6): prepared -> fetch, verify the digest, acknowledge; active ->
event AdoptTable: the owner gives up the leaderships it loses, persists, switches, calls
adopted(); then the lease is renewed at once, reporting the new generation. Settings go
the same way with AdoptSettings and settings_adopted(). A notice of a later voter epoch is the
event LaterVoters: the owner finds out who votes now and calls voters_replaced().

Invariants: `generation` never goes back; a renewal never reports a table or settings that
the owner has not adopted; nothing is believed of a voter whose epoch is over.
Limits: one fetch of each kind under way, COMMANDS_MAX commands waiting (follow_commands.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from replicast.buggify import buggified, buggify
from replicast.flexhash.cluster_clock import ClusterClock
from replicast.flexhash.commands import Code
from replicast.flexhash.entries import TableError
from replicast.flexhash.follow_commands import COMMAND_NS, CommandQueue
from replicast.flexhash.follow_events import AdoptTable, Ask, LaterVoters, PreparedTable
from replicast.flexhash.follow_settings import Fetch, SettingsFollower
from replicast.flexhash.follow_tables import TargetFetch, verified
from replicast.flexhash.follow_users import UsersFollower
from replicast.flexhash.lease import LeaseHolder, LeaseReason
from replicast.flexhash.server import AGE_UNKNOWN_NS
from replicast.flexhash.table import Table
from replicast.machine import Event
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.user_messages import UsersData

WATCH_NS = SECOND
HURRY_NS = 50 * MS
RENEW_NS = SECOND
RENEW_EARLY_NS = 100 * MS  # while there is no lease
FETCH_NS = 2 * SECOND
SETTINGS_NS = SECOND
ASKED_MAX = 256
Part = SettingsFollower | UsersFollower  # followed beside the tables


class Follower:
    """`voters` are node ids; voter numbers in asks and answers are positions in it."""

    def __init__(
        self,
        node_id: int,
        voters: tuple[int, ...],
        rng: random.Random,
        counters: Counters,
        *,
        holder: LeaseHolder | None = None,
        table: Table | None = None,
        voter_epoch: int = 0,
        near: TargetFetch | None = None,
        users: UsersFollower | None = None,
    ) -> None:
        self.node_id = node_id
        self.voters, self.voter_epoch = voters, voter_epoch
        self.holder, self._near = holder, near
        self.clock = ClusterClock(len(voters))
        self.table = table
        self.settings, self.users = SettingsFollower(), users
        self.vouched: tuple[bytes, ...] | None = None  # no renewal before the owner says
        self._rng, self._counters = rng, counters
        self._asks: list[Ask] = []
        self._events: list[Event] = []
        self._sent_ns: dict[bytes, int] = {}
        self._watch_ns = [-WATCH_NS] * len(voters)
        self._proof_ns: list[int | None] = [None] * len(voters)
        self._leader = rng.randrange(len(voters))
        self._source = 0  # voter whose notice was the newest
        self._active, self._active_digest = 0, bytes(32)
        self._prepared, self._prepared_digest = 0, bytes(32)
        self._ready: Table | None = None  # fetched and verified, not adopted
        self._adopting = 0
        self._fetch = Fetch()
        self._renew_ns: int | None = None
        self._looked_ns = 0  # when tick() was called last
        self._ack_ns: int | None = None
        self.commands = CommandQueue(rng)
        if holder is not None and table is not None:
            holder.generation = table.generation

    # -- driving --------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """By deadline_ns() at the latest, and after each event."""
        self._looked_ns = now_ns
        for voter in range(len(self.voters)):
            if now_ns - self._watch_ns[voter] >= WATCH_NS:
                self._watch(voter, now_ns)
        self._pursue(now_ns)
        self._run_commands(now_ns)
        if self.holder is not None:
            self._acknowledge(now_ns)
            self._renew(now_ns)

    def deadline_ns(self) -> int:
        """When tick() has something to do again, if nothing is received or asked for before."""
        due_ns = min(self._watch_ns) + WATCH_NS
        if self.holder is not None and self.vouched is not None and not self.holder.stopped:
            if self._renew_ns is None:
                return self._looked_ns
            due_ns = min(due_ns, self._renew_ns + self._renew_period_ns(self._looked_ns))
        behind = any(part.behind or part.wants_current for part in self._parts())
        fetches = self._fetch.operation_id or (self._near is not None and self._near.waits)
        if self._adopting or fetches or behind:
            due_ns = min(due_ns, self._looked_ns + HURRY_NS)
        if self.commands or self.commands.asked is not None or self._prepared > self._active:
            due_ns = min(due_ns, self._looked_ns + HURRY_NS)
        return due_ns

    def take_asks(self) -> list[Ask]:
        """What to send; call after the events were handled."""
        asks, self._asks = self._asks, []
        return asks

    def take_events(self) -> list[Event]:
        """AdoptTable, PreparedTable, AskTarget, AdoptSettings, AdoptUsers, CommandDone, LaterVoters."""
        events, self._events = self._events, []
        return events

    def receive(self, voter: int, message: Message, operation_id: bytes, now_ns: int) -> None:
        """A message of a voter, an answer or a push."""
        sent_ns = self._sent_ns.pop(operation_id, None)
        handler = HANDLERS.get(type(message))
        if handler is None:
            self._counters.count("control_refused", "unexpected")
            return
        handler(self, voter, message, operation_id, sent_ns, now_ns)

    # -- questions ---------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Of the adopted table; 0 before the first."""
        return self.table.generation if self.table else 0

    def age_ns(self, now_ns: int) -> int:
        """Age of the freshest proof behind what is known here."""
        proofs = [p for p in self._proof_ns if p is not None]
        return max(0, now_ns - max(proofs)) if proofs else AGE_UNKNOWN_NS

    # -- what the owner says -------------------------------------------------------------------

    def adopted(self, table: Table, now_ns: int) -> None:
        """The table of the last AdoptTable is durable and in use."""
        self.table = table
        self._adopting = 0
        if self._near is not None:
            self._near.adopted(table)
        if self._ready is not None and self._ready.generation <= table.generation:
            self._ready = None
        if self.holder is not None:
            self.holder.generation = table.generation
            self._renew_ns = None

    def not_adopted(self) -> None:
        """The table of the last AdoptTable could not be stored: it is offered again."""
        self._adopting = 0

    def settings_adopted(self, version: int) -> None:
        """The settings of the last AdoptSettings are in use."""
        self.settings.adopted(version)
        self._renew_ns = None

    def voters_replaced(self, epoch: int, voters: tuple[int, ...]) -> None:
        """These vote from now on; what was known of those who stay is kept."""
        before = {node_id: number for number, node_id in enumerate(self.voters)}
        numbers = [before.get(node_id) for node_id in voters]
        leader, source = self.voters[self._leader], self.voters[self._source]
        self._watch_ns = [-WATCH_NS if n is None else self._watch_ns[n] for n in numbers]
        self._proof_ns = [None if n is None else self._proof_ns[n] for n in numbers]
        self.clock.renumber(numbers)
        self.voters, self.voter_epoch = voters, epoch
        self._leader = voters.index(leader) if leader in voters else 0
        self._source = voters.index(source) if source in voters else 0
        self._fetch = Fetch()
        for part in self._parts():
            part.ask_anew()
        if self.commands.asked is not None:
            self.commands.asked.since_ns -= COMMAND_NS  # of one who may be gone: again at once
        self._renew_ns = self._ack_ns = None

    def hurry(self, now_ns: int) -> None:
        """Something newer is known to exist: ask all voters now (at most every HURRY_NS)."""
        for voter in range(len(self.voters)):
            if now_ns - self._watch_ns[voter] >= HURRY_NS:
                self._watch(voter, now_ns)

    def hurry_current(self, part: Part, now_ns: int) -> None:
        """Ask the Raft leader; done when the current_ns of `part` is no earlier than this call."""
        part.want_current(now_ns)
        self._pursue_part(part, now_ns)

    def renew_now(self) -> None:
        """A leadership waits for a floor, or the vouched VDEVs changed: renew at the next tick."""
        self._renew_ns = None

    def submit(self, command: Message, until_ns: int) -> int | None:
        """Run a command on the leader; the token of its CommandDone, None when too many wait.
        Raises WireError, now and not at its turn, for one that cannot be encoded or is too big."""
        return self.commands.submit(command, until_ns)

    def stop(self) -> None:
        """Give the lease back, after the hand-over."""
        if self.holder is not None and not self.holder.stopped:
            self._ask(self._leader, self.holder.give_back(), None)

    # -- notices --------------------------------------------------------------------------------------

    def _watch(self, voter: int, now_ns: int) -> None:
        self._watch_ns[voter] = now_ns
        watch = cm.Watch(active=self.generation, settings_version=self.settings.version)
        self._ask(voter, watch, now_ns)

    def _on_notice(
        self, voter: int, m: cm.Notice, _id: bytes, sent_ns: int | None, now_ns: int
    ) -> None:
        if m.voter_epoch > self.voter_epoch:
            self._events.append(LaterVoters(m.voter_epoch, voter))
        elif m.voter_epoch < self.voter_epoch:
            return  # it has not heard of the end of its epoch yet
        if sent_ns is not None and m.age_ns < AGE_UNKNOWN_NS:
            proof_ns = sent_ns - m.age_ns
            known = self._proof_ns[voter]
            self._proof_ns[voter] = proof_ns if known is None else max(known, proof_ns)
        if sent_ns is not None:
            self.clock.heard(voter, sent_ns, now_ns, m.wall_ns)
        if m.leader in self.voters and m.active >= self._active:
            leader = self.voters.index(m.leader)
            if leader != self._leader:
                self._renew_ns = None  # a new one knows nobody's lease, and says no floor before
            self._leader = leader
        if m.active > self._active:
            self._active, self._active_digest = m.active, m.active_digest
            self._source = voter
        if m.prepared > self._prepared or m.prepared == self._prepared != 0:
            self._prepared, self._prepared_digest = m.prepared, m.prepared_digest
            self._source = voter
        self.settings.announced(m.settings_version)
        if self.users is not None and self.users.announced(m.users_version):
            self._source = voter
        self.settings.floor = max(self.settings.floor, m.settings_floor)
        if self.holder is not None:
            self.holder.cluster_wall_offset_ns = self.clock.offset_ns
            self.holder.raise_floor(m.floor, m.settings_floor)
        self._pursue(now_ns)

    # -- tables and settings ----------------------------------------------------------------------------

    def _pursue(self, now_ns: int) -> None:
        """Adopt what is active and here; fetch what is announced and missing."""
        if self._active > self.generation and not self._adopting:  # one after the other
            ready = self._ready
            if ready is not None and ready.digest == self._active_digest:
                self._adopting = ready.generation
                self._events.append(AdoptTable(ready))
            else:
                self._fetch_table(self._active, now_ns)
        elif self._prepared > self._active and self.holder is not None:
            ready = self._ready
            if ready is None or ready.digest != self._prepared_digest:
                self._fetch_table(self._prepared, now_ns)
        for part in self._parts():
            self._pursue_part(part, now_ns)

    def _fetch_table(self, generation: int, now_ns: int) -> None:
        if self._near is not None and not self._fetch.operation_id:
            asked = self._near.pursue(generation, self.voters, now_ns)
            if asked is not None:
                self._events.append(asked)
            if self._near.waits:
                return
        self._fetch_once(self._fetch, cm.TableGet(generation=generation), now_ns)

    def target_answered(self, message: Message, operation_id: bytes, now_ns: int) -> None:
        """What the target of an AskTarget said."""
        if self._near is not None:
            table = self._near.answered(message, operation_id, self._digests(), now_ns)
            if table is not None:
                self._took_table(table)
            self._pursue(now_ns)

    def _digests(self) -> dict[int, bytes]:
        """Of the tables that are wanted, as the voters announced them."""
        return {self._prepared: self._prepared_digest, self._active: self._active_digest}

    def _fetch_once(
        self, fetch: Fetch, message: Message, now_ns: int, patience_ns: int = FETCH_NS
    ) -> None:
        if fetch.due(now_ns, patience_ns):
            if fetch.operation_id and self._source == fetch.voter:  # no answer: ask somebody else
                self._source = (self._source + 1) % len(self.voters)
            fetch.asked(self._ask(self._source, message, now_ns), self._source, now_ns)

    def _on_table_data(
        self, voter: int, m: cm.TableData, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        digest, ready = self._digests().get(m.generation), self._ready
        here = m.generation <= self.generation or (ready is not None and ready.digest == digest)
        # A slow link takes longer than our patience; the digest proves a late answer, too.
        if operation_id == self._fetch.operation_id or not (here or digest is None):
            self._fetch.operation_id = b""
        if here or digest is None:
            return  # overtaken by a newer one
        try:
            table = verified(m, digest)
        except TableError:
            self._counters.count("control_refused", "digest_mismatch")
            self._source = (self._source + 1) % len(self.voters)
            return
        self._counters.count("tables_fetched", "voter")
        self._took_table(table)
        self._pursue(now_ns)

    def _took_table(self, table: Table) -> None:
        self._ready, self._ack_ns = table, None
        if table.generation == self._prepared > self._active and self.holder is not None:
            self._events.append(PreparedTable(table))

    def _acknowledge(self, now_ns: int) -> None:
        """Tell the leader that the prepared table is here; repeated, a leader forgets."""
        ready = self._ready
        if ready is None or ready.generation != self._prepared or self._prepared <= self._active:
            return
        if self._ack_ns is None or now_ns - self._ack_ns >= RENEW_NS:
            self._ack_ns = now_ns
            ack = cm.PrepareAck(generation=ready.generation, digest=ready.digest)
            self._ask(self._leader, ack, None)

    def _parts(self) -> tuple[Part, ...]:
        return (self.settings,) if self.users is None else (self.settings, self.users)

    def _pursue_part(self, part: Part, now_ns: int) -> None:
        if part.behind:
            self._fetch_once(part.anyone, part.question(current=False), now_ns, SETTINGS_NS)
        fetch = part.current
        if part.wants_current and fetch.due(now_ns, SETTINGS_NS):
            if fetch.operation_id:  # silence: perhaps another leads now
                self._turn(fetch.voter, 0)
            question = part.question(current=True)
            fetch.asked(self._ask(self._leader, question, now_ns), self._leader, now_ns)

    def _on_settings_data(
        self, voter: int, m: cm.SettingsData, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        self._took(self.settings, self.settings.answered(m, operation_id), voter, now_ns)

    def _on_users_data(
        self, voter: int, m: UsersData, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        if self.users is not None:
            adopt = self.users.answered(m, operation_id)
            self._took(self.users, adopt, voter, now_ns, more=m.more)

    def _took(
        self, part: Part, adopt: Event | None, voter: int, now_ns: int, *, more: bool = False
    ) -> None:
        if adopt is not None:
            self._events.append(adopt)
        if part.behind and not more:  # that voter lags: another one, after a pause
            self._source = (voter + 1) % len(self.voters)
            part.anyone.after_ns = now_ns + HURRY_NS
        self._pursue_part(part, now_ns)

    # -- lease ----------------------------------------------------------------------------------------------

    def _renew(self, now_ns: int) -> None:
        holder = self.holder
        assert holder is not None
        if holder.stopped or self.vouched is None:
            return
        if self._renew_ns is None or now_ns - self._renew_ns >= self._renew_period_ns(now_ns):
            self._renew_ns = now_ns
            renew = holder.request(now_ns, self.settings.version, self.vouched)
            self._ask(self._leader, renew, now_ns)

    def _renew_period_ns(self, now_ns: int) -> int:
        assert self.holder is not None
        period_ns = RENEW_NS if self.holder.valid(now_ns) else RENEW_EARLY_NS
        return buggified("control/renew-often", period_ns, RENEW_EARLY_NS)

    def _on_lease_grant(
        self, voter: int, m: cm.LeaseGrant, _id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        if self.holder is not None and self.holder.granted(m, now_ns):
            self._leader = voter
            if m.active > max(self._active, self._adopting):
                self.hurry(now_ns)

    def _on_lease_refused(
        self, voter: int, m: cm.LeaseRefused, _id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        if m.reason == LeaseReason.ADOPT_FIRST:
            self.settings.announced(m.settings_version)
            self.hurry(now_ns)
        self._counters.count("control_refused", "lease")

    def _on_redirect(
        self, voter: int, m: cm.Redirect, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        self._turn(voter, m.leader)
        # Asked again at the next tick, or after a pause when nobody leads yet.
        pause_ns = 0 if m.leader in self.voters else HURRY_NS
        if self.commands.answered(operation_id):
            self.commands.again(pause_ns, now_ns)
        else:
            self._ask_again(operation_id, pause_ns, now_ns)

    def _ask_again(self, operation_id: bytes, pause_ns: int, now_ns: int) -> None:
        """What the Raft leader was asked for was not given: after a pause."""
        for part in self._parts():
            if operation_id == part.current.operation_id:
                part.current.operation_id = b""
                part.current.after_ns = now_ns + pause_ns
                self._pursue_part(part, now_ns)

    def _turn(self, voter: int, leader: int) -> None:
        """`voter` does not lead; go to whom it names, else to the next one."""
        if leader in self.voters and leader != self.voters[voter]:
            self._leader = self.voters.index(leader)
        elif voter == self._leader:
            self._leader = (voter + 1) % len(self.voters)

    # -- commands -----------------------------------------------------------------------------------------------

    def _run_commands(self, now_ns: int) -> None:
        self._events += self.commands.expire(now_ns)
        asked = self.commands.due(now_ns)
        if asked is None:
            return
        if asked.operation_id in self._sent_ns:  # silence: perhaps another leads now
            self._sent_ns.pop(asked.operation_id)
            if self._leader == asked.voter:  # and nobody has told us who
                self._leader = (self._leader + 1) % len(self.voters)
        submit = self.commands.message()
        if buggify("control/command-twice"):
            self._ask(self._leader, submit, None)
        asked.operation_id = self._ask(self._leader, submit, now_ns)
        asked.since_ns, asked.voter = now_ns, self._leader

    def _on_command_result(
        self, voter: int, m: cm.CommandResult, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        if self.commands.answered(operation_id):
            self._leader = voter
            code = Code(m.code) if m.code in list(Code) else Code.BAD_COMMAND
            self._events.append(self.commands.finish(code, m.value))
            self._run_commands(now_ns)

    def _on_control_refused(
        self, voter: int, m: cm.ControlRefused, operation_id: bytes, _sent: int | None, now_ns: int
    ) -> None:
        if operation_id == self._fetch.operation_id:
            self._fetch.since_ns = now_ns - FETCH_NS + HURRY_NS
        elif self.commands.answered(operation_id):
            if m.reason == Reason.BAD_REQUEST:
                self._events.append(self.commands.finish(Code.BAD_COMMAND, 0))
            else:
                self.commands.again(HURRY_NS, now_ns)
        else:
            self._ask_again(operation_id, HURRY_NS, now_ns)

    # -- sending ----------------------------------------------------------------------------------------------------

    def _ask(self, voter: int, message: Message, now_ns: int | None) -> bytes:
        operation_id = self._rng.randbytes(16)
        if now_ns is not None:
            self._sent_ns[operation_id] = now_ns
            if len(self._sent_ns) > ASKED_MAX:
                del self._sent_ns[next(iter(self._sent_ns))]
        self._asks.append(Ask(voter, message, operation_id, self.generation))
        return operation_id


HANDLERS: dict[type[Message], Callable[[Follower, int, Any, bytes, int | None, int], None]] = {
    cm.Notice: Follower._on_notice,
    cm.TableData: Follower._on_table_data,
    cm.SettingsData: Follower._on_settings_data,
    UsersData: Follower._on_users_data,
    cm.LeaseGrant: Follower._on_lease_grant,
    cm.LeaseRefused: Follower._on_lease_refused,
    cm.Redirect: Follower._on_redirect,
    cm.CommandResult: Follower._on_command_result,
    cm.ControlRefused: Follower._on_control_refused,
}
