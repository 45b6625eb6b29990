"""The commands that a follower of the control plane has for the Raft leader, one after the other.

Part of Follower (flexhash/follow.py), which asks and hears. Invariant: one command is under way at
a time, under one sequence number however often it is asked, and a later one makes an earlier one
harmless. Limit: COMMANDS_MAX waiting.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from replicast.flexhash.commands import Code
from replicast.flexhash.follow_events import CommandDone
from replicast.flexhash.follow_settings import Fetch
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError, encode
from replicast.wire.schema import Message

COMMAND_NS = SECOND
COMMANDS_MAX = 256


@dataclass(slots=True)
class Pending:
    """A command on its way; its sequence is given when its turn comes."""

    token: int
    kind: int
    body: bytes
    until_ns: int


class CommandQueue:
    """`asked` is the question under way: of which voter, and since when."""

    def __init__(self, rng: random.Random) -> None:
        self._client = rng.getrandbits(64)
        self._sequence = 0
        self._queue: deque[Pending] = deque()
        self._token = 0
        self.asked: Fetch | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def submit(self, command: Message, until_ns: int) -> int | None:
        """The token of its CommandDone; None when too many wait. Raises WireError."""
        body = encode(command)
        if len(body) > cm.COMMAND_BYTES_MAX:
            raise WireError("range")
        if len(self._queue) >= COMMANDS_MAX:
            return None
        self._token += 1
        self._queue.append(Pending(self._token, command.TYPE, body, until_ns))
        return self._token

    def expire(self, now_ns: int) -> list[CommandDone]:
        """Those whose time is over: outcome unknown, also when they were never sent."""
        done = []
        while self._queue and now_ns >= self._queue[0].until_ns:
            done.append(self.finish(None, 0))
        return done

    def due(self, now_ns: int) -> Fetch | None:
        """`asked` when the first command has to be asked, or asked again, now."""
        if not self._queue:
            return None
        if self.asked is None:
            self._sequence += 1
            self.asked = Fetch(b"", now_ns - COMMAND_NS)
        return self.asked if now_ns - self.asked.since_ns >= COMMAND_NS else None

    def message(self) -> cm.CommandSubmit:
        """What to ask for the first command."""
        first = self._queue[0]
        return cm.CommandSubmit(
            client=self._client, sequence=self._sequence, kind=first.kind, body=first.body
        )

    def answered(self, operation_id: bytes) -> bool:
        """Does this answer the question under way?"""
        return self.asked is not None and operation_id == self.asked.operation_id

    def again(self, pause_ns: int, now_ns: int) -> None:
        """Ask again after a pause."""
        if self.asked is not None:
            self.asked.since_ns = now_ns - COMMAND_NS + pause_ns

    def finish(self, code: Code | None, value: int) -> CommandDone:
        """The first command is done."""
        self.asked = None
        return CommandDone(self._queue.popleft().token, code, value)
