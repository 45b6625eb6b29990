"""Frames of connections between simulated processes: the definition; native/_simpipe.pyx is its twin.

    link = Link(server_end, client_end)          a subclass says in end() what its end means
    pipe = Pipe(exchange, link, "10.0.0.1", "10.0.0.2", client_end)
    pipe.send(frame)                             to be had by client_end.recv_multipart()

A socket is an End: it has an inbox for all its connections, and a way out for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import zmq

from replicast.curve import EVENTS, POLLIN
from replicast.sim.network_pure import RETRY_NS, SILENCE_NS, Network
from replicast.sim.world import World

FRAMES_MAX = 1000


class Seen(Protocol):
    """Who sees every frame twice: Watch, if anybody."""

    def sent(self, source: str, target: str, frame: bytes) -> None: ...
    def arrived(self, source: str, target: str, frame: bytes) -> None: ...


class Ether(Protocol):
    """What all pipes share: an Exchange."""

    @property
    def world(self) -> World: ...
    @property
    def network(self) -> Network: ...
    @property
    def watch(self) -> Seen | None: ...


class SimFrame:
    """A message part; the last one knows whose key its connection has proved."""

    __slots__ = ("_user", "bytes")

    def __init__(self, data: bytes, user: str = "") -> None:
        self.bytes = data
        self._user = user

    def get(self, name: str) -> str:
        """The only property that is ever asked for: User-Id."""
        return self._user


class End:
    """A ROUTER with a way to each peer, a DEALER with one while it is connected, or a REP."""

    def __init__(self, kind: int, number: int, readable: Callable[[int], None]) -> None:
        self.kind, self.fd, self.closed = kind, number, False
        self.ways: dict[bytes, Pipe] = {}
        self.way: Pipe | None = None
        self._readable = readable
        self._inbox: deque[list[SimFrame]] = deque()

    def getsockopt(self, option: int) -> int:
        """The descriptor, or whether there is something to read."""
        if option == EVENTS:
            return POLLIN if self._inbox else 0
        assert option == zmq.FD
        return self.fd

    def send_multipart(self, parts: list[bytes], flags: int = 0) -> None:
        """Raises zmq.Again without a connection or with a full queue."""
        if self.kind == zmq.REP:
            self.answer(parts)
            return
        wanted = 2 if self.kind == zmq.ROUTER else 1
        if len(parts) != wanted:
            raise ValueError(f"{len(parts)} parts, not {wanted}")
        way = self.way if wanted == 1 else self.ways.get(parts[0])
        if way is None or not way.send(parts[-1]):
            raise zmq.Again()

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> list[SimFrame]:
        """What came first; there must be something."""
        return self._inbox.popleft()

    def arrive(self, parts: list[SimFrame]) -> None:
        """Something to receive."""
        self._inbox.append(parts)
        self._readable(self.fd)

    def answer(self, parts: list[bytes]) -> None:
        """A REP has no connections."""
        raise NotImplementedError


class Link:
    """A connection between two ends."""

    def __init__(self, one: End, other: End) -> None:
        self._one, self._other = one, other
        self.ended = False

    def check(self) -> bool:
        """Whether both ends still live; ends the connection otherwise."""
        if self._one.closed or self._other.closed:  # as all are of a dead process
            self.end()
        return not self.ended

    def end(self) -> None:
        """Both directions are lost."""
        self.ended = True


class Pipe:
    """One direction of a connection: a bounded queue of messages, which are one frame each, and
    one delivery at a time. `front` is a part before each frame that arrives."""

    def __init__(
        self,
        ether: Ether,
        link: Link,
        source: str,
        target: str,
        end: End,
        front: SimFrame | None = None,
        user: str = "",
    ) -> None:
        self._world, self._network, self._watch = ether.world, ether.network, ether.watch
        self._link, self._source, self._target = link, source, target
        self._end, self._front, self._user = end, front, user
        self._what = f"on {source}'s channel"
        self._queue: deque[bytes] = deque()
        self._free_ns = self._held_ns = 0
        self._stuck_ns: int | None = None
        self._moving = False

    def send(self, frame: bytes) -> bool:
        """Queue a message; False when there is no room or no connection."""
        if self._link.ended or len(self._queue) >= FRAMES_MAX:
            return False
        self._queue.append(frame)
        if self._watch is not None:
            self._watch.sent(self._source, self._target, frame)
        if not self._moving:
            self._move()
        return True

    def _move(self) -> None:
        if self._moving or not self._queue:
            return
        now_ns, frame = self._world.time_ns, self._queue[0]
        delay_ns = self._network.connection_delay(self._source, self._target, len(frame))
        self._moving = True
        if delay_ns is None:
            self._stuck_ns = now_ns if self._stuck_ns is None else self._stuck_ns
            self._world.after(RETRY_NS, self._again)
            return
        self._stuck_ns = None
        self._free_ns = max(self._free_ns + 1, now_ns + delay_ns)
        self._world.at(self._free_ns, self._arrive)

    def _again(self) -> None:
        self._moving = False
        if not self._link.check():
            return
        if self._stuck_ns is not None and self._world.time_ns - self._stuck_ns > SILENCE_NS:
            self._link.end()
        else:
            self._move()

    def _arrive(self) -> None:
        self._moving = False
        if self._link.check() and self._queue:
            frame, now_ns = self._queue.popleft(), self._world.time_ns
            held_ns = self._network.weather(self._source, self._target).held_ns
            if held_ns or self._held_ns > now_ns:
                self._held_ns = max(self._held_ns + 1, now_ns + held_ns)
                self._world.at(self._held_ns, lambda: self._hand_over_late(frame))
            else:
                self._hand_over(frame)
            if self._queue:
                self._move()

    def _hand_over_late(self, frame: bytes) -> None:
        if self._link.check():
            self._hand_over(frame)

    def _hand_over(self, frame: bytes) -> None:
        self._world.trace.add(self._world.time_ns, self._target, self._what, frame)
        if self._watch is not None:
            self._watch.arrived(self._source, self._target, frame)
        last = SimFrame(frame, self._user)
        self._end.arrive([last] if self._front is None else [self._front, last])
