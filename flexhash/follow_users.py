"""What a gateway knows of the users of the S3 gateways, and what it asks the voters for.

Part of Follower (flexhash/follow.py). A voter is asked for what changed since the last answer, any at
the start, and the one whose notice first tells of a later change:

    USERS_GET after v  ->  USERS_DATA up to w     handed over, v = w; again at once while `more`

A voter that lags gives nothing new: then another one is asked. A notice that was lost costs one
watch (a second). Without a quorum what is known stays known. Before somebody is refused the Raft leader
is asked, too (`current`), for who was made a moment ago may be known to the voters only.
Invariants: `version` never goes back; all changes up to it were handed over; `current_ns` is the sending
of a question that the Raft leader answered, so what was acknowledged before it is handed over.
Limits: one question of each kind under way; the Raft leader is asked every CURRENT_PAUSE_NS at most,
however many are refused.
"""

from __future__ import annotations

from replicast.flexhash.follow_events import AdoptUsers
from replicast.flexhash.follow_settings import Fetch
from replicast.units import MS
from replicast.wire.user_messages import UsersData, UsersGet

CURRENT_PAUSE_NS = 250 * MS  # each question costs the voters a log entry


class UsersFollower:
    """`anyone` and `current` are the questions under way; the follower sends them."""

    def __init__(self) -> None:
        self.version = 0
        self.heard = False  # all that some voter had
        self.current_ns: int | None = None
        self.anyone, self.current = Fetch(), Fetch()
        self._known = 0
        self._wanted_ns: int | None = None

    def announced(self, version: int) -> bool:
        """A voter has this version; True for the first that is known to: ask it."""
        first = version > self._known
        self._known = max(self._known, version)
        return first

    def want_current(self, now_ns: int) -> None:
        """The owner wants an answer of the Raft leader to a question sent now or later."""
        self._wanted_ns = now_ns

    @property
    def behind(self) -> bool:
        """Is there something to ask any voter for?"""
        return not self.heard or self._known > self.version

    @property
    def wants_current(self) -> bool:
        """Is there a question for the Raft leader?"""
        return self._wanted_ns is not None

    def question(self, *, current: bool) -> UsersGet:
        """What to send."""
        return UsersGet(after=self.version, current=current)

    def ask_anew(self) -> None:
        """Who was asked may be gone."""
        self.anyone, self.current = Fetch(), Fetch()

    def answered(self, m: UsersData, operation_id: bytes) -> AdoptUsers | None:
        """An answer; what it changes here."""
        if operation_id == self.anyone.operation_id:
            self.anyone.operation_id = b""
        elif operation_id == self.current.operation_id:
            self._answered_current(m.more)
        else:
            return None
        first = not self.heard and not m.more
        self.heard = self.heard or first
        if m.version <= self.version and not first:
            return None
        # Two questions may be answered with the same change.
        users = tuple(user for user in m.users if user.revision > self.version)
        self.version = max(self.version, m.version)
        return AdoptUsers(self.version, users, self.heard)

    def _answered_current(self, more: bool) -> None:
        self.current.operation_id = b""
        if more:
            return
        self.current_ns = self.current.since_ns
        self.current.after_ns = self.current.since_ns + CURRENT_PAUSE_NS
        if self._wanted_ns is not None and self.current_ns >= self._wanted_ns:
            self._wanted_ns = None
