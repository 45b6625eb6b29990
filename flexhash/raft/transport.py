"""What passes between voters: envelopes, liveness, and what pysyncobj must never see.

A core: frames and time come in, frames are taken out. RaftNode owns it, shell.py carries the
frames; the sender of a frame is known from the channel (its CURVE key), never from the frame.

pysyncobj trusts its links. This module makes them deserve it:
- another cluster, voter epoch, an older boot, a repeated or overtaken message: dropped;
- acknowledgements of another term: dropped; votes: counted once per voter and term;
- unknown types, missing fields, commands that are none of ours: dropped;
- append_entries: entries that the journal has already are left out, a suffix that nothing
  contradicts is kept (pysyncobj would truncate acknowledged entries), and the commit index is
  cut to what this very message proves to match;
- append_entries that begin behind ours, or where ours are others: pysyncobj is made to name the
  index from which on ours may be others, each time;
- entries that contradict applied ones: dropped and counted, and shown in the node's status;
- pre-votes (pre_vote.py) are asked and answered here, but for the higher term that they tell of.
Every drop is counted in `raft_dropped` by reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pysyncobj.transport import Transport

from replicast.buggify import buggify
from replicast.flexhash.raft import codec, pre_vote
from replicast.flexhash.raft.journal import COMMAND_BYTES_MAX, Journal, Voter
from replicast.flexhash.raft.pre_vote import PreVote
from replicast.flexhash.raft.seams import VoterNode
from replicast.flexhash.raft.snapshot import is_entry
from replicast.metrics import Counters
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.raft_messages import RaftEnvelope

SIGN_OF_LIFE_NS = 500_000_000
SILENCE_NS = 1_500_000_000
OUTGOING_MAX = 4000
NUMBER_MAX = 1 << 62  # terms and indexes: what is counted on from here still has a codec
REGULAR, NO_OP = 0, 1  # pysyncobj's command types; no other enters a journal of ours

FIELDS: dict[str, dict[str, type[int | bytes]]] = {
    "request_vote": {"term": int, "last_log_index": int, "last_log_term": int},
    "response_vote": {"term": int},
    "append_entries": {"term": int, "commit_index": int},
    "next_node_idx": {"next_node_idx": int, "reset": bool, "success": bool},
    "apply_command": {"command": bytes},
    "apply_command_response": {"request_id": int},
    "timeout_now": {"term": int},
    pre_vote.REQUEST: {
        **{"term": int, "round": int, "aside": bool},
        **{"last_log_index": int, "last_log_term": int},
    },
    pre_vote.RESPONSE: {"term": int, "round": int},
    pre_vote.ASIDE: {"term": int},
}
# What these change, pysyncobj changes as they come; a commit that follows shows in its indexes.
CARRIED_ON_AT_ONCE = ("append_entries", "next_node_idx")


class _Dropped(Exception):
    """Why a frame goes no further."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Link:
    """One peer: what was heard and sent, and when."""

    node: VoterNode
    boot: int = 0
    received_sequence: int = 0
    sent_sequence: int = 0
    heard_ns: int = -(1 << 62)
    sent_ns: int = -(1 << 62)
    connected: bool = False
    voted_term: int = -1


