"""Pre-vote: a voter raises its term only when a majority would elect it (Ongaro's dissertation, 9.6).

pysyncobj begins an election as soon as no leader was heard for a time-out, and the higher term
deposes the leader, whoever wins. So one voter behind a slow link would depose a good leader
every second. Here it asks first, for the term after its own, and may begin when a majority,
itself included, has said yes in the same round. A peer says yes when it could vote for that
(the term is above its own, the log is not behind its own) and misses a leader, too: it does not
lead, and has accepted nothing from a leader of its term for the shortest election time-out
(4.2.3). To say yes binds nobody: it changes nothing, is not stored and puts no election off.
A yes counts within the time after which a leader that hears nobody steps down: whoever is further
from the others could not lead them. Nobody is asked for the election by which a leader hands
over because it stops, and in a group of one.

A leader whose commits take long steps aside: it asks a follower to lead, who asks the others,
though all hear that leader still, and though some may have a few entries more: one of those is
elected then. So a slow leader is deposed only by one who is near to a majority. Where a majority
is slow it leads on: it would be followed by nobody.

Terms: a voter that asks with a higher term than its peer's brings the peer to its own term, a
leader, too (transport.py); never to the one that it asks for. Without that a voter that had
raised its term and was cut off before it won would be out for good: it ignores a leader of a
lower term, that leader's followers refuse it, and its log may be too old for their votes ever
after. It costs one election for each term that was raised in vain, and for that a majority had
to miss its leader, or a hand-over to fail. The new leader follows within two round trips: to
have heard a leader of an older term refuses nobody.
No group gets stuck: whoever misses a leader asks, so the highest term spreads to all, and then
a majority says yes to the voter among them with the longest log.
"""

from __future__ import annotations

from typing import Any

from replicast.flexhash.raft.journal import Journal

REQUEST, RESPONSE, ASIDE = "request_pre_vote", "response_pre_vote", "step_aside"


class PreVote:
    """One voter's question, and its answers to those of its peers. A core; see the module's head."""

    def __init__(
        self, journal: Journal, peers: int, missed_ns: int, patience_ns: int, now_ns: int
    ) -> None:
        self._journal = journal
        self._peers = peers
        self._missed_ns = missed_ns
        self._patience_ns = patience_ns
        self._term = 0  # asked for in this round; 0: none
        self._number = 0
        self._asked_ns = 0
        self._aside = False  # this round is for a leader that steps aside
        self._granted: set[str] = set()
        # Whoever starts has yet to find out whether there is a leader.
        self._heard_term, self._heard_ns = journal.getCurrentTerm(), now_ns
        self.leads = False  # kept up to date by RaftNode
        self.wanted = False  # the leader steps aside for this voter; taken by RaftNode

    # -- asking -------------------------------------------------------------------------

    def ask(self, number: int, now_ns: int, *, aside: bool = False) -> dict[str, Any]:
        """A new round, known by this number: what to send to every peer."""
        self._term, self._number = self._journal.getCurrentTerm() + 1, number
        self._asked_ns, self._aside = now_ns, aside
        self._granted.clear()
        return {
            "type": REQUEST,
            "term": self._term,
            "round": number,
            "aside": aside,
            "last_log_index": self._journal.last_index,
            "last_log_term": self._journal.term,
        }

    def count(self, peer: str, response: dict[str, Any], now_ns: int) -> bool:
        """A peer's yes; False when it is none for this round, or too late."""
        if (response["term"], response["round"]) != (self._term, self._number):
            return False
        if now_ns - self._asked_ns >= self._patience_ns:
            return False
        self._granted.add(peer)
        return True

    def agreed(self) -> bool:
        """Whether the election for the term after the current one may begin."""
        asked = self._term == self._journal.getCurrentTerm() + 1
        return asked and 2 * (len(self._granted) + 1) > self._peers + 1

    def heard_leader(self, now_ns: int) -> None:
        """Something of a leader of the current term was accepted: nothing is to be asked, but for a
        leader that steps aside."""
        self._heard_term, self._heard_ns = self._journal.getCurrentTerm(), now_ns
        if not self._aside:
            self._term = 0

    def step_aside(self, message: dict[str, Any]) -> None:
        """The leader of this term would have this voter lead."""
        self.wanted = message["term"] == self._journal.getCurrentTerm()

    # -- answering ----------------------------------------------------------------------

    def answer(self, request: dict[str, Any], now_ns: int) -> dict[str, Any] | None:
        """What to answer to a peer that asks; None: nothing, which is a no."""
        if request["term"] <= self._journal.getCurrentTerm():
            return None
        theirs, ours = request["last_log_term"], self._journal.term
        if request["aside"]:  # where entries are on their way all the time, somebody has more
            yes = theirs >= ours
        else:
            longer = (theirs, request["last_log_index"]) >= (ours, self._journal.last_index)
            yes = longer and not self._has_leader(now_ns)
        if not yes:
            return None
        return {"type": RESPONSE, "term": request["term"], "round": request["round"]}

    def _has_leader(self, now_ns: int) -> bool:
        term = self._journal.getCurrentTerm()
        if self.leads:
            return True
        # In term 0 nobody leads: a new group is not kept waiting.
        return 0 < term == self._heard_term and now_ns - self._heard_ns < self._missed_ns
