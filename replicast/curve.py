"""Channels between processes that know each other: ZeroMQ with CURVE, driven by asyncio.

    hub = CurveHub(counters)                       one context and one gatekeeper per process
    server = hub.server("raft", ("127.0.0.1", 0), key_pair, allow)
    received = await server.recv()                 .identity (from the key), .peer, .frame
    server.send(received.peer, frame)              never waits; False = dropped
    client = hub.client("raft", address, server_public_key, key_pair)
    reply = await client.request(frame, timeout_seconds=2.0)     matched by operation id
    push = await client.recv()                     frames that answer no request

Frames are those of replicast.wire.frame. The identity of a sender comes from its key, asked
from `allow` at the handshake and again for every frame, so that a revoked key is silent at
once. A stranger is refused before a byte of it reaches a parser, and counted.
Limits: every queue is bounded in frames, every message in bytes; nothing lingers on close.
A full receive queue stops reading, so that ZeroMQ's own bounded queues push back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import zmq
from zmq.utils import z85

from replicast.frozen import frozen
from replicast.keys import Identity, KeyPair
from replicast.machine import Address
from replicast.metrics import Counters

QUEUE_FRAMES_MAX = 1000
QUEUE_BYTES_MAX = 64 << 20  # read and not yet taken; one frame may exceed it alone
MESSAGE_BYTES_MAX = 64 << 20
REQUESTS_MAX = 1000
HEARTBEAT_MS, SILENCE_MS = 1000, 4000
RECONNECT_MS, RECONNECT_MS_MAX = 50, 1000
# A host that was cut off is silent, and TCP asks it ever more rarely, in the end once a minute.
CONNECT_MS = 2000
CONNECT_POLL_SECONDS = 0.02
READ_BATCH_FRAMES = 100
OPERATION_ID = slice(1, 17)  # of a frame
# Plain: used with every frame.
EVENTS, NOW = int(zmq.EVENTS), int(zmq.DONTWAIT)
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)

Allow = Callable[[str], Identity | None]
T = TypeVar("T")


@frozen
class Received:
    """One frame at a server. `peer` is the way back over this connection, for send()."""

    identity: Identity
    public_key: str
    peer: bytes
    frame: bytes


class ChannelClosed(Exception):
    """The channel was closed by its owner while somebody waited on it."""


class CurveHub:
    """The ZeroMQ context of a process and the gatekeeper of its server sockets.

    Make it inside the running event loop; close() ends everything made from it.
    """

    def __init__(
        self,
        counters: Counters | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self.context: zmq.Context[zmq.Socket[bytes]] = context or zmq.Context()
        self._allow: dict[bytes, tuple[str, Allow]] = {}
        self._ports: list[_Port[Received] | _Port[bytes]] = []
        # The handshake protocol (ZAP) asks at this one address; it must exist before any bind.
        self._gate = _Gate(self)

    def server(
        self,
        channel: str,
        bind: Address,
        key_pair: KeyPair,
        allow: Allow,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        queue_frames_max: int = QUEUE_FRAMES_MAX,
    ) -> CurveServer:
        """A server socket, bound; raises OSError that names the address when it is taken."""
        domain = b"%d" % len(self._allow)
        self._allow[domain] = (channel, allow)
        server = CurveServer(self, channel, allow)
        _configure(server.socket, key_pair, message_bytes_max, queue_frames_max)
        server.socket.setsockopt(zmq.ZAP_DOMAIN, domain)
        server.socket.setsockopt(zmq.CURVE_SERVER, 1)
        server.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        server.bind(bind)
        self._ports.append(server)
        return server

    def client(
        self,
        channel: str,
        address: Address,
        server_public_key: str,
        key_pair: KeyPair,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        queue_frames_max: int = QUEUE_FRAMES_MAX,
    ) -> CurveClient:
        """A client socket that connects, and connects again, by itself."""
        client = CurveClient(self, channel)
        _configure(client.socket, key_pair, message_bytes_max, queue_frames_max)
        client.socket.setsockopt(zmq.IMMEDIATE, 1)
        client.socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
        client.socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        client.socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        client.socket.setsockopt(zmq.CURVE_SERVERKEY, server_public_key.encode("ascii"))
        client.connect(address)
        self._ports.append(client)
        return client

    def judge(self, domain: bytes, public_key: str) -> bool:
        """Whether the server socket of `domain` lets this key in."""
        channel, allow = self._allow[domain]
        if allow(public_key) is not None:
            return True
        self.counters.count("curve_refused", channel, "handshake")
        return False

    def forget(self, port: _Port[Received] | _Port[bytes]) -> None:
        """A socket closed by its owner needs no closing any more."""
        with contextlib.suppress(ValueError):
            self._ports.remove(port)

    def close(self) -> None:
        """Close all sockets of this hub; harmless when repeated."""
        for port in list(self._ports):
            port.close()
        self._gate.close()
        self.context.destroy(linger=0)


class _Port(Generic[T]):
    """A socket read by the event loop into a bounded queue.

    ZeroMQ's descriptor only signals changes, and a send may swallow one: so every send
    looks whether something waits on the receiving side.
    """

    def __init__(self, hub: CurveHub, channel: str, kind: int) -> None:
        self.hub = hub
        self.channel = channel
        self.socket: zmq.Socket[bytes] = hub.context.socket(kind)
        self._queue: deque[tuple[T, int]] = deque()
        self._queued_bytes = 0
        self._stopped = False
        self._take_all: Callable[[list[T]], None] | None = None
        self._hears = True  # False: whoever is at the other end never sends
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self.closed = False

    def start(self) -> None:
        """Read from now on."""
        self._loop.add_reader(self._descriptor(), self._drain)
        self._schedule()

    def hand_to(self, take_all: Callable[[list[T]], None]) -> None:
        """Call this with the items of each batch as they are read; nothing is left for recv().

        It must not raise. For an owner that waits for nothing else: no task has to wake up.
        """
        self._take_all = take_all
        self._schedule()  # some may be here already

    async def recv(self) -> T:
        """The next item; raises ChannelClosed when the channel ends meanwhile."""
        while not self._queue:
            if self.closed:
                raise ChannelClosed(self.channel)
            self._arrived.clear()
            await self._arrived.wait()
        return self._take()

    async def recv_some(self, count_max: int) -> list[T]:
        """The next item, and up to `count_max` in all that are here already; raises as recv()."""
        some = [await self.recv()]
        while self._queue and len(some) < count_max:
            some.append(self._take())
        return some

    def recv_nowait(self) -> T | None:
        """The next item that is here already, or None."""
        return self._take() if self._queue else None

    def close(self) -> None:
        """Close the socket; what is queued is dropped; waiting receivers get ChannelClosed."""
        if self.closed:
            return
        self.closed = True
        self.hub.forget(self)  # type: ignore[arg-type]
        self._loop.remove_reader(self._descriptor())
        self.socket.close(0)
        self._arrived.set()

    def _descriptor(self) -> int:
        return int(self.socket.getsockopt(zmq.FD))

    def _take(self) -> T:
        item, size_bytes = self._queue.popleft()
        self._queued_bytes -= size_bytes
        if self._stopped and not self.closed and not self._full():
            self._stopped = False
            self._schedule()
        return item

    def _put(self, item: T, size_bytes: int) -> None:
        self._queue.append((item, size_bytes))
        self._queued_bytes += size_bytes
        if self._take_all is None:
            self._arrived.set()

    def _full(self) -> bool:
        return len(self._queue) >= QUEUE_FRAMES_MAX or self._queued_bytes >= QUEUE_BYTES_MAX

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        self._read_batch()
        if self._take_all is not None and self._queue and not self.closed:
            some = [item for item, _ in self._queue]
            self._queue.clear()
            self._queued_bytes = 0
            if self._stopped:
                self._stopped = False
                self._schedule()
            self._take_all(some)

    def _read_batch(self) -> None:
        socket, queue = self.socket, self._queue
        for _ in range(READ_BATCH_FRAMES):
            if self.closed:
                self._stopped = False
                return
            # As _full() and _readable(), without the calls: asked twice for nearly every frame.
            self._stopped = len(queue) >= QUEUE_FRAMES_MAX or self._queued_bytes >= QUEUE_BYTES_MAX
            if self._stopped or not socket.getsockopt(EVENTS) & POLLIN:  # type: ignore[operator]
                return
            self._on_parts(socket.recv_multipart(NOW, copy=False))
        self._schedule()  # more may wait; let others run first

    def _on_parts(self, parts: list[zmq.Frame]) -> None:
        raise NotImplementedError

    def _send(self, parts: list[bytes]) -> bool:
        if self.closed:
            return False
        try:
            self.socket.send_multipart(parts, NOW)
        except zmq.ZMQError:
            return False
        finally:
            if self._hears and self._readable():
                self._schedule()
        return True

    def _readable(self) -> bool:
        return self.socket.getsockopt(EVENTS) & POLLIN != 0  # type: ignore[operator]


class _Gate(_Port[bytes]):
    """Answers libzmq's question whether a key may in (RFC 27/ZAP)."""

    def __init__(self, hub: CurveHub) -> None:
        super().__init__(hub, "gate", zmq.REP)
        self.socket.bind("inproc://zeromq.zap.01")
        self.start()

    def _on_parts(self, parts: list[zmq.Frame]) -> None:
        version, request, domain = (part.bytes for part in parts[:3])
        user, verdict = b"", [b"400", b"unknown key"]
        if len(parts) == 7 and parts[5].bytes == b"CURVE":
            key = z85.encode(parts[6].bytes)
            if self.hub.judge(domain, key.decode("ascii")):
                user, verdict = key, [b"200", b"OK"]
        self._send([version, request, *verdict, user, b""])