class Links(Transport):  # type: ignore[misc]
    """pysyncobj's transport for one node."""

    def __init__(
        self,
        voter: Voter,
        peers: Sequence[VoterNode],
        journal: Journal,
        pre_vote: PreVote,
        counters: Counters,
    ) -> None:
        super().__init__(None, None, peers)
        self._voter = voter
        self._journal = journal
        self._pre_vote = pre_vote
        self._counters = counters
        self._links = {node.id: _Link(node) for node in peers}
        self._outgoing: list[tuple[str, bytes]] = []
        self._now_ns = 0
        self.applied_index = 0  # kept up to date by RaftNode
        self.pressing = False  # something came that only pysyncobj's tick carries on
        self._doubted_term = 0  # of the leader
        self._doubted_index = 0  # from which on its entries seem to be others than ours; 0: none

    # -- outwards -------------------------------------------------------------------

    def send(self, node: VoterNode, message: dict[str, Any]) -> bool:
        """pysyncobj's way out; the frame leaves with take_outgoing(), after the sync."""
        return self._emit(self._links[node.id], codec.dumps(message))

    def ask_pre_votes(self, number: int, *, aside: bool) -> None:
        """Ask every peer for its pre-vote; see pre_vote.py."""
        request = self._pre_vote.ask(number, self._now_ns, aside=aside)
        for link in self._links.values():
            self.send(link.node, request)

    def _emit(self, link: _Link, payload: bytes) -> bool:
        if len(self._outgoing) >= OUTGOING_MAX or buggify("raft/frame-lost"):
            self._count_drop("outgoing_full")
            return False
        link.sent_sequence += 1
        link.sent_ns = self._now_ns
        envelope = RaftEnvelope(
            cluster_id=self._voter.cluster_id,
            voter_epoch=self._voter.voter_epoch,
            boot=self._journal.boot,
            sequence=link.sent_sequence,
            term=self._journal.getCurrentTerm(),
            payload=payload,
        )
        self._outgoing.append((link.node.id, pack_frame(envelope)))
        return True

    def take_outgoing(self) -> list[tuple[str, bytes]]:
        """(peer, frame) pairs, in order."""
        out, self._outgoing = self._outgoing, []
        return out

    def tick(self, now_ns: int) -> None:
        """Give signs of life and notice who gives none."""
        self._now_ns = now_ns
        for link in self._links.values():
            if link.connected and now_ns - link.heard_ns > SILENCE_NS:
                link.connected = False
                self._onNodeDisconnected(link.node)
            if now_ns - link.sent_ns >= SIGN_OF_LIFE_NS:
                self._emit(link, b"")

    def deadline_ns(self) -> int | None:
        """When tick() has a sign of life to give, or a silence to notice; None without peers."""
        first_ns: int | None = None
        for link in self._links.values():
            due_ns = link.sent_ns + SIGN_OF_LIFE_NS
            if link.connected and link.heard_ns + SILENCE_NS < due_ns:
                due_ns = link.heard_ns + SILENCE_NS + 1
            if first_ns is None or due_ns < first_ns:
                first_ns = due_ns
        return first_ns

    def alone(self) -> bool:
        """There are peers, and none was heard of lately: pysyncobj starts no election then."""
        for link in self._links.values():
            if link.connected:
                return False
        return bool(self._links)

    def connected(self) -> dict[str, bool]:
        """Which peers were heard of lately."""
        return {name: link.connected for name, link in self._links.items()}

    def destroy(self) -> None:
        """Nothing to close: the shell owns the channels."""
        self._outgoing.clear()

    # -- inwards --------------------------------------------------------------------

    def receive(self, peer: str, frame: bytes, now_ns: int) -> None:
        """One frame from the voter `peer`; never raises on what is in it."""
        self._now_ns = now_ns
        try:
            self._receive(peer, frame, now_ns)
        except (_Dropped, WireError) as dropped:
            self._count_drop(dropped.reason)

    def _receive(self, peer: str, frame: bytes, now_ns: int) -> None:
        link = self._links.get(peer)
        if link is None:
            raise _Dropped("not_a_voter")
        envelope = self._open(frame)
        self._refuse_repeated(link, envelope)
        link.heard_ns = now_ns
        if not link.connected:
            link.connected = self.pressing = True
            self._onNodeConnected(link.node)
        if envelope.payload:
            self._deliver(link, envelope)

    def _open(self, frame: bytes) -> RaftEnvelope:
        envelope, _, _ = unpack_frame(frame)
        if not isinstance(envelope, RaftEnvelope):
            raise _Dropped("unknown_type")
        if envelope.cluster_id != self._voter.cluster_id:
            raise _Dropped("other_cluster")
        if envelope.voter_epoch != self._voter.voter_epoch:
            raise _Dropped("other_voter_epoch")
        return envelope

    def _refuse_repeated(self, link: _Link, envelope: RaftEnvelope) -> None:
        if envelope.boot < link.boot:
            raise _Dropped("older_boot")
        if envelope.boot > link.boot:
            link.boot, link.received_sequence = envelope.boot, 0
        if envelope.sequence <= link.received_sequence:
            raise _Dropped("repeated")
        link.received_sequence = envelope.sequence

    def _deliver(self, link: _Link, envelope: RaftEnvelope) -> None:
        message = parse(envelope.payload)
        kind = message["type"]
        term = self._journal.getCurrentTerm()
        if kind == pre_vote.REQUEST:
            self._answer_pre_vote(link, message)
            return
        if kind == pre_vote.RESPONSE:
            self._count_pre_vote(link, message)
            return
        if kind == pre_vote.ASIDE:
            self._pre_vote.step_aside(message)
            self.pressing = True
            return
        if kind not in CARRIED_ON_AT_ONCE:
            self.pressing = True
        if kind == "next_node_idx" and envelope.term != term:
            raise _Dropped("other_term")
        if kind == "next_node_idx" and message["next_node_idx"] > self._journal.last_index + 1:
            raise _Dropped("malformed")
        if kind == "response_vote":
            if link.voted_term >= message["term"]:
                raise _Dropped("voted_before")
            link.voted_term = message["term"]
        if kind == "append_entries" and message["term"] >= term:
            self._deliver_entries(link, message)
            self._pre_vote.heard_leader(self._now_ns)
        else:
            self._onMessageReceived(link.node, message)

    def _answer_pre_vote(self, link: _Link, request: dict[str, Any]) -> None:
        term = request["term"] - 1  # the asker's own
        if term > self._journal.getCurrentTerm():
            # pysyncobj goes to the term of any request for a vote; this log is behind every other,
            # so it gives none.
            old = {"type": "request_vote", "term": term, "last_log_index": 0, "last_log_term": 0}
            self._onMessageReceived(link.node, old)
            self.pressing = True
        response = self._pre_vote.answer(request, self._now_ns)
        if response is not None:
            self.send(link.node, response)

    def _count_pre_vote(self, link: _Link, response: dict[str, Any]) -> None:
        if not self._pre_vote.count(link.node.id, response, self._now_ns):
            raise _Dropped("other_round")
        self.pressing = self.pressing or self._pre_vote.agreed()

    def _deliver_entries(self, link: _Link, message: dict[str, Any]) -> None:
        if "serialized" in message:
            message["commit_index"] = 0  # this message proves nothing about our journal
            self._onMessageReceived(link.node, message)
            return
        self._leave_out_known(message)
        self._go_back_for_good(message)
        entries = message["entries"]
        if entries and entries[0][1] <= self.applied_index:
            raise _Dropped("contradicts_applied")
        proved = entries[-1][1] if entries else message["prevLogIdx"]
        message["commit_index"] = min(message["commit_index"], proved)
        self._journal.keep_suffix = not entries
        try:
            self._onMessageReceived(link.node, message)
        finally:
            self._journal.keep_suffix = False

    def _leave_out_known(self, message: dict[str, Any]) -> None:
        first = self._journal.entries[0]
        if message["prevLogIdx"] < first[1]:
            # Compacted here, so committed, so the leader has the same: start where we start.
            message["entries"] = [e for e in message["entries"] if e[1] > first[1]]
            message["prevLogIdx"], message["prevLogTerm"] = first[1], first[2]
        previous = self._journal.entry(message["prevLogIdx"])
        if previous is None or previous[2] != message["prevLogTerm"]:
            return
        while message["entries"]:
            entry = message["entries"][0]
            ours = self._journal.entry(entry[1])
            if ours is None or ours[2] != entry[2]:
                return
            message["prevLogIdx"], message["prevLogTerm"] = entry[1], entry[2]
            del message["entries"][0]

    def _go_back_for_good(self, message: dict[str, Any]) -> None:
        """Have pysyncobj ask for the entries from where ours stop being the leader's.

        It would go back by one for each message that contradicts ours, and forward to our end for
        each that begins behind it: for ever, when these come in between.
        """
        at, term = message["prevLogIdx"], message["prevLogTerm"]
        ours = self._term_at(at)
        if message["term"] != self._doubted_term or ours == term:
            self._doubted_term, self._doubted_index = message["term"], 0
        if ours is not None and ours != term:
            # What comes before it from the same leader is in doubt, too.
            while at - 1 > self.applied_index and self._term_at(at - 1) == ours:
                at -= 1
            self._doubted_index = min(self._doubted_index or at, at)
        doubted = self._term_at(self._doubted_index)
        if doubted is not None and doubted != term:
            message["prevLogIdx"] = self._doubted_index  # refused, too, and named in the answer

    def _term_at(self, index: int) -> int | None:
        entry = self._journal.entry(index)
        return None if entry is None else entry[2]

    def _count_drop(self, reason: str) -> None:
        self._counters.count("raft_dropped", reason)


