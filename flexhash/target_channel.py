"""The one CURVE channel by which a follower asks targets for tables (flexhash/sources.py).

    channel = TargetChannel(hub, key_pair, on_answer)
    channel.ask(asked, generation)      on_answer(message, operation id), or nothing
    channel.close()

Whoever is asked is mostly who was asked before, so that connection is kept; another one takes its
place. A question that is given up by its asker, or waits longer than its patience, ends without an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replicast.curve import ChannelClosed, CurveClient, CurveHub
from replicast.flexhash.follow_events import AskTarget
from replicast.flexhash.follow_tables import PATIENCE_NS
from replicast.flexhash.sources import Source
from replicast.keys import KeyPair
from replicast.units import SECOND
from replicast.wire.codec import WireError
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.schema import Message

OnAnswer = Callable[[Message, bytes], None]


def _drop(frames: list[bytes]) -> None:
    """Nobody waits for these."""


class TargetChannel:
    """One per process. Make it inside the running event loop."""

    def __init__(self, hub: CurveHub, key_pair: KeyPair, on_answer: OnAnswer) -> None:
        self._hub, self._key_pair, self._on_answer = hub, key_pair, on_answer
        self._source: Source | None = None
        self._client: CurveClient | None = None
        self._task: asyncio.Task[None] | None = None

    def ask(self, asked: AskTarget, generation: int) -> None:
        """Send a question; one that is still under way is given up."""
        if self._task is not None:
            self._task.cancel()
        source, client = asked.source, self._client
        if client is None or self._source != source:
            self._close()
            client = self._hub.client("control", source.control, source.public_key, self._key_pair)
            client.hand_to(_drop)  # answers to what was given up
            self._client, self._source = client, source
        frame = pack_frame(asked.message, asked.operation_id, generation)
        self._task = asyncio.get_running_loop().create_task(self._request(client, frame))

    async def _request(self, client: CurveClient, frame: bytes) -> None:
        try:
            answer = await client.request(frame, timeout_seconds=PATIENCE_NS / SECOND)
            message, operation_id, _ = unpack_frame(answer)
        except (TimeoutError, ChannelClosed, WireError):
            return  # the asker has its own clock
        self._on_answer(message, operation_id)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._source = None

    async def close(self) -> None:
        """Close, and wait until nobody asks."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._close()
