"""Errors that daemons caught as a last resort and only logged: a simulated run fails by them.

    with heard(world): ...

Nothing else of the log is kept; what daemons say of faults is no news in a run. An OSError is a
disk's, which they are made for.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from replicast.sim.world import World

LOGGER = "replicast"


class Swallowed(logging.Handler):
    """Fails the world by every record with an exception."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, OSError):
            self._world.fail(f"{record.name}: {record.getMessage()}: {error!r}", checker="errors")


@contextlib.contextmanager
def heard(world: World) -> Iterator[None]:
    """While `world` runs."""
    log = logging.getLogger(LOGGER)
    level, propagate, handler = log.level, log.propagate, Swallowed(world)
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
