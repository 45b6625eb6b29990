"""The answers to finished puts, so that a request whose answer was lost gets the same again.

Limits: ANSWERS_MAX puts, each for ANSWERED_NS.
"""

from __future__ import annotations

from collections import OrderedDict

from replicast.buggify import buggify
from replicast.machine import NodeId
from replicast.units import SECOND
from replicast.wire.schema import Message

ANSWERS_MAX = 4096
ANSWERED_NS = 30 * SECOND

TransferKey = tuple[NodeId, bytes]


class Answers:
    """By sender and transfer id, oldest first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[TransferKey, tuple[int, tuple[Message, ...]]] = OrderedDict()

    def remember(self, key: TransferKey, messages: tuple[Message, ...], now_ns: int) -> None:
        """What was answered; the oldest makes room."""
        if buggify("chunks/answer-forgotten"):
            return
        self._answers[key] = (now_ns, messages)
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)

    def get(self, key: TransferKey) -> tuple[Message, ...] | None:
        """What was answered; None: nothing that is remembered."""
        _, messages = self._answers.get(key, (0, None))
        return messages

    def expire(self, now_ns: int) -> None:
        """Forget the old ones."""
        while self._answers:
            key, (answered_ns, _) = next(iter(self._answers.items()))
            if now_ns < answered_ns + ANSWERED_NS:
                break
            del self._answers[key]
