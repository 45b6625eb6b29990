"""Ask several targets one question each and gather the answers: who holds a chunk, is a copy good.

Driven by gateway/initiator.py for verify, repair and `flexhash show`. Requests
are resent until answered; the survey ends when all have answered or at its
deadline, with what it has: who stayed silent is part of the result. Targets that the
table calls down are asked too, and waited for no longer than DOUBTED_NS: a walk over
thousands of chunks must not stand still at each one for a host that is dead.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from replicast.gateway.answer_times import RESEND_FIRST_NS
from replicast.gateway.context import Backoff
from replicast.gateway.names import RESEND_MAX_NS
from replicast.machine import Event, Incoming, NodeId, Outbox, Outgoing
from replicast.units import MS
from replicast.wire.chunk_messages import Refused
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

WAITING = frozenset({Reason.BUSY})
DOUBTED_NS = 200 * MS


@dataclass(frozen=True, slots=True)
class SurveyDone(Event):
    """`answers` by target, in order of arrival; `silent` never answered."""

    answers: dict[NodeId, Message]
    silent: tuple[NodeId, ...]


class Survey(Outbox):
    """Core: one request for each target, one operation id for all."""

    def __init__(
        self,
        *,
        requests: Mapping[NodeId, Message],
        generation: int,
        operation_id: bytes,
        deadline_ns: int,
        rng: random.Random,
        now_ns: int,
        doubted: Collection[NodeId] = (),
    ) -> None:
        super().__init__()
        self._waiting = dict(sorted(requests.items()))
        self._doubted, self._doubted_end_ns = doubted, now_ns + DOUBTED_NS
        self._generation, self._operation_id = generation, operation_id
        self._end_ns = deadline_ns
        self._resend = Backoff(rng, RESEND_FIRST_NS, RESEND_MAX_NS)
        self._answers: dict[NodeId, Message] = {}
        self._next_ns: int | None = now_ns
        if self._waiting:
            self._send(now_ns)
        else:
            self._finish()

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        if self._next_ns is None or incoming.operation_id != self._operation_id:
            return
        message = incoming.message
        if isinstance(message, Refused) and message.reason in WAITING:
            return  # asked again at the next resend
        if self._waiting.pop(incoming.sender, None) is not None:
            self._answers[incoming.sender] = message
        if self._settled(now_ns):
            self._finish()
        elif self._only_doubted():
            self._next_ns = min(self._next_ns, self._doubted_end_ns)

    def expire(self, now_ns: int) -> None:
        if self._next_ns is None or now_ns < self._next_ns:
            return
        if now_ns >= self._end_ns or self._settled(now_ns):
            self._finish()
        else:
            self._send(now_ns)

    def deadline_ns(self) -> int | None:
        return self._next_ns

    def _send(self, now_ns: int) -> None:
        for target, request in self._waiting.items():
            self._outgoing.append(Outgoing(request, target, self._operation_id, self._generation))
        self._next_ns = min(self._end_ns, now_ns + self._resend.take_ns())
        if self._only_doubted():
            self._next_ns = min(self._next_ns, self._doubted_end_ns)

    def _only_doubted(self) -> bool:
        return all(target in self._doubted for target in self._waiting)

    def _settled(self, now_ns: int) -> bool:
        """Has everybody answered who is worth waiting for?"""
        return not self._waiting or (self._only_doubted() and now_ns >= self._doubted_end_ns)

    def _finish(self) -> None:
        self._next_ns = None
        self._outgoing.clear()
        self._events.append(SurveyDone(self._answers, tuple(self._waiting)))