class CurveServer(_Port[Received]):
    """A ROUTER socket: many peers, each known by its key. Made by CurveHub.server()."""

    def __init__(self, hub: CurveHub, channel: str, allow: Allow) -> None:
        super().__init__(hub, channel, zmq.ROUTER)
        self._allow = allow
        self.address: Address = ("", 0)

    def bind(self, address: Address) -> None:
        """Listen at `address` (port 0: any free one); `self.address` tells where."""
        host, port = address
        try:
            self.socket.bind(endpoint(host, str(port or "*")))
        except zmq.ZMQError as error:
            self.socket.close(0)
            raise OSError(error.errno, f"cannot listen at {host}:{port}: {error}") from None
        bound = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.address = (host, int(bound.rsplit(":", 1)[1]))
        self.start()

    def send(self, peer: bytes, frame: bytes) -> bool:
        """Hand a frame to a peer; False (counted) when it is gone or its queue is full."""
        sent = self._send([peer, frame])
        if not sent:
            self.hub.counters.count("curve_dropped", self.channel)
        return sent

    def _on_parts(self, parts: list[zmq.Frame]) -> None:
        key = parts[-1].get("User-Id")
        identity = self._allow(key) if isinstance(key, str) else None
        if identity is None or len(parts) != 2:
            reason = "revoked" if identity is None else "framing"
            self.hub.counters.count("curve_refused", self.channel, reason)
            return
        frame = parts[1].bytes
        self._put(Received(identity, str(key), parts[0].bytes, frame), len(frame))


