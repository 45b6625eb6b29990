"""TargetService: which core its one timer tells."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from replicast.metrics import Counters
from replicast.target.service import TargetService

NAMES_DUE_NS, CHUNKS_DUE_NS = 5_000, 20_000


class FakeCore:
    """Wants to be called at `due_ns`, says nothing."""

    def __init__(self, due_ns: int) -> None:
        self.told = True
        self._due_ns = due_ns
        self.expired: list[int] = []

    def expire(self, now_ns: int) -> None:
        self.expired.append(now_ns)

    def deadline_ns(self) -> int | None:
        return self._due_ns

    def take_outgoing(self) -> list[Any]:
        return []

    def take_events(self) -> list[Any]:
        return []


def test_expire__tells_the_core_whose_time_has_come() -> None:
    async def story() -> None:
        names, chunks = FakeCore(NAMES_DUE_NS), FakeCore(CHUNKS_DUE_NS)
        nothing: Any = None
        service = TargetService(
            1,
            names,  # type: ignore[arg-type]
            nothing,
            nothing,
            nothing,
            Counters(),
            now_ns=lambda: 0,
            wall_ns=lambda: 0,
            raft_status=nothing,
        )
        flushed: list[None] = []
        link: Any = SimpleNamespace(flush=lambda: flushed.append(None))
        service.connect(link, nothing, nothing)
        service.chunks = chunks  # type: ignore[assignment]
        service._chunks_told = True
        service.on_delivered(0)
        assert not flushed  # the shell does it
        service._expire(NAMES_DUE_NS)
        assert (names.expired, chunks.expired) == ([NAMES_DUE_NS], [])
        names._due_ns = CHUNKS_DUE_NS + 1
        service._pump()
        service._expire(CHUNKS_DUE_NS)
        assert (names.expired, chunks.expired) == ([NAMES_DUE_NS], [CHUNKS_DUE_NS])
        assert flushed
        service._timer.cancel()

    asyncio.run(story())
