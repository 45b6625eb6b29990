"""One CURVE channel to each voter that a client of the control plane asks.

channels = VoterChannels(hub, key_pair, voters, rng)
channels.start(read)            read(node_id, channel) runs until its channel is closed
channels.change(voters)         others vote now: channels of those who stay are kept
await channels.fetch_start(voters, counters)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from replicast.curve import CONNECT_POLL_SECONDS, ChannelClosed, CurveClient, CurveHub
from replicast.flexhash.raft.snapshot import STATE_BYTES_MAX
from replicast.flexhash.voters import VoterEntry, VoterSet, digest_of
from replicast.keys import KeyPair
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.schema import Message
from replicast.wire.voter_messages import StartData, StartGet

PIECE_SECONDS = 2.0
ANY_SECONDS, ALL_SECONDS = 0.5, 0.1  # a voter may be gone for good
Read = Callable[[NodeId, CurveClient], Coroutine[Any, Any, None]]


class VoterChannels:
    """One per process."""

    def __init__(
        self, hub: CurveHub, key_pair: KeyPair, voters: VoterSet, rng: random.Random
    ) -> None:
        self._hub, self._key_pair, self._rng = hub, key_pair, rng
        self._voters: dict[NodeId, VoterEntry] = {}
        self._channels: dict[NodeId, CurveClient] = {}
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}
        self._read: Read | None = None
        self.change(voters)

    def start(self, read: Read) -> None:
        """Read from now on."""
        self._read = read
        self._start()

    def change(self, voters: VoterSet) -> None:
        """These are asked from now on."""
        wanted = {voter.node_id: voter for voter in voters.voters}
        for node_id, voter in self._voters.items():
            after = wanted.get(node_id)
            if after is None or (after.control, after.public_key) != (
                voter.control,
                voter.public_key,
            ):
                self._channels.pop(node_id).close()
                self._tasks.pop(node_id, None)  # ends by itself
        self._voters = wanted
        for node_id, voter in wanted.items():
            if node_id not in self._channels:
                self._channels[node_id] = self._open(voter)
        self._start()

    def _open(self, voter: VoterEntry) -> CurveClient:
        return self._hub.client("control", voter.control, voter.public_key, self._key_pair)

    def _start(self) -> None:
        if self._read is None:
            return
        loop = asyncio.get_running_loop()
        for node_id, channel in self._channels.items():
            if node_id not in self._tasks:
                self._tasks[node_id] = loop.create_task(self._read(node_id, channel))

    async def connected(
        self, any_seconds: float = ANY_SECONDS, all_seconds: float = ALL_SECONDS
    ) -> None:
        """Until all are connected, or those that can be: what is sent before is lost.

        Waits `any_seconds` for the first of them, and `all_seconds` in all when there is one.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            found = [channel.connected() for channel in self._channels.values()]
            waited = loop.time() - began
            if all(found) or waited >= (all_seconds if any(found) else any_seconds):
                return
            await asyncio.sleep(CONNECT_POLL_SECONDS)

    def send(self, node_id: NodeId, frame: bytes) -> None:
        """Hand a frame over, if there is a connection."""
        channel = self._channels.get(node_id)
        if channel is not None:
            channel.send(frame)

    async def request(
        self, node_id: NodeId, message: Message, generation: int, timeout_seconds: float
    ) -> Message | None:
        """One question and its answer; None when there is none in time."""
        channel = self._channels.get(node_id)
        if channel is None:
            return None
        return await self._ask(channel, message, generation, timeout_seconds)

    async def _ask(
        self, channel: CurveClient, message: Message, generation: int, timeout_seconds: float
    ) -> Message | None:
        frame = pack_frame(message, self._rng.randbytes(16), generation)
        try:
            answer = await channel.request(frame, timeout_seconds=timeout_seconds)
            return unpack_frame(answer)[0]
        except (TimeoutError, ChannelClosed, WireError):
            return None

    async def fetch_start(
        self, voters: VoterSet, before: VoterSet, counters: Counters
    ) -> bytes | None:
        """The state that this epoch begins with, from its voters or those before; None: from
        nobody yet.

        Bytes that are not those which the epoch was announced with are refused and counted.
        """
        asked = {voter.node_id: voter for voter in (*voters.voters, *before.voters)}
        for voter in asked.values():
            start = await self._fetch_from(voter, voters.epoch)
            if start is not None and digest_of(start) == voters.start:
                return start
            if start is not None:
                counters.count("control_refused", "digest_mismatch")
        return None

    async def _fetch_from(self, voter: VoterEntry, epoch: int) -> bytes | None:
        known = self._channels.get(voter.node_id)
        channel = self._open(voter) if known is None else known
        try:
            return await self._fetch(channel, epoch)
        finally:
            if known is None:
                channel.close()

    async def _fetch(self, channel: CurveClient, epoch: int) -> bytes | None:
        start = bytearray()
        while True:
            get = StartGet(voter_epoch=epoch, offset=len(start))
            m = await self._ask(channel, get, 0, PIECE_SECONDS)
            if not isinstance(m, StartData) or (m.voter_epoch, m.offset) != (epoch, len(start)):
                return None
            start += m.data
            if len(start) == m.total_bytes:
                return bytes(start)
            if not m.data or len(start) > m.total_bytes or m.total_bytes > STATE_BYTES_MAX:
                return None

    async def close(self) -> None:
        """Close all of them and wait until nobody reads."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for channel in self._channels.values():
            channel.close()
