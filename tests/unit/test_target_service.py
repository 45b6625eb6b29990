"""TargetService: which core its one timer tells, and when it carries out what they want."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from replicast.metrics import Counters
from replicast.target.names.store import AppendRecords
from replicast.target.service import TargetService
from replicast.target.store.errors import Outcome

NAMES_DUE_NS, CHUNKS_DUE_NS = 5_000, 20_000


class FakeCore:
    """Wants to be called at `due_ns`, says nothing."""

    def __init__(self, due_ns: int) -> None:
        self.told, self.answered = True, False
        self.outgoing: list[Any] = []
        self.events: list[Any] = []
        self._due_ns = due_ns
        self.expired: list[int] = []
        self.outcomes: list[object] = []

    def expire(self, now_ns: int) -> None:
        self.expired.append(now_ns)

    def deadline_ns(self) -> int | None:
        return self._due_ns

    def take_outgoing(self) -> list[Any]:
        return self.outgoing

    def take_events(self) -> list[Any]:
        return self.events

    def stored(self, _first: object, second: object, *_: object) -> None:
        self.outcomes.append(second)

    def read_done(self, token: object, *_: object) -> None:
        self.outcomes.append(token)


class Bench:
    """A service over fake cores; `flushed` counts how often it has carried out what they want."""

    def __init__(self) -> None:
        self.names, self.chunks = FakeCore(NAMES_DUE_NS), FakeCore(CHUNKS_DUE_NS)
        self.steps: list[str] = []  # of the VDEVs and the link
        self.vdevs = SimpleNamespace(
            after=None,
            due=["one"],
            flying=[],
            land=lambda: False,
            append_rows=lambda *_: self.steps.append("rows"),
            flush=lambda: self.steps.append("flush"),
        )
        nothing: Any = None
        self.service = TargetService(
            1,
            self.names,  # type: ignore[arg-type]
            self.vdevs,  # type: ignore[arg-type]
            nothing,
            nothing,
            Counters(),
            now_ns=lambda: 0,
            wall_ns=lambda: 0,
            new_key=lambda: bytes(32),
            raft_status=nothing,
        )
        self.flushed = 0
        self.sent: list[Any] = []
        link: Any = SimpleNamespace(flush=self._flush, receive_bytes=1 << 20, send=self._send)
        self.service.connect(link, nothing, nothing)
        self.service.chunks = self.chunks  # type: ignore[assignment]

    def _flush(self) -> None:
        self.flushed += 1
        self.steps.append("sent")

    def _send(self, outgoing: object, _now_ns: int) -> None:
        self.sent.append(outgoing)


def test_expire__tells_the_core_whose_time_has_come() -> None:
    async def story() -> None:
        bench = Bench()
        service, names, chunks = bench.service, bench.names, bench.chunks
        service.on_delivered(0)
        assert not bench.flushed  # the shell does it
        service._expire(NAMES_DUE_NS)
        assert (names.expired, chunks.expired) == ([NAMES_DUE_NS], [])
        names._due_ns = CHUNKS_DUE_NS + 1
        service._pump()
        service._expire(CHUNKS_DUE_NS)
        assert (names.expired, chunks.expired) == ([NAMES_DUE_NS], [CHUNKS_DUE_NS])
        assert bench.flushed
        service._timer.cancel()

    asyncio.run(story())


def test_answers_to_reads__leave_though_the_names_want_nothing_else() -> None:
    async def story() -> None:
        bench = Bench()
        bench.names.told, bench.names.answered, bench.names.outgoing = False, True, ["found"]
        bench.service.on_delivered(0)
        assert bench.sent == ["found"]
        bench.service._timer.cancel()

    asyncio.run(story())


def test_rows__of_one_pump_go_to_the_disk_together_and_before_the_network_is_served() -> None:
    async def story() -> None:
        bench = Bench()
        bench.names.events = [AppendRecords(3, token, ()) for token in (1, 2)]
        bench.service._pump()
        assert bench.steps == ["rows", "rows", "flush", "sent"]
        bench.service._timer.cancel()

    asyncio.run(story())


def test_rows__that_were_written_meanwhile_are_told_before_the_names_are_asked() -> None:
    async def story() -> None:
        bench = Bench()
        bench.names.told, bench.names.events = False, [AppendRecords(3, 1, ())]

        def land() -> bool:
            bench.steps.append("landed")
            bench.names.told = True
            return True

        bench.vdevs.flying, bench.vdevs.land = ["one"], land
        bench.service.on_delivered(0)
        assert bench.steps == ["landed", "rows", "flush"]
        bench.service._timer.cancel()

    asyncio.run(story())


def test_flush_of_a_vdev__is_followed_up_at_once_and_once() -> None:
    async def story() -> None:
        bench = Bench()
        stored = bench.service._rows_stored(3)
        for token in (1, 2):
            stored(token, Outcome.STORED)
        bench.service._chunk_stored((7, 3), Outcome.STORED)
        assert (bench.names.outcomes, bench.chunks.outcomes) == ([1, 2], [3])
        assert not bench.flushed
        bench.vdevs.after()
        assert bench.flushed == 1
        await asyncio.sleep(0)
        assert bench.flushed == 1
        bench.service._timer.cancel()

    asyncio.run(story())


def test_read_of_a_chunk__is_followed_up_at_once() -> None:
    async def story() -> None:
        bench = Bench()
        bench.service._read(5, b"payload")
        assert bench.chunks.outcomes == [5] and bench.flushed == 1
        await asyncio.sleep(0)
        assert bench.flushed == 1
        bench.service._timer.cancel()

    asyncio.run(story())
