"""The loop of a target: which one it is, and that its timers are never early."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
import uvloop

from replicast.event_loop import TargetLoop, target_runner
from replicast.native import PURE

WHICH = """
import asyncio, os
os.environ["REPLICAST_PURE"] = "1"
from replicast.event_loop import target_runner
with target_runner() as runner:
    print(type(runner.get_loop()).__module__)
"""


def test_runner__uvloop_unless_pure() -> None:
    with target_runner() as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop) is not PURE


def test_runner__asyncio_when_pure() -> None:
    said = subprocess.run([sys.executable, "-c", WHICH], capture_output=True, text=True, check=True)
    assert said.stdout.strip().startswith("asyncio.")


@pytest.mark.parametrize(
    ("delay_ms", "asked_ms"), [(0.0, 0), (0.2, 1), (0.5, 1), (1.0, 1), (1.4, 2), (300.001, 301)]
)
def test_timers__round_up(monkeypatch: pytest.MonkeyPatch, delay_ms: float, asked_ms: int) -> None:
    asked: list[float] = []

    class Base(uvloop.Loop):
        def call_later(self, delay: float, *more: Any, **options: Any) -> Any:
            asked.append(delay)
            return super().call_later(delay, *more, **options)

    class Loop(TargetLoop, Base):
        pass

    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        loop.call_later(delay_ms / 1000, loop.stop).cancel()
    assert [round(each * 1000) for each in asked[:1]] == [asked_ms]
