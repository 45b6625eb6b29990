"""The users of the S3 gateways as this gateway knows them: who stands behind a key id.

    users = UserDirectory(SecretSeal(cluster_id, cluster_keys), counters)
    TableClient(..., on_users=users.adopt)
    user = users.find(key_id)           None: nobody
    users.known                         False: the voters have not told yet, so nothing is known
    await users.catch_up()              before somebody is refused

Each change makes a new snapshot, which never changes and is put in place at once: a reader
sees a user as it was before a rotation or after, from any thread. What is known stays known
when the voters are gone. Secrets are opened when they come and are in no repr and no log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from replicast.errors import Unavailable
from replicast.flexhash.commands import UserState
from replicast.flexhash.follow_events import AdoptUsers
from replicast.metrics import Counters
from replicast.sealing import SealError, SecretSeal
from replicast.wire.user_messages import UserInfo

log = logging.getLogger(__name__)
Refetch = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class User:
    """One user. `active` is false for a disabled one, and for one whose secret does not open here."""

    name: str
    key_id: str
    canonical_id: str
    display_name: str
    active: bool
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserSnapshot:
    """All users at one version; `by_canonical_id` has the first of those who share one."""

    version: int
    by_key_id: Mapping[str, User]
    by_canonical_id: Mapping[str, User]


NOBODY = UserSnapshot(0, MappingProxyType({}), MappingProxyType({}))


class UserDirectory:
    """One per gateway process."""

    def __init__(self, seal: SecretSeal, counters: Counters) -> None:
        self._seal, self._counters = seal, counters
        self._refetch: Refetch | None = None
        self.snapshot = NOBODY
        self.known = False

    def find(self, key_id: str) -> User | None:
        """Who has this key id."""
        return self.snapshot.by_key_id.get(key_id)

    def owner(self, canonical_id: str) -> User | None:
        """Whose name is shown for this canonical id."""
        return self.snapshot.by_canonical_id.get(canonical_id)

    def asks(self, refetch: Refetch) -> None:
        """How to ask the voters (TableClient's refetch_users)."""
        self._refetch = refetch

    async def catch_up(self) -> None:
        """Until all changes that were acknowledged before this call are here; raises Unavailable."""
        if self._refetch is None:
            raise Unavailable("the voters cannot be asked yet")
        await self._refetch()

    def adopt(self, event: AdoptUsers) -> None:
        """Take over changes (TableClient's on_users)."""
        by_key_id = dict(self.snapshot.by_key_id)
        by_canonical_id = dict(self.snapshot.by_canonical_id)
        for info in event.users:
            user = self._user(info)
            by_key_id[user.key_id] = user
            shown = by_canonical_id.get(user.canonical_id)
            if shown is None or shown.key_id == user.key_id:
                by_canonical_id[user.canonical_id] = user
        self.snapshot = UserSnapshot(
            event.version, MappingProxyType(by_key_id), MappingProxyType(by_canonical_id)
        )
        self.known = event.whole
        self._counters.gauge("users", value=len(by_key_id))
        self._counters.gauge("users_version", value=event.version)

    def _user(self, info: UserInfo) -> User:
        active, secret = info.state == UserState.ACTIVE, ""
        try:
            secret = self._seal.open(info.secret, name=info.name, key_id=info.key_id)
        except SealError as error:
            log.error("%s: this user is refused here", error)
            self._counters.count("users_unreadable")
            active = False
        return User(info.name, info.key_id, info.canonical_id, info.display_name, active, secret)
