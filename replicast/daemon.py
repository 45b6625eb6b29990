"""How both daemons start: settings, logs, the event loop; one line when they cannot run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from replicast import clocks
from replicast.errors import ReplicastError
from replicast.logs import start_logging
from replicast.transport.sockets import PortTaken
from replicast.trimming import keep_trimmed

log = logging.getLogger("replicast")

START_ERRORS = (ReplicastError, PortTaken, OSError)
LOOP_STALL_NS_MAX = 10_000_000_000

Work = Callable[[], Coroutine[Any, Any, None]]


class Heartbeat:
    """When the event loop ran last: what /healthz asks."""

    def __init__(self, now_ns: Callable[[], int] = clocks.now_ns) -> None:
        self._now_ns = now_ns
        self._ns = now_ns()

    def beat(self) -> int:
        """It runs now; returns when that is."""
        self._ns = self._now_ns()
        return self._ns

    def alive(self) -> bool:
        """Has it run lately?"""
        return self._now_ns() - self._ns < LOOP_STALL_NS_MAX


def run_daemon(
    program: str,
    about: str,
    settings: str,
    prepare: Callable[[Path], tuple[str, Work]],
    arguments: Sequence[str] | None,
    runner: Callable[[], asyncio.Runner] = asyncio.Runner,
) -> None:
    """Parse the command line, then run what `prepare` makes of the settings file.

    `prepare` returns the log level and the work; `settings` is the usual name of the file.
    Exit 1, with one log line that says why, when the daemon cannot run.
    """
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--config", type=Path, required=True, help=settings)
    path: Path = parser.parse_args(arguments).config
    process = f"{settings.removesuffix('.toml')} {path.resolve().parent.name}"
    start_logging(process, "info")
    try:
        level, work = prepare(path)
        start_logging(process, level)
        keep_trimmed()
        with contextlib.suppress(KeyboardInterrupt), runner() as loop:
            loop.run(work())
    except START_ERRORS as error:
        log.critical("cannot run: %s", error)
        sys.exit(1)
