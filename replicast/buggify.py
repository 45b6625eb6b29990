"""Fault points: places in product code that rely on luck, and have none in the simulator.

    if buggify("store/flush-one"):                            a branch
    limit = buggified("names/page-small", limit, 1)           a value

Outside simulation a point is constant false and costs one comparison; nothing in a daemon, a
setting or the environment can switch one on. The simulator (sim/fault_points.py) hands in a
chooser for the length of one run: each point is on or off for the run, and one that is on is
taken now and then. The chooser draws from the run's seed, so a core that asks it is as
repeatable as before: in production it has no randomness, in a simulated run it has the run's.

Every point is fair: it does what a bad network, a full queue, a slow or a lost peer may do at
that place anyway, so the contract must hold with any mixture of them. All are declared here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point:
    """One fault point: what being taken does, and the file that asks."""

    name: str
    what: str
    where: str
    percent_max: int = 25  # of the times it is reached: what is asked at every turn must be rare


class Chooser(Protocol):
    """Who says when a point is taken; never one that is not `on`."""

    @property
    def on(self) -> Container[str]: ...
    def takes(self, name: str) -> bool: ...


_chooser: Chooser | None = None
_on: Container[str] = ()  # those of the chooser


def buggify(name: str) -> bool:
    """Is this fault point taken now? Never outside simulation."""
    return name in _on and _chooser is not None and _chooser.takes(name)


def buggified(name: str, normal: T, odd: T) -> T:
    """`odd` when the fault point is taken, else `normal`."""
    taken = name in _on and _chooser is not None and _chooser.takes(name)
    return odd if taken else normal


@contextlib.contextmanager
def choosing(chooser: Chooser | None) -> Iterator[None]:
    """Within it `chooser` decides; for the simulator and its tests alone."""
    global _chooser, _on
    before = _chooser, _on
    _chooser, _on = chooser, () if chooser is None else chooser.on
    try:
        yield
    finally:
        _chooser, _on = before


POINTS = (
    Point("store/flush-one", "a flush takes one submission of each queue", "target/store/core.py"),
    Point("store/queue-full", "a submission is refused BUSY", "target/store/core.py"),
    Point("store/segment-tiny", "a new segment has room for one flush", "target/store/core.py"),
    Point(
        "store/checkpoint-early",
        "the index is checkpointed after a flush",
        "target/store/engine.py",
    ),
    Point("store/one-open-file", "one segment is kept open for reading", "target/store/engine.py"),
    Point("store/cached", "what is to be read is in the page cache", "replicast/memory_disk.py"),
    Point("store/reads-full", "a read finds the queue of reads full", "target/vdevs.py"),
    Point("names/one-item", "a message between targets carries one item", "target/names/outbox.py"),
    Point(
        "names/change-lost",
        "a change of replica sets is never submitted",
        "target/names/outbox.py",
    ),
    Point(
        "names/other-way", "a row message that could go over UDP does not", "target/row_paths.py"
    ),
    Point("names/message-lost", "a message to another target is dropped", "target/peers.py"),
    Point("names/parking-full", "no request may wait for a row", "target/names/parking.py"),
    Point(
        "names/parked-short",
        "a request waits 1 ms for its row, no longer",
        "target/names/service.py",
    ),
    Point("names/page-short", "a page of LIST ends after one name", "target/names/listing.py"),
    Point("names/scan-one", "LIST scans a row entry by entry", "target/names/listing.py"),
    Point(
        "names/window-small", "one entry is on its way to a replica", "target/names/replication.py"
    ),
    Point("names/step-one", "a wake-up looks after one row", "target/names/service.py"),
    Point(
        "names/touch-one",
        "one row at a time is brought up to date in the background",
        "target/names/service.py",
    ),
    Point(
        "names/notice-late",
        "replicas hear one to two seconds late what is committed",
        "target/names/leader.py",
    ),
    Point(
        "names/take-over-again",
        "a leader takes its row over again on adopting a table",
        "target/names/leader.py",
    ),
    Point("names/lose-track", "a leader forgets where a replica stands", "target/names/leader.py"),
    Point("names/row-full", "a row takes no more undecided entries", "target/names/leader.py"),
    Point(
        "names/entry-unreadable",
        "an entry is asked for at another replica before it is read",
        "target/names/requests.py",
    ),
    Point(
        "names/silence-short",
        "a replica that is silent for 500 ms is removed",
        "target/names/members.py",
    ),
    Point(
        "names/ask-short",
        "a new leader does not wait for all replicas that are up",
        "target/names/leader.py",
    ),
    Point(
        "names/fetch-short",
        "a replica hands a new leader one entry at a time",
        "target/names/replica.py",
    ),
    Point(
        "names/refuse-append",
        "a replica says that entries do not follow its log",
        "target/names/replica.py",
    ),
    Point(
        "names/flight-small",
        "one record is handed to the store at a time",
        "target/names/appends.py",
    ),
    Point("names/log-short", "a log is cut after four entries", "target/names/upkeep.py"),
    Point("names/rebuild-one", "a view is made entry by entry", "target/names/upkeep.py"),
    Point("names/part-small", "a piece of an install is one entry", "target/names/give.py"),
    Point("chunks/bid-busy", "a target bids BUSY", "target/put.py"),
    Point("chunks/no-buffer", "there is no buffer for an accepted payload", "target/put.py"),
    Point("chunks/idle-early", "a payload that pauses for 50 ms is given up", "target/put.py"),
    Point("chunks/not-joined", "a target is not in the rendezvous group in time", "target/put.py"),
    Point(
        "chunks/answer-forgotten",
        "a target forgets what it answered to a put",
        "target/answers.py",
    ),
    Point("chunks/reservation-lost", "a bid reserves nothing", "target/reserve.py"),
    Point("chunks/send-busy", "a holder is too busy to send", "target/get.py"),
    Point("chunks/unsure", "a target cannot prove that it has not got a chunk", "target/get.py"),
    Point("chunks/send-forgotten", "a holder forgets a transfer under way", "target/get.py"),
    Point("chunks/parking-full", "no put may wait for a newer table", "target/chunks.py"),
    Point(
        "chunks/credit-small",
        "a payload gets credit for one datagram at a time",
        "replicast/credit.py",
    ),
    Point(
        "gateway/remember-nothing",
        "an initiator forgets who holds a chunk",
        "gateway/known_holders.py",
    ),
    Point("gateway/send-twice", "an initiator sends a request twice", "gateway/initiator.py"),
    Point("gateway/one-put", "large chunks are put one after the other", "gateway/put_turns.py"),
    Point("gateway/no-backoff", "a wait before trying again lasts 1 ms", "gateway/context.py"),
    Point("gateway/window-none", "an initiator waits for no late bidders", "gateway/ballot.py"),
    Point(
        "gateway/few-copies",
        "an initiator is content with min_copies at once",
        "gateway/put.py",
    ),
    Point(
        "gateway/straggler-early",
        "a winner is replaced as soon as it is later than promised",
        "gateway/wave.py",
    ),
    Point(
        "gateway/second-source",
        "a second holder is asked as soon as the first is late",
        "gateway/source.py",
    ),
    Point("gateway/negotiate-small", "a small chunk is negotiated", "gateway/chunks.py"),
    Point("gateway/no-credit", "small puts to one target wait for each other", "gateway/stats.py"),
    Point("gateway/suspect", "a VDEV is not waited for", "gateway/stats.py"),
    Point("gateway/unsound", "a hint where a chunk is, is not followed", "gateway/stats.py"),
    Point("gateway/page-short", "a page of LIST has two names", "gateway/name_access.py"),
    Point(
        "gateway/commit-again",
        "an upload is completed a second time under the same operation id",
        "gateway/uploads.py",
    ),
    Point(
        "gateway/parts-left",
        "who ends an upload dies before its parts are removed",
        "gateway/uploads.py",
    ),
    Point("gateway/read-ahead-none", "a reader fetches chunk by chunk", "gateway/fetch_ahead.py"),
    Point(
        "control/table-refused",
        "a table that came whole is thrown away, and asked for elsewhere",
        "flexhash/follow_tables.py",
    ),
    Point(
        "control/target-has-not",
        "a target has not got the table that a follower near it asks for",
        "flexhash/shelf.py",
    ),
    Point(
        "control/target-mistakes",
        "a target gives an older table for the one that it is asked for",
        "flexhash/shelf.py",
    ),
    Point("control/renew-often", "a lease is renewed every 100 ms", "flexhash/follow.py"),
    Point("control/command-twice", "a command is submitted twice", "flexhash/follow.py"),
    Point("control/push-late", "a voter tells its watchers a turn later", "flexhash/server.py"),
    Point(
        "control/table-not-here",
        "a voter has not got the table that it is asked for",
        "flexhash/server.py",
    ),
    Point("control/redirect", "the Raft leader sends a renewal elsewhere", "flexhash/server.py"),
    Point("control/read-redirect", "the Raft leader sends a question away", "flexhash/server.py"),
    Point(
        "control/gather-none",
        "each change makes a generation of its own",
        "flexhash/steward.py",
    ),
    Point("target/stop-soon", "a target stops without a hand-over", "target/handover.py", 50),
    Point("raft/hand-over", "the Raft leader hands over", "flexhash/service.py", 5),
    Point("raft/compact-early", "the journal is compacted", "flexhash/raft/node.py", 5),
    Point("raft/piece-small", "a piece of a snapshot has 1 KiB", "flexhash/raft/snapshot.py"),
    Point(
        "raft/frame-lost",
        "a message between voters is dropped",
        "flexhash/raft/transport.py",
        5,
    ),
    Point(
        "auth/challenge-again",
        "a known session has to prove itself again",
        "replicast/auth/session.py",
    ),
    Point(
        "auth/fragment-gone",
        "a sender has forgotten a message of which a fragment was lost",
        "replicast/auth/endpoint.py",
    ),
    Point(
        "auth/no-room",
        "there is no room for another unfinished message",
        "replicast/wire/fragment.py",
    ),
    Point(
        "transport/one-group",
        "one rendezvous group is kept joined",
        "replicast/transport/memberships.py",
    ),
)
