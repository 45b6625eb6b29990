"""The configuration master's hands: what the Raft leader proposes, and when.

    each second, or asked  Noop: proof of authority, backs every lease and answer of now
    changes pending        Prepare (gathered GATHER_NS, at most one per SPACING_NS)
    prepared, built        Seal with the digest
    acknowledged           Activate, when every target whose lease may still be valid has
    lease surely ended     VdevStates down; up again when vouched for under a lease
    nothing else to do     RowsChange LEAD: rows away from wrong clocks, or back to who should
                           lead them (balance.py)

A voter's shell calls tick() every 50 or 100 ms and after each event, hands the commands
to Raft and their outcomes back. Outcomes may stay unknown: every command is
compare-and-set against the state, so a repetition is harmless.

A leader whose proofs take long (a slow link or disk of its own) grants leases that hardly reach
anybody: after SLOW_PROOFS in a row it wants another voter to lead, take_hand_over(). Each new term
costs the time of an election and of a lease in which nobody is ruled out, and the next leader may be
as slow. So one that did so and leads again keeps its term for HAND_OVER_NS first.

Invariants: nothing is proposed and no lease granted unless this node leads the term
and a no-op of it has committed; in a new term nobody is ruled out before one lease has
passed. Everything known of targets (leases, acknowledgements) dies with the term.
"""

from __future__ import annotations

from replicast.buggify import buggified
from replicast.flexhash.balance import Balancer
from replicast.flexhash.commands import STEWARD_CLIENT, Code, decode_result, encode_command
from replicast.flexhash.lease import LEASE_NS, MAX_SKEW_NS, LeaseGranter, LeaseReason
from replicast.flexhash.state import DOWN, STOPPING, UP, ControlState
from replicast.flexhash.tables import TableBook
from replicast.metrics import Counters
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.schema import Message

NOOP_NS = SECOND
GATHER_NS = 50 * MS
SPACING_NS = 50 * MS
JUDGE_NS = 100 * MS
RETRY_NS = SECOND
ABORTED_NS = 5 * SECOND
CHANGES_MAX = 1000
SLOW_PROOF_NS, SLOW_PROOFS = LEASE_NS // 4, 2
HAND_OVER_NS, HAND_OVER_AGAIN_NS = 60 * SECOND, 5 * SECOND  # until the next; within one term


