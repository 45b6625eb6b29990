"""How soon row leaders answer, and so how long a request may go unanswered before it is sent again.

Datagrams get lost; where an answer takes a millisecond, a quarter of a second is long to wait for
it. As RFC 6298 for TCP: by what was measured, and twice as long each time. What was sent
again is measured, too, from the first time: were it left out, answers that all came later than
the guess would never correct it.

Limits: one average for each kind of request.
"""

from __future__ import annotations

from replicast.ewma import Ewma
from replicast.units import MS
from replicast.wire.schema import Message

RESEND_MIN_NS = 60 * MS  # beside a loaded machine's scheduler, and flushes of its disks
RESEND_FIRST_NS = 250 * MS  # before there is a measurement, and at most
TIMES = 4


class AnswerTimes:
    """Of all leaders together; one for each initiator."""

    def __init__(self) -> None:
        self._average: dict[type[Message], Ewma] = {}

    def add(self, kind: type[Message], elapsed_ns: int, now_ns: int) -> None:
        """An answer came that long after its request of this kind was first sent."""
        average = self._average.setdefault(kind, Ewma())
        average.add(min(elapsed_ns, RESEND_FIRST_NS), now_ns)

    def resend_ns(self, kind: type[Message], now_ns: int) -> int:
        """When to send such a request again for the first time."""
        average = self._average.get(kind)
        if average is None:
            return RESEND_FIRST_NS
        return min(RESEND_FIRST_NS, max(RESEND_MIN_NS, TIMES * average.get(now_ns)))
