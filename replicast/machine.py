"""The contract of every protocol core: what goes in, what is taken out, and nothing else.

A core owns no socket, disk, thread, clock or random source. `now_ns` is
CLOCK_BOOTTIME in integer nanoseconds (virtual time in the simulator), handed
in by the shell; randomness comes from the `random.Random` given to __init__.
Messages come in authenticated and decoded (replicast.auth.endpoint, a core
too, stands in front: bytes in, datagrams out).
"""

from __future__ import annotations

from typing import Protocol

from replicast.frozen import frozen
from replicast.wire.schema import Message

Address = tuple[str, int]
NodeId = int  # u64: a target's id from the table, or a gateway's own random one


@frozen
class Group:
    """A multicast group: kind "negotiating" (number from the row) or "rendezvous"."""

    kind: str
    number: int


Destination = NodeId | Group


@frozen
class Incoming:
    """One authenticated message. `group` is set when it came on a group's address."""

    message: Message
    sender: NodeId
    operation_id: bytes
    generation: int
    source: Address | None = None
    group: Group | None = None


@frozen
class Outgoing:
    """One message to a node or a group; the endpoint splits, numbers and MACs it."""

    message: Message
    to: Destination
    operation_id: bytes
    generation: int


def earliest(*times_ns: int | None) -> int | None:
    """The first of several deadlines; None when none of them is set."""
    first_ns: int | None = None
    for time_ns in times_ns:
        if time_ns is not None and (first_ns is None or time_ns < first_ns):
            first_ns = time_ns
    return first_ns


class Event:
    """Something a core tells its owner. Subclass as frozen slotted dataclasses."""

    __slots__ = ()


class Outbox:
    """What a core has said and its owner has not taken yet: the last two of its five calls."""

    def __init__(self) -> None:
        self._outgoing: list[Outgoing] = []
        self._events: list[Event] = []

    def take_outgoing(self) -> list[Outgoing]:
        """Messages to send, in order."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def take_events(self) -> list[Event]:
        """Events for the owner, in order."""
        taken, self._events = self._events, []
        return taken


class Core(Protocol):
    """Five calls, the same for every core; `deadline_ns` is when to call expire() next."""

    def receive(self, incoming: Incoming, now_ns: int) -> None: ...
    def expire(self, now_ns: int) -> None: ...
    def deadline_ns(self) -> int | None: ...
    def take_outgoing(self) -> list[Outgoing]: ...
    def take_events(self) -> list[Event]: ...
