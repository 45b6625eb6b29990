"""The event loop of a target: uvloop's, or asyncio's own with REPLICAST_PURE=1.

A target's loop turns several times for each small put, and uvloop's turns are cheaper
(docs/performance.md). The gateway stays with asyncio's: its CPU is aiohttp's and its bodies', and
the other loop was not worth anything there (docs/s3.md).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

import uvloop

from replicast.native import PURE

MS_PER_SECOND = 1000
Ts = TypeVarTuple("Ts")


class TargetLoop(uvloop.Loop):
    """Timers never fire early, as with asyncio: uvloop rounds to the nearest millisecond, and a core
    that is told of a deadline half of one ahead would see time go back with the next message."""

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio has it; `delay` in seconds."""
        delay_ms = math.ceil(delay * MS_PER_SECOND)
        return super().call_later(delay_ms / MS_PER_SECOND, callback, *args, context=context)


def target_runner() -> asyncio.Runner:
    """What runs a target."""
    return asyncio.Runner(loop_factory=None if PURE else TargetLoop)