class CurveClient(_Port[bytes]):
    """A DEALER socket to one server. Made by CurveHub.client().

    recv() gives the frames that answer no request; they wait in a bounded queue, whose
    oldest makes room (counted), so that an owner who only asks need not read it.
    """

    def __init__(self, hub: CurveHub, channel: str) -> None:
        super().__init__(hub, channel, zmq.DEALER)
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def connect(self, address: Address) -> None:
        """Start connecting, and start reading."""
        host, port = address
        self.socket.connect(endpoint(host, str(port)))
        self.start()

    def hear_nothing(self) -> None:
        """The server never sends over this connection: nobody has to look whether it did."""
        self._hears = False

    def send(self, frame: bytes) -> bool:
        """Hand a frame over; False (counted) without a connection or with a full queue."""
        sent = self._send([frame])
        if not sent:
            self.hub.counters.count("curve_dropped", self.channel)
        return sent

    def connected(self) -> bool:
        """Would a frame find a connection now?"""
        if self.closed:
            return False
        if self._readable():  # to ask is to be told: nobody tells it again
            self._schedule()
        return self.socket.getsockopt(EVENTS) & POLLOUT != 0  # type: ignore[operator]

    async def request(self, frame: bytes, *, timeout_seconds: float) -> bytes:
        """Send `frame` and wait for the frame with its operation id; raises TimeoutError.

        Waits for a connection too. A time-out leaves the outcome unknown.
        """
        key = frame[OPERATION_ID]
        if key in self._waiting or len(self._waiting) >= REQUESTS_MAX:
            raise TimeoutError("too many requests under way")
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[key] = future
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._send([frame]):
                    if self.closed:
                        raise ChannelClosed(self.channel)
                    await asyncio.sleep(CONNECT_POLL_SECONDS)
                return await future
        finally:
            del self._waiting[key]
            future.cancel()  # nobody will ask for what close() put there

    def close(self) -> None:
        """Close; waiting requests get ChannelClosed."""
        super().close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChannelClosed(self.channel))

    def _on_parts(self, parts: list[zmq.Frame]) -> None:
        frame = parts[-1].bytes
        future = self._waiting.get(frame[OPERATION_ID])
        if future is not None and not future.done():
            future.set_result(frame)
            return
        self._put(frame, len(frame))
        while len(self._queue) > 1 and self._full():
            self._take()
            self.hub.counters.count("curve_dropped", self.channel)


def endpoint(host: str, port: str) -> str:
    """The ZeroMQ name of a TCP address; IPv6 addresses get their brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _configure(
    socket: zmq.Socket[bytes], key_pair: KeyPair, message_bytes_max: int, frames_max: int
) -> None:
    """What both ends have in common: keys, and a bound for everything that can grow."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    socket.setsockopt(zmq.SNDHWM, frames_max)
    socket.setsockopt(zmq.RCVHWM, frames_max)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, key_pair.public.encode("ascii"))
    socket.setsockopt(zmq.CURVE_SECRETKEY, key_pair.secret.encode("ascii"))
