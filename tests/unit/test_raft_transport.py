"""flexhash/raft/transport.py: what a voter's peers may not do to it. The test plays the peers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import RealDisk
from replicast.flexhash.raft import codec, pre_vote
from replicast.flexhash.raft.node import RaftNode, RaftSettings
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.raft_messages import RaftEnvelope

MS = 1_000_000
CLUSTER = bytes(range(16))
NO_OP = b"\x01"
Entry = tuple[bytes, int, int]


class Voter:
    """One real voter among peers that the test plays."""

    def __init__(self, path: Path, count: int = 3) -> None:
        self.peers = [f"v{n}" for n in range(1, count)]
        settings = RaftSettings(
            name="v0",
            voters=["v0", *self.peers],
            voter_epoch=1,
            cluster_id=CLUSTER,
            directory=path,
            new_voter=True,
        )
        self.now_ns = 0
        self.sequence = 0
        self.node = RaftNode(
            settings,
            disk=RealDisk(),
            apply=bytes,
            snapshot=bytes,
            restore=lambda _: None,
            rng=random.Random(1),
            now_ns=0,
        )

    def envelope(self, term: int, message: dict[str, Any] | None) -> RaftEnvelope:
        self.sequence += 1
        return RaftEnvelope(
            cluster_id=CLUSTER,
            voter_epoch=1,
            boot=1,
            sequence=self.sequence,
            term=term,
            payload=b"" if message is None else codec.dumps(message),
        )

    def hear(self, peer: str, term: int, message: dict[str, Any] | None) -> None:
        self.node.receive(peer, pack_frame(self.envelope(term, message)), self.now_ns)

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(500):
            if condition():
                return
            self.now_ns += 10 * MS
            self.node.tick(self.now_ns)
        raise AssertionError("not within 5 s")

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Messages of this kind to v1 since the last look."""
        envelopes = [unpack_frame(f)[0] for peer, f in self.node.take_outgoing() if peer == "v1"]
        payloads = [e.payload for e in envelopes if isinstance(e, RaftEnvelope) and e.payload]
        return [m for m in map(codec.loads, payloads) if m["type"] == kind]

    def ask(self) -> dict[str, Any]:
        """Its next request for pre-votes."""
        requests: list[dict[str, Any]] = []

        def asked() -> bool:
            requests.extend(self.sent(pre_vote.REQUEST))
            return bool(requests)

        self.until(asked)
        return requests[0]

    def campaign(self) -> None:
        self.hear("v1", 0, None)  # somebody is there
        request = self.ask()
        for peer in self.peers:
            self.hear(peer, 0, agreed(request))
        self.until(lambda: self.node.status()["state"] == "candidate")

    def entries(self) -> int:
        return int(self.node.status()["journal_entries"])

    def dropped(self, reason: str) -> float:
        return self.node.counters.get("raft_dropped", reason)


@pytest.fixture
def voter(tmp_path: Path) -> Voter:
    return Voter(tmp_path)


def append(previous: int, entries: list[Entry], term: int = 5, commit: int = 0) -> dict[str, Any]:
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": commit,
        "prevLogIdx": previous,
        "prevLogTerm": 0 if previous == 1 else 5,
        "entries": entries,
    }


def no_ops(first: int, last: int, term: int = 5) -> list[Entry]:
    return [(NO_OP, index, term) for index in range(first, last + 1)]


def vote(term: int) -> dict[str, Any]:
    return {"type": "response_vote", "term": term}


def agreed(request: dict[str, Any]) -> dict[str, Any]:
    return {"type": pre_vote.RESPONSE, "term": request["term"], "round": request["round"]}


def ack(next_index: int) -> dict[str, Any]:
    return {"type": "next_node_idx", "next_node_idx": next_index, "reset": False, "success": True}


@pytest.mark.parametrize(
    ("reason", "peer", "change"),
    [
        ("other_cluster", "v1", {"cluster_id": bytes(16)}),
        ("other_voter_epoch", "v1", {"voter_epoch": 2}),
        ("older_boot", "v1", {"boot": 0}),
        ("repeated", "v1", {"sequence": 1}),
        ("not_a_voter", "v9", {}),
        ("malformed", "v1", {"payload": b"\x80\x04K*."}),
        ("unknown_type", "v1", {"payload": codec.dumps({"type": "status"})}),
    ],
)
def test_frames__that_must_not_count(
    voter: Voter, reason: str, peer: str, change: dict[str, Any]
) -> None:
    voter.hear("v1", 0, None)
    envelope = replace(voter.envelope(0, None), **change)
    voter.node.receive(peer, pack_frame(envelope), 0)
    assert voter.dropped(reason) == 1


def test_frame__that_is_none(voter: Voter) -> None:
    voter.node.receive("v1", b"junk", 0)
    assert voter.dropped("truncated") == 1


def test_boot__a_restarted_peer_counts_anew(voter: Voter) -> None:
    voter.hear("v1", 0, None)
    restarted = replace(voter.envelope(0, None), boot=2, sequence=1)
    voter.node.receive("v1", pack_frame(restarted), 0)
    assert voter.node.counters.total("raft_dropped") == 0
    voter.hear("v1", 0, None)
    assert voter.dropped("older_boot") == 1


