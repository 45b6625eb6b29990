"""What a gateway knows of the users of the S3 gateways, and what it asks the voters for.

Part of Follower (flexhash/follow.py). A voter is asked for what changed since the last answer, any at
the start, and the one whose notice first tells of a later change:

    USERS_GET after v  ->  USERS_DATA up to w     handed over, v = w; again at once while `more`

A voter that lags gives nothing new: then another one is asked. A notice that was lost costs one
watch (a second). Without a quorum what is known stays known.
Invariants: `version` never goes back; all changes up to it were handed over.
Limit: one question under way.
"""

from __future__ import annotations

from replicast.flexhash.follow_events import AdoptUsers
from replicast.flexhash.follow_settings import Fetch
from replicast.wire.user_messages import UsersData, UsersGet


class UsersFollower:
    """`fetch` is the question under way; the follower sends it."""

    def __init__(self) -> None:
        self.version = 0
        self.heard = False  # all that some voter had
        self.fetch = Fetch()
        self._known = 0

    def announced(self, version: int) -> bool:
        """A voter has this version; True for the first that is known to: ask it."""
        first = version > self._known
        self._known = max(self._known, version)
        return first

    @property
    def behind(self) -> bool:
        """Is there something to ask for?"""
        return not self.heard or self._known > self.version

    def question(self) -> UsersGet:
        """What to send."""
        return UsersGet(after=self.version, current=False)

    def ask_anew(self) -> None:
        """Who was asked may be gone."""
        self.fetch = Fetch()

    def answered(self, m: UsersData) -> AdoptUsers | None:
        """The answer to the question under way; what it changes here."""
        self.fetch.operation_id = b""
        first = not self.heard and not m.more
        self.heard = self.heard or first
        if m.version <= self.version and not first:
            return None
        self.version = max(self.version, m.version)
        return AdoptUsers(self.version, m.users, self.heard)
