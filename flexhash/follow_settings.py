"""What a follower of the control plane knows of buckets and settings, and what it asks for them.

Part of Follower (flexhash/follow.py). Two kinds of question (SETTINGS_GET):

    any voter      at the start, and when a newer version is announced: what that voter has
    Raft leader    when the owner wants what holds now: all that was committed before the question

Invariants: `version` never goes back; `current_ns` is the sending of a question that the
Raft leader answered, so the answer holds all that was acknowledged before it.
Limits: one question of each kind under way.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.flexhash.follow_events import AdoptSettings
from replicast.wire import control_messages as cm


@dataclass(slots=True)
class Fetch:
    """A request of which only one is under way."""

    operation_id: bytes = b""
    since_ns: int = 0
    voter: int = 0  # that was asked
    after_ns: int = 0  # not asked again before

    def due(self, now_ns: int, patience_ns: int) -> bool:
        """Is nobody asked, or was who is asked silent for that long?"""
        if now_ns < self.after_ns:
            return False
        return not self.operation_id or now_ns - self.since_ns >= patience_ns

    def asked(self, operation_id: bytes, voter: int, now_ns: int) -> None:
        """A question is under way."""
        self.operation_id, self.voter, self.since_ns = operation_id, voter, now_ns


class SettingsFollower:
    """`anyone` and `current` are the questions under way; the follower sends them."""

    def __init__(self) -> None:
        self.version = 0
        self.floor = 0
        self.heard = False  # some voter answered once
        self.current_ns: int | None = None
        self.anyone, self.current = Fetch(), Fetch()
        self._known = self._adopting = 0
        self._wanted_ns: int | None = None

    def announced(self, version: int) -> None:
        """A voter has this version."""
        self._known = max(self._known, version)

    def want_current(self, now_ns: int) -> None:
        """The owner wants an answer of the Raft leader to a question sent now or later."""
        self._wanted_ns = now_ns

    @property
    def behind(self) -> bool:
        """Is there something to ask any voter for?"""
        return not self.heard or self._known > max(self.version, self._adopting)

    @property
    def wants_current(self) -> bool:
        """Is there a question for the Raft leader?"""
        return self._wanted_ns is not None

    def question(self, *, current: bool) -> cm.SettingsGet:
        """What to send."""
        return cm.SettingsGet(have_version=self.version, current=current)

    def ask_anew(self) -> None:
        """Who was asked may be gone."""
        self.anyone, self.current = Fetch(), Fetch()

    def answered(self, m: cm.SettingsData, operation_id: bytes) -> AdoptSettings | None:
        """An answer; the settings to switch to when it has newer ones."""
        if operation_id == self.anyone.operation_id:
            self.anyone.operation_id = b""
        elif operation_id == self.current.operation_id:
            self.current.operation_id = b""
            self.current_ns = self.current.since_ns
            if self._wanted_ns is not None and self.current_ns >= self._wanted_ns:
                self._wanted_ns = None
        # Else it comes late, on a slow link, and proves nothing of what holds now.
        self.heard = True
        if not m.changed or m.version <= max(self.version, self._adopting):
            return None
        self._adopting = m.version
        buckets = {(b.tenant, b.bucket): b for b in m.buckets}
        return AdoptSettings(m.version, buckets, {s.key: s.value for s in m.settings})

    def adopted(self, version: int) -> None:
        """The settings of the last AdoptSettings are in use."""
        self.version = max(version, self.version)
        self._adopting = 0
