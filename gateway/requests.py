"""Named operations, listings and surveys of one initiator, as one core: routes and times them.

The gateway's shell and the simulator drive this beside chunks.py. Replies find
their core by the first 12 bytes of the operation id, random per request.
Limits: REQUESTS_MAX at a time.
"""

from __future__ import annotations

import random

from replicast.errors import Unavailable
from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.gateway.context import OPERATION_BASE_BYTES
from replicast.gateway.listing import ListDone, ListOperation
from replicast.gateway.names import NameDone, NamedOperation, NameFailed
from replicast.gateway.survey import Survey, SurveyDone
from replicast.gateway.timers import Timers
from replicast.machine import Event, Incoming, Outbox

REQUESTS_MAX = 4096
FINAL = (NameDone, NameFailed, ListDone, SurveyDone)
Request = NamedOperation | ListOperation | Survey


@frozen
class RequestEvent(Event):
    """An event of one request: NeedTable, or its end."""

    operation: bytes
    event: Event


class RequestExchange(Outbox):
    """The name side of an initiator."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._cores: dict[bytes, Request] = {}
        self.bases = self._cores.keys()  # of the operation ids of those that run
        self._timers = Timers()
        self.deadline_ns = self._timers.deadline_ns  # the earliest timer of all

    def new_base(self, given: bytes = b"") -> bytes:
        """12 bytes for the operation ids of the next request, unless they are given; raises
        Unavailable when full."""
        if len(self._cores) >= REQUESTS_MAX:
            raise Unavailable(f"{REQUESTS_MAX} requests are in flight", reason="BUSY")
        return given or self._rng.randbytes(OPERATION_BASE_BYTES)

    def start(self, base: bytes, core: Request) -> None:
        """Run a core that was made with operation ids under `base`."""
        self._cores[base] = core
        self._collect(base, core)

    def cancel(self, base: bytes) -> None:
        """Nobody waits for it any more."""
        self._cores.pop(base, None)
        self._timers.forget(base)

    def receive(self, incoming: Incoming, now_ns: int) -> None:
        """A reply to one of them."""
        base = incoming.operation_id[:OPERATION_BASE_BYTES]
        core = self._cores[base]
        core.receive(incoming, now_ns)
        self._collect(base, core)

    def table_changed(self, table: Table, now_ns: int) -> None:
        """A newer table."""
        for base, core in list(self._cores.items()):
            if not isinstance(core, Survey):
                core.table_changed(table, now_ns)
                self._collect(base, core)

    def expire(self, now_ns: int) -> None:
        """Call the cores whose time has come."""
        while (base := self._timers.take_due(now_ns)) is not None:
            core = self._cores[base]
            core.expire(now_ns)
            self._collect(base, core)

    def _collect(self, base: bytes, core: Request) -> None:
        self._outgoing += core.take_outgoing()
        for event in core.take_events():
            self._events.append(RequestEvent(base, event))
            if isinstance(event, FINAL):
                self.cancel(base)
                return
        self._timers.schedule(base, core.deadline_ns())