def parse(payload: bytes) -> dict[str, Any]:
    """A message in the shape that pysyncobj relies on; anything else is _Dropped."""
    try:
        message = codec.loads(payload)
    except codec.CodecError:
        raise _Dropped("malformed") from None
    if type(message) is not dict or type(message.get("type")) is not str:
        raise _Dropped("malformed")
    fields = FIELDS.get(message["type"])
    if fields is None:
        raise _Dropped("unknown_type")
    for name, kind in fields.items():
        value = message.get(name)
        if type(value) is not kind or (isinstance(value, int) and not 0 <= value < NUMBER_MAX):
            raise _Dropped("malformed")
    check = _CHECKS.get(message["type"])
    if check is not None and not check(message):
        raise _Dropped("malformed")
    return message


def _is_append(message: dict[str, Any]) -> bool:
    if "transmission" in message:
        return False  # commands are far below the size at which pysyncobj splits them
    if "serialized" in message:
        return message["serialized"] is None or _is_piece(message["serialized"])
    index, term, entries = (message.get(k) for k in ("prevLogIdx", "prevLogTerm", "entries"))
    if type(index) is not int or type(term) is not int or type(entries) is not list:
        return False
    for entry in entries:
        if not is_entry(entry) or entry[1] != index + 1 or not term <= entry[2] <= message["term"]:
            return False
        if not is_command(entry[0]):
            return False
        index, term = entry[1], entry[2]
    return index >= 1


def _is_piece(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is bool
        and type(value[2]) is bool
    )


def _is_request(message: dict[str, Any]) -> bool:
    identifier = message.get("request_id", 0)
    return (
        type(identifier) is int
        and message["command"][:1] == b"\0"
        and is_command(message["command"])
    )


def _is_response(message: dict[str, Any]) -> bool:
    if message.get("error") is not None:
        return type(message["error"]) is int
    return type(message.get("log_idx")) is int and type(message.get("log_term")) is int


_CHECKS = {
    "append_entries": _is_append,
    "apply_command": _is_request,
    "apply_command_response": _is_response,
}


def is_command(command: bytes) -> bool:
    """Whether pysyncobj can apply these bytes: a no-op, or a call of our one method."""
    if command == bytes([NO_OP]):
        return True
    if command[:1] != bytes([REGULAR]) or len(command) > COMMAND_BYTES_MAX:
        return False
    try:
        call = codec.loads(command[1:])
    except codec.CodecError:
        return False
    if type(call) is not tuple or len(call) != 2 or type(call[0]) is not int or call[0] != 0:
        return False
    return type(call[1]) is tuple and len(call[1]) == 1 and type(call[1][0]) is bytes
