"""RaftNode: one voter, a core: frames, commands and time in; frames, results and state out.

One replicated method, apply(command) -> result, on bytes. Production (shell.py) and the
simulator drive it alike: receive() per frame; tick() by deadline_ns() and whenever needs_tick()
says so after frames or submits; then take_outgoing(), which syncs the journal before anything
leaves. More ticks do no harm.

    submit(command, callback, now_ns)
    callback(result, outcome)        APPLIED: result is apply's; else result is None
        NOT_APPLIED                  it was not and never will be applied
        UNKNOWN                      it may have been applied, or be applied later
So commands are idempotent (client id and sequence), or their submitter can look.

Invariants: `apply` runs in the same order with the same bytes on every voter; a callback is
called exactly once, outside of pysyncobj, at most `timeout_ns` after submit; is_leader, leader
and ready are hints, authority is a command that has committed. A failing disk stops the node
for good (`failed` says why): what it promised is in files that it can no longer trust.
Limits: COMMANDS_MAX commands in flight, COMMAND_BYTES_MAX each; the journal is compacted when
it has more than `compact_entries` entries or `compact_bytes` bytes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

from replicast.buggify import buggify
from replicast.disk import Disk
from replicast.flexhash.raft import clock
from replicast.flexhash.raft.journal import JOURNAL, VOTE, Journal, NotAVoter, Voter
from replicast.flexhash.raft.pre_vote import ASIDE, PreVote
from replicast.flexhash.raft.sealed import Damaged
from replicast.flexhash.raft.seams import APPEND_TIME, ELECTION_DEADLINE, LEADER, MATCHED, VoterNode
from replicast.flexhash.raft.snapshot import Snapshots
from replicast.flexhash.raft.transport import Links
from replicast.metrics import Counters

log = logging.getLogger(__name__)

COMMANDS_MAX = 1000
COMMAND_BYTES_MAX = 256 << 10
TIMEOUT_NS = 5_000_000_000
HANDED_OVER = 0  # pysyncobj's election deadline when the leader told it to take over
DUE_S = 0.001  # pysyncobj looks at the time some us after us: what is nearly due is due
IDLE_NS = 500_000_000  # between ticks at most: an owner looks around then
APPLY_FAILED = b"\xff"  # the result of a command whose application raised
STATES = ("follower", "candidate", "leader")


class Outcome(Enum):
    """What is known of a command."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


Callback = Callable[[bytes | None, Outcome], None]