def test_append__an_older_message_truncates_nothing(voter: Voter) -> None:
    voter.hear("v1", 5, append(1, no_ops(2, 9)))
    assert voter.entries() == 9
    voter.hear("v1", 5, append(1, no_ops(2, 4)))
    voter.hear("v1", 5, append(4, []))
    assert voter.entries() == 9
    voter.hear("v1", 6, append(4, no_ops(5, 5, term=6), term=6))
    assert voter.entries() == 5


def test_append__commits_only_what_it_proves(voter: Voter) -> None:
    voter.hear("v1", 5, append(1, no_ops(2, 9)))
    voter.hear("v2", 7, append(4, [], term=7, commit=9))
    assert voter.node.status()["commit_index"] == 4
    snapshot = {"type": "append_entries", "term": 7, "commit_index": 9, "serialized": None}
    voter.hear("v2", 7, snapshot)
    assert voter.node.status()["commit_index"] == 4


def test_append__contradicting_applied_entries_is_refused(voter: Voter) -> None:
    voter.hear("v1", 5, append(1, no_ops(2, 9), commit=9))
    voter.node.tick(MS)
    assert voter.node.applied_index == 9
    voter.hear("v2", 6, append(4, no_ops(5, 5, term=6), term=6))
    assert voter.dropped("contradicts_applied") == 1
    assert voter.entries() == 9


@pytest.mark.parametrize(
    "entries",
    [
        [(b"\x02\x00", 2, 5)],  # a membership change
        [(b"\x00" + codec.dumps((1, (b"x",))), 2, 5)],  # another method
        [(b"\x00" + codec.dumps((0, ("text",))), 2, 5)],
        [(NO_OP, 3, 5)],  # a gap
        [(NO_OP, 2, 6)],  # of a term to come
        [(NO_OP, 2)],
    ],
)
def test_append__entries_that_are_none_of_ours(voter: Voter, entries: list[Any]) -> None:
    voter.hear("v1", 5, append(1, entries))
    assert voter.dropped("malformed") == 1
    assert voter.entries() == 1


def test_votes__count_once_per_voter_and_term(tmp_path: Path) -> None:
    voter = Voter(tmp_path, count=5)
    voter.campaign()
    term = voter.node.term
    for _ in range(3):
        voter.hear("v1", term, vote(term))
    assert not voter.node.is_leader and voter.dropped("voted_before") == 2
    voter.hear("v2", term, vote(term))
    assert voter.node.is_leader


def test_acknowledgements__of_another_term_do_not_count(voter: Voter) -> None:
    voter.campaign()
    term = voter.node.term
    voter.hear("v1", term, vote(term))
    assert voter.node.is_leader
    voter.hear("v1", term - 1, ack(3))
    voter.hear("v1", term, ack(1000))
    voter.node.tick(voter.now_ns)
    assert voter.node.status()["commit_index"] == 1
    assert voter.dropped("other_term") == 1 and voter.dropped("malformed") == 1
    voter.hear("v1", term, ack(3))
    voter.node.tick(voter.now_ns)
    assert voter.node.status()["commit_index"] == 2


def test_silent_peers__are_not_connected_and_nobody_campaigns(voter: Voter) -> None:
    voter.hear("v1", 0, None)
    assert voter.node.status()["connected"] == {"v1": True, "v2": False}
    for now_ms in range(0, 20_000, 10):
        voter.node.tick(now_ms * MS)
    assert voter.node.status()["connected"] == {"v1": False, "v2": False}
    assert voter.node.term <= 3


def test_mutated_messages__never_raise_out_of_a_node(voter: Voter) -> None:
    command = b"\x00" + codec.dumps((0, (b"command",)))
    messages = [
        append(1, [*no_ops(2, 4), (command, 5, 5)], commit=3),
        {"type": "append_entries", "term": 5, "commit_index": 2, "serialized": (b"x", True, True)},
        {"type": "request_vote", "term": 6, "last_log_index": 9, "last_log_term": 5},
        {"type": "apply_command", "command": command, "request_id": 3},
        {"type": "apply_command_response", "request_id": 1, "log_idx": 2, "log_term": 5},
        {"type": "timeout_now", "term": 5},
        {
            **{"type": pre_vote.REQUEST, "term": 7, "round": 3, "aside": True},
            **{"last_log_index": 9, "last_log_term": 5},
        },
        {"type": pre_vote.ASIDE, "term": 5},
        {"type": pre_vote.RESPONSE, "term": 7, "round": 3},
        vote(1),
        ack(2),
    ]
    rng = random.Random(4)
    for number in range(3000):
        envelope = voter.envelope(rng.randrange(7), rng.choice(messages))
        raw = bytearray(envelope.payload)
        for _ in range(rng.randrange(4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        envelope = replace(envelope, payload=bytes(raw))
        voter.node.receive(rng.choice(("v1", "v2")), pack_frame(envelope), number * MS)
        if number % 10 == 0:
            voter.node.tick(number * MS)
    assert voter.dropped("malformed") > 300 and voter.node.failed is None
