"""What a daemon only logs fails the run when it is an error that nobody expected."""

from __future__ import annotations

import logging

from replicast.sim.swallowed import heard
from replicast.sim.world import World

log = logging.getLogger("replicast.target")


def log_of(error: Exception) -> None:
    try:
        raise error
    except type(error):
        log.exception("a %s failed", "flush")


def test_heard__an_error_that_was_caught_and_logged_fails_the_run() -> None:
    world = World(1)
    with heard(world):
        log_of(TypeError("'<' not supported"))
    assert world.failures == [
        """errors: 0.000000 replicast.target: a flush failed: TypeError("'<' not supported")"""
    ]


def test_heard__disks_errors_and_mere_words_do_not() -> None:
    world, root = World(1), logging.getLogger("replicast")
    before = (root.level, root.propagate, list(root.handlers))
    with heard(world):
        log_of(OSError("no space"))
        log.error("a bad copy was set aside")
    assert world.failures == []
    assert (root.level, root.propagate, list(root.handlers)) == before
    log_of(TypeError("not in a run"))
    assert world.failures == []