_NOT_APPLIED = (
    FAIL_REASON.QUEUE_FULL,
    FAIL_REASON.MISSING_LEADER,
    FAIL_REASON.DISCARDED,
    FAIL_REASON.NOT_LEADER,
    FAIL_REASON.REQUEST_DENIED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """Which voter this is, and the pace. Every voter of a group has the same figures."""

    name: str
    voters: Sequence[str]
    voter_epoch: int
    cluster_id: bytes
    directory: Path
    new_voter: bool = False  # an empty directory is expected, once, at formation
    election_min_ns: int = 600_000_000
    election_max_ns: int = 1_200_000_000
    append_period_ns: int = 150_000_000
    leader_fallback_ns: int = 1_000_000_000
    compact_entries: int = 1000
    compact_bytes: int = 16 << 20


@dataclass(slots=True)
class _Submitted:
    callback: Callback
    deadline_ns: int


class _Raft(SyncObj):  # type: ignore[misc]
    """pysyncobj's object with our one replicated method."""

    def __init__(self, apply: Callable[[bytes], bytes], *arguments: Any, **keywords: Any) -> None:
        self._apply = apply
        super().__init__(*arguments, **keywords)

    @replicated  # type: ignore[untyped-decorator]
    def apply(self, command: bytes) -> bytes:
        return self._apply(command)


class RaftNode:
    """One voter. Raises NotAVoter or Damaged when the directory's state must not be used."""

    def __init__(
        self,
        settings: RaftSettings,
        *,
        disk: Disk,
        apply: Callable[[bytes], bytes],
        snapshot: Callable[[], bytes],
        restore: Callable[[bytes], None],
        rng: random.Random,
        now_ns: int,
        counters: Counters | None = None,
    ) -> None:
        self.settings = settings
        self.counters = counters or Counters()
        self.failed: str | None = None
        self._state = 0
        self._shown_state = ""
        self._apply_command = apply
        self._submitted: dict[int, _Submitted] = {}
        self._submitted_count = 0
        self._ticked: tuple[object, ...] = ()  # what the last tick saw
        self._ticked_ns = now_ns
        self._answers: list[tuple[Callback, bytes | None, Outcome]] = []
        voter = Voter(settings.cluster_id, settings.voter_epoch, settings.name)
        self._journal = _open_journal(settings, disk, voter, rng.getrandbits(64))
        self._snapshots = Snapshots(disk, settings.directory, self._journal, snapshot, restore)
        self._snapshots.open()
        peers = [VoterNode(name) for name in settings.voters if name != settings.name]
        missed_ns, patience_ns = settings.election_min_ns, settings.leader_fallback_ns
        self._pre_vote = PreVote(self._journal, len(peers), missed_ns, patience_ns, now_ns)
        self._links = Links(voter, peers, self._journal, self._pre_vote, self.counters)
        self._here = clock.Surroundings(rng, self._journal, self._snapshots, now_ns)
        clock.enter(self._here, now_ns)
        conf = _conf(settings, self._state_changed)
        self._raft = _Raft(
            self._apply, VoterNode(settings.name), peers, conf, transport=self._links
        )
        self._load_snapshot()
        self._journal.sync()

    def _load_snapshot(self) -> None:
        if self._snapshots.current is None:
            return
        self._raft._SyncObj__loadDumpFile(clearJournal=False)
        if self._snapshots.restored_index != self._raft.raftLastApplied:
            raise Damaged(f"{self.settings.directory}: the snapshot cannot be restored")

    # -- driving --------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Elections, heartbeats, commits, time-outs."""
        self._run(now_ns, self._tick)
        self._expire(now_ns)
        self._ticked, self._ticked_ns = self._seen(), now_ns
        self._show()
        self._hand_out_answers()

    def receive(self, peer: str, frame: bytes, now_ns: int) -> None:
        """One frame that came from the voter `peer`, as its key proves."""
        self._run(now_ns, self._receive, peer, frame)

    def needs_tick(self) -> bool:
        """Whether tick() has something to do that was not there at the last one.

        Most heartbeats and most answers to them are done with when receive() returns.
        """
        raft = self._raft
        commit_index = int(raft.raftCommitIndex)
        return (
            self._links.pressing
            or bool(self._answers)
            or commit_index > self.applied_index
            or (self._journal.last_index > commit_index and self.is_leader)
            or self._seen() != self._ticked
        )

    def deadline_ns(self) -> int:
        """When tick() has something to do again, if needs_tick() says nothing before."""
        due_ns = self._ticked_ns + IDLE_NS
        if self.failed:
            return due_ns
        links_ns = self._links.deadline_ns()
        if links_ns is not None:
            due_ns = min(due_ns, links_ns)
        if self._submitted:
            due_ns = min(due_ns, min(s.deadline_ns for s in self._submitted.values()))
        if self.is_leader:
            return min(due_ns, int(getattr(self._raft, APPEND_TIME) * 1e9))
        if self._links.alone():  # nobody to elect; the first frame of a peer needs a tick
            return due_ns
        return min(due_ns, int(getattr(self._raft, ELECTION_DEADLINE) * 1e9))

    def take_outgoing(self) -> list[tuple[str, bytes]]:
        """(peer, frame) pairs to send; what they tell of is durable."""
        try:
            self._journal.sync()
        except OSError as error:
            self._fail(error)
        return [] if self.failed else self._links.take_outgoing()

    def submit(
        self, command: bytes, callback: Callback, now_ns: int, *, timeout_ns: int = TIMEOUT_NS
    ) -> None:
        """Have `command` applied on every voter, through whoever leads. See the module's head."""
        if len(command) > COMMAND_BYTES_MAX:
            raise ValueError(f"command of {len(command)} bytes; at most {COMMAND_BYTES_MAX}")
        if self.failed or len(self._submitted) >= COMMANDS_MAX:
            self._answers.append((callback, None, Outcome.NOT_APPLIED))
            return
        self._submitted_count += 1
        number = self._submitted_count
        self._submitted[number] = _Submitted(callback, now_ns + timeout_ns)

        def answered(result: bytes | None, why: int) -> None:
            self._answered(number, result, why)

        self._run(now_ns, lambda: self._raft.apply(command, callback=answered))

    def transfer_leadership(self, now_ns: int) -> None:
        """Ask the most caught-up follower to take over; for a planned stop of the leader."""
        self._run(now_ns, self._raft.transferLeadership)

    def step_aside(self, now_ns: int) -> None:
        """Have the follower whose log is longest stand for election, if others would elect it, though
        it lacks what is on its way to it: for a leader whose commits take long.
        transfer_leadership() would wait until nothing is on its way, and depose this leader even
        where nobody is near enough to a majority. Whatever is committed, the next leader has."""
        self._run(now_ns, self._step_aside)

    def close(self) -> None:
        """Stop; outstanding commands are UNKNOWN."""
        self._fail(OSError("closed"))
        self._expire(0)
        self._hand_out_answers()

    # -- looking --------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """A hint: another may have been elected meanwhile."""
        return not self.failed and bool(self._raft._isLeader())

    @property
    def leader(self) -> str | None:
        """A hint: the name of the voter that leads, as far as this one knows."""
        node = None if self.failed else self._raft._getLeader()
        return None if node is None else str(node.id)

    @property
    def ready(self) -> bool:
        """A hint: the state has once caught up with a leader since the start."""
        return bool(self._raft.isReady())

    @property
    def term(self) -> int:
        """The current term."""
        return int(self._raft.raftCurrentTerm)

    @property
    def applied_index(self) -> int:
        """Index of the last entry that was applied here."""
        return int(self._raft.raftLastApplied)

    def status(self) -> dict[str, Any]:
        """For people and metrics."""
        return {
            "name": self.settings.name,
            "voter_epoch": self.settings.voter_epoch,
            "state": self._state_name(),
            "failed": self.failed,
            "leader": self.leader,
            "has_quorum": bool(self._raft.hasQuorum),
            "ready": self.ready,
            "term": self.term,
            "commit_index": int(self._raft.raftCommitIndex),
            "applied_index": self.applied_index,
            "journal_entries": len(self._journal),
            "journal_bytes": self._journal.size_bytes,
            "voters": list(self.settings.voters),
            "connected": self._links.connected(),
        }

    # -- inside ---------------------------------------------------------------------

    def _run(self, now_ns: int, action: Callable[..., object], *arguments: object) -> None:
        if self.failed:
            return
        clock.enter(self._here, now_ns)
        try:
            action(*arguments)
        except OSError as error:
            self._fail(error)

    def _tick(self) -> None:
        self._links.applied_index = self.applied_index
        self._links.tick(self._here.now_ns)
        self._links.pressing = False
        large = self._journal.size_bytes > self.settings.compact_bytes
        if large or buggify("raft/compact-early"):
            self._raft.forceLogCompaction()
        self._ask_before_election()
        self._raft.doTick(0.0)

    def _ask_before_election(self) -> None:
        """An election that is due has to be agreed to first; see pre_vote.py."""
        settings, rng = self.settings, self._here.rng
        now_s = clock.monotonic_seconds()
        deadline_s = getattr(self._raft, ELECTION_DEADLINE)
        wanted, self._pre_vote.wanted = self._pre_vote.wanted, False
        if self.is_leader or deadline_s == HANDED_OVER or len(settings.voters) == 1:
            return
        if self._pre_vote.agreed():
            setattr(self._raft, ELECTION_DEADLINE, min(deadline_s, now_s))
        elif deadline_s < now_s + DUE_S and not self._links.alone():
            wait_ns = rng.randint(settings.election_min_ns, settings.election_max_ns)
            setattr(self._raft, ELECTION_DEADLINE, now_s + wait_ns / 1e9)
            setattr(self._raft, LEADER, None)  # as an election does: nothing is sent there now
            self.counters.count("raft_pre_votes")
            self._links.ask_pre_votes(rng.getrandbits(61), aside=False)
        elif wanted:
            self._links.ask_pre_votes(rng.getrandbits(61), aside=True)

    def _step_aside(self) -> None:
        matched, connected = getattr(self._raft, MATCHED), self._links.connected()
        near = [(matched[n], n.id, n) for n in self._raft.otherNodes if connected[n.id]]
        if self.is_leader and near:
            self._links.send(max(near)[2], {"type": ASIDE, "term": self.term})

    def _seen(self) -> tuple[object, ...]:
        """What an owner acts on after a tick, however it came about."""
        raft = self._raft
        return (
            self.failed,
            raft.raftCurrentTerm,
            raft.raftLastApplied,
            raft._isLeader(),
            raft._getLeader(),
            raft.isReady(),
        )

    def _receive(self, peer: str, frame: bytes) -> None:
        self._links.applied_index = self.applied_index
        self._links.receive(peer, frame, self._here.now_ns)
        if self._snapshots.restored_index > self.applied_index:
            raise OSError("a snapshot from the leader could not be restored")

    def _apply(self, command: bytes) -> bytes:
        # pysyncobj would apply a raising command again at every tick, for ever.
        try:
            return self._apply_command(command)
        except Exception:
            self.counters.count("raft_apply_failures")
            log.exception("a command could not be applied")
            return APPLY_FAILED

    def _answered(self, number: int, result: bytes | None, why: int) -> None:
        submitted = self._submitted.pop(number, None)
        if submitted is None:
            return  # timed out before
        outcome = Outcome.NOT_APPLIED if why in _NOT_APPLIED else Outcome.UNKNOWN
        if why == FAIL_REASON.SUCCESS:
            outcome = Outcome.APPLIED
        self._answers.append((submitted.callback, result, outcome))

    def _expire(self, now_ns: int) -> None:
        late = [n for n, s in self._submitted.items() if s.deadline_ns <= now_ns or self.failed]
        for number in late:
            self._answers.append((self._submitted.pop(number).callback, None, Outcome.UNKNOWN))

    def _state_name(self) -> str:
        return "failed" if self.failed else STATES[self._state]

    def _state_changed(self, _old: int, new: int) -> None:
        self._state = new
        self._pre_vote.leads = STATES[new] == "leader"

    def _show(self) -> None:
        state = self._state_name()
        if state != self._shown_state:
            self._shown_state = state
            for name in (*STATES, "failed"):
                self.counters.gauge("raft_state", name, value=int(name == state))
        self.counters.gauge("raft_term", value=self.term)
        self.counters.gauge("raft_journal_entries", value=len(self._journal))

    def _hand_out_answers(self) -> None:
        # Outside of pysyncobj: there, a raising callback would apply its command twice.
        answers, self._answers = self._answers, []
        for callback, result, outcome in answers:
            self.counters.count("raft_commands", outcome.value)
            callback(result, outcome)

    def _fail(self, error: OSError) -> None:
        if self.failed is None:
            self.failed = str(error)
            self._links.destroy()
            self._journal._destroy()


def _open_journal(settings: RaftSettings, disk: Disk, voter: Voter, salt: int) -> Journal:
    disk.make_directory(settings.directory)
    names = disk.list(settings.directory)
    if VOTE in names:
        return Journal.open(disk, settings.directory, voter, salt)
    if settings.new_voter:
        return Journal.create(disk, settings.directory, voter, salt)
    what = "has a journal but no vote" if JOURNAL in names else "is empty"
    raise NotAVoter(
        f"{settings.directory} {what}: a voter that lost its state must not vote again; "
        "replace it under a new voter epoch"
    )


def _conf(settings: RaftSettings, state_changed: Callable[[int, int], None]) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        onStateChanged=state_changed,
        raftMinTimeout=settings.election_min_ns / 1e9,
        raftMaxTimeout=settings.election_max_ns / 1e9,
        appendEntriesPeriod=settings.append_period_ns / 1e9,
        appendEntriesUseBatch=False,  # a commit does not wait for a period
        appendEntriesBatchSizeBytes=4 << 20,
        leaderFallbackTimeout=settings.leader_fallback_ns / 1e9,
        commandsQueueSize=COMMANDS_MAX,
        commandsWaitLeader=False,
        logCompactionMinEntries=settings.compact_entries,
        logCompactionMinTime=10**9,
        useFork=False,
        dynamicMembershipChange=False,
    )
