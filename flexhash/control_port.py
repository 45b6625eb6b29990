"""The control address of a target: its voter answers there; while it does not vote, its tables.

    port = ControlPort(hub, key_pair, bind, door, counters, clock_ns)
    port.vote(allow, read)      a voter decides who may come in, and reads what comes
    port.unvote()
    port.shelf.put(table)       handed out by TABLE_GET to whom `door` lets in

One socket for the life of the process, so a target begins and ends to vote without closing it.
Without a vote everything but TABLE_GET is dropped and counted: whoever asks a voter that has been
replaced must hear nothing, as of one that is gone, and turn to others.
"""

from __future__ import annotations

from collections.abc import Callable

from replicast.curve import Allow, CurveHub, Received
from replicast.flexhash.shelf import TableShelf
from replicast.keys import Identity, KeyPair
from replicast.machine import Address
from replicast.metrics import Counters
from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame

Read = Callable[[list[Received]], None]


class ControlPort:
    """One per target process. Make it inside the running event loop."""

    def __init__(
        self,
        hub: CurveHub,
        key_pair: KeyPair,
        bind: Address,
        door: Allow,
        counters: Counters,
        clock_ns: Callable[[], int],
    ) -> None:
        self.shelf = TableShelf()
        self._door, self._counters, self._clock_ns = door, counters, clock_ns
        self._voter_door: Allow | None = None
        self._voter: Read | None = None
        self._server = hub.server("control", bind, key_pair, self.allow)
        self._server.hand_to(self._read)

    def allow(self, public_key: str) -> Identity | None:
        """Who stands behind a key: a voter knows more of them, and which are revoked."""
        door = self._voter_door or self._door
        return door(public_key)

    def vote(self, allow: Allow, read: Read) -> None:
        """A voter answers from now on."""
        self._voter_door, self._voter = allow, read

    def unvote(self) -> None:
        """It does no more."""
        self._voter_door = self._voter = None

    def send(self, peer: bytes, frame: bytes) -> bool:
        """Hand a frame to who asked; False (counted) when it is gone."""
        return self._server.send(peer, frame)

    def close(self) -> None:
        """Close the socket."""
        self.unvote()
        self._server.close()

    def _read(self, some: list[Received]) -> None:
        if self._voter is not None:
            self._voter(some)
            return
        for received in some:
            self._receive(received)

    def _receive(self, received: Received) -> None:
        try:
            message, operation_id, generation = unpack_frame(received.frame)
        except WireError as error:
            self._counters.count("control_refused", error.reason)
            return
        if not isinstance(message, cm.TableGet):
            self._counters.count("control_refused", "no_vote")
            return
        reply = self.shelf.reply(message.generation, self._clock_ns())
        if isinstance(reply, cm.ControlRefused):
            self._counters.count("control_refused", "table")
        self.send(received.peer, pack_frame(reply, operation_id, generation))