class Steward:
    """One per voter; idle unless it leads."""

    def __init__(
        self,
        state: ControlState,
        book: TableBook,
        counters: Counters,
        formation: cm.ClusterInit | None = None,
    ) -> None:
        self._formation = formation
        self._state = state
        self._book = book
        self._counters = counters
        self.term: int | None = None
        self._hand_over: tuple[int | None, int] | None = None  # the last one: of which term, when
        self._reset(None)
        self._token = 0
        self._asked_ns = 0  # newest question that only a proof can answer
        self.told = 0  # messages so far that may give tick() something to do

    def _reset(self, term: int | None) -> None:
        self.term = term
        self.granter = LeaseGranter()
        self.balancer = Balancer()
        self.started = False
        self._commands: list[tuple[int, bytes]] = []
        self._noops: dict[int, int] = {}  # token -> proposed at
        self._noop_ns: int | None = None
        self._slow_proofs = 0  # in a row
        self._tried_ns: dict[str, int] = {}  # what is under way, since when
        self._tokens: dict[int, str] = {}
        self._pending_ns: int | None = None
        self._prepare_after_ns = 0
        self._acks: dict[int, bytes] = {}
        self._ack_generation = 0
        self._vdev_seen: dict[int, tuple[int, int]] = {}  # open count, first seen
        self._judge_after_ns = 0

    # -- driving --------------------------------------------------------------------------

    def tick(self, now_ns: int, wall_ns: int, leading_term: int | None) -> None:
        """Look at the state and propose what it needs; `leading_term` is None for a follower."""
        if leading_term != self.term:
            self._reset(leading_term)
        if leading_term is None or self._state.ended:
            return
        late = self._noop_ns is None or now_ns - self._noop_ns >= NOOP_NS
        if late or (self._asked_ns > (self._noop_ns or 0) and not self._noops):
            self._propose_noop(now_ns)
        if not self.started:
            return
        state = self._state
        if self._formation and not state.policy.row_count and not self._busy("init", now_ns):
            self._propose("init", self._formation, now_ns)
        self.granter.observe(sorted(state.targets), state.active, state.settings_version, now_ns)
        if wall_ns >= state.freeze_until_wall_ns:
            self._judge_vdevs(now_ns)
            self._balance(now_ns)
        self._advance_generation(now_ns)

    def take_commands(self) -> list[tuple[int, bytes]]:
        """(token, log entry) to hand to Raft; the outcome goes to command_done()."""
        commands, self._commands = self._commands, []
        return commands

    def command_done(
        self, token: int, result: bytes | None, now_ns: int, wall_ns: int, leading_term: int | None
    ) -> None:
        """`result` of an applied command (None: unknown), and the term led at this moment.

        Only a command both proposed and applied under one leadership proves anything.
        """
        if leading_term is None or leading_term != self.term:
            return
        proposed_ns = self._noops.pop(token, None)
        if proposed_ns is not None and result is not None and decode_result(result)[0] == Code.OK:
            self._proved(
                proposed_ns, now_ns, wall_ns
            )  # behind the end of an epoch it proves nothing
        what = self._tokens.pop(token, None)
        if what is not None and result is not None:
            self._tried_ns.pop(what, None)
            code, _ = decode_result(result)
            if code != Code.OK:
                self._counters.count("control_refused", code.name.lower())

    def _proved(self, proposed_ns: int, now_ns: int, wall_ns: int) -> None:
        if not self.started:
            # All that earlier leaders committed is applied here now.
            self.started = True
            beyond_ns = self._state.lease_bound_wall_ns + MAX_SKEW_NS - wall_ns
            self.granter.begin(sorted(self._state.targets), now_ns, max(0, beyond_ns))
        self.granter.prove(proposed_ns)
        slow = now_ns - proposed_ns >= SLOW_PROOF_NS
        self._slow_proofs = self._slow_proofs + 1 if slow else 0

    def take_hand_over(self, now_ns: int) -> bool:
        """Should another voter lead? True once, then again only after a while."""
        if self._slow_proofs < SLOW_PROOFS:
            return False
        if self._hand_over is not None:
            term, asked_ns = self._hand_over
            pause_ns = HAND_OVER_AGAIN_NS if term == self.term else HAND_OVER_NS
            if now_ns - asked_ns < pause_ns:
                return False
        self._slow_proofs, self._hand_over = 0, (self.term, now_ns)
        return True

    # -- what others tell ---------------------------------------------------------------------

    def renew(
        self, node_id: int, m: cm.LeaseRenew, now_ns: int, wall_ns: int
    ) -> cm.LeaseGrant | cm.LeaseRefused:
        """Answer a target's renewal."""
        self.told += 1
        state = self._state
        # As applied now, not as of the last tick: else a new leader, or one that has just applied
        # an activation, would renew whoever lags and take a floor back.
        known = [node_id] if node_id in state.targets else []
        self.granter.observe(known, state.active, state.settings_version, now_ns)
        run_to_ns = max(0, state.freeze_until_wall_ns - wall_ns)
        reply = self.granter.renew(node_id, m, now_ns, run_to_ns)
        if isinstance(reply, cm.LeaseRefused):
            self._counters.count("control_refused", LeaseReason(reply.reason).name.lower())
        return reply

    def prove_soon(self, now_ns: int) -> None:
        """Somebody waits until the granter's proof is no older than now."""
        self.told += 1
        self._asked_ns = now_ns

    def acked(self, node_id: int, m: cm.PrepareAck) -> None:
        """A target holds the prepared table, or another one that it takes for it."""
        self.told += 1
        inputs = self._state.history.get(m.generation)
        if inputs is None or not inputs.digest:
            return
        agrees = m.digest == inputs.digest
        self.granter.fence(node_id, not agrees)
        if not agrees:
            self._counters.count("control_refused", "digest_mismatch")
        elif m.generation == self._state.prepared:
            if self._ack_generation != m.generation:
                self._acks, self._ack_generation = {}, m.generation
            self._acks[node_id] = m.digest

    # -- VDEVs ----------------------------------------------------------------------------------

    def _judge_vdevs(self, now_ns: int) -> None:
        if self._busy("states", now_ns) or now_ns < self._judge_after_ns:
            return
        self._judge_after_ns = now_ns + JUDGE_NS
        changes = []
        for index, vdev in self._state.vdevs.items():
            state = self._verdict(vdev, now_ns)
            if state is not None:
                changes.append(cm.VdevChange(index=index, open_count=vdev.open_count, state=state))
        if changes:
            self._propose("states", cm.VdevStates(changes=tuple(changes[:CHANGES_MAX])), now_ns)

    def _verdict(self, vdev: cm.VdevInfo, now_ns: int) -> int | None:
        """The state that the VDEV should change to, or None."""
        record = self.granter.records.get(vdev.target)
        if record is None or vdev.state not in (UP, DOWN, STOPPING):
            return None
        held = record.granted and record.lease_until_ns > now_ns
        vouched = held and vdev.vdev_id in record.vouched
        if vdev.state == DOWN:
            return UP if vouched else None
        if self.granter.ruled_out(vdev.target, now_ns):
            return DOWN
        if not held or vouched:
            return None
        # Left out: its lease has ended. One just opened may not be on the list yet.
        opens, seen_ns = self._vdev_seen.get(vdev.index, (-1, now_ns))
        if opens != vdev.open_count:
            seen_ns = now_ns
            self._vdev_seen[vdev.index] = (vdev.open_count, now_ns)
        late = now_ns >= max(seen_ns + LEASE_NS, record.grace_until_ns)
        return DOWN if late or vdev.vdev_id in record.dropped else None

    def _balance(self, now_ns: int) -> None:
        state = self._state
        table = self._book.tables.get(state.active)
        if table is None:
            return
        self.balancer.look(table, now_ns)
        if state.pending or state.prepared or self._busy("balance", now_ns):
            return
        granted = {n: r.may_lead for n, r in self.granter.records.items() if r.granted}
        fit = [node for node, may_lead in granted.items() if may_lead]
        unfit = [node for node, may_lead in granted.items() if not may_lead]
        change = self.balancer.next_change(table, now_ns, fit, unfit)
        if change is not None:
            self._propose("balance", change, now_ns)

    # -- generations --------------------------------------------------------------------------------

    def _advance_generation(self, now_ns: int) -> None:
        state = self._state
        if not state.prepared:
            self._gather(now_ns)
            return
        inputs = state.history[state.prepared]
        if not inputs.digest:
            self._seal(inputs.generation, now_ns)
        elif self._all_acked(now_ns) and not self._busy("activate", now_ns):
            self._propose("activate", cm.Activate(generation=inputs.generation), now_ns)

    def _gather(self, now_ns: int) -> None:
        state = self._state
        if not state.pending or not (state.active or state.formed()):
            self._pending_ns = None
            return
        if self._pending_ns is None:
            self._pending_ns = now_ns
        gather_ns = buggified("control/gather-none", GATHER_NS, 0)
        if now_ns < max(self._pending_ns + gather_ns, self._prepare_after_ns):
            return
        settled = self.granter.settled(now_ns)
        if settled and self._buildable() and not self._busy("prepare", now_ns):
            self._prepare_after_ns = now_ns + SPACING_NS
            self._pending_ns = None
            self._propose("prepare", cm.Prepare(generation=state.next_generation), now_ns)

    def _buildable(self) -> bool:
        """The table to build on is here (a voter fresh from a snapshot fetches it first)."""
        return not self._state.active or self._state.active in self._book.tables

    def _seal(self, generation: int, now_ns: int) -> None:
        table = self._book.tables.get(generation)
        if table is not None and not self._busy("seal", now_ns):
            self._propose("seal", cm.Seal(generation=generation, digest=table.digest), now_ns)
        elif generation in self._book.impossible and not self._busy("abort", now_ns):
            self._prepare_after_ns = now_ns + ABORTED_NS
            self._propose("abort", cm.Abort(generation=generation), now_ns)

    def _all_acked(self, now_ns: int) -> bool:
        acks = self._acks if self._ack_generation == self._state.prepared else {}
        return all(
            node in acks or not self.granter.may_hold(node, now_ns) for node in self._state.targets
        )

    # -- proposing ----------------------------------------------------------------------------------------

    def _propose_noop(self, now_ns: int) -> None:
        assert self.term is not None
        self._noop_ns = now_ns
        if len(self._noops) > 16:
            del self._noops[next(iter(self._noops))]
        noop = cm.Noop(term=self.term, number=self._token + 1)
        self._noops[self._submit(noop)] = now_ns

    def _busy(self, what: str, now_ns: int) -> bool:
        tried_ns = self._tried_ns.get(what)
        return tried_ns is not None and now_ns - tried_ns < RETRY_NS

    def _propose(self, what: str, command: Message, now_ns: int) -> None:
        self._tried_ns[what] = now_ns
        self._tokens = {t: w for t, w in self._tokens.items() if w != what}
        self._tokens[self._submit(command)] = what

    def _submit(self, command: Message) -> int:
        self._token += 1
        self._commands.append((self._token, encode_command(command, STEWARD_CLIENT)))
        return self._token
