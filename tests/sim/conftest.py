"""What all simulations of a session leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replicast.sim.run import one_world


@pytest.fixture(scope="session", autouse=True)
def worlds_end_quietly() -> Iterator[None]:
    """A world that a test held on to ends with the session: `finally` blocks of processes whose
    machine is gone would fail aloud then, one traceback each."""
    yield
    with one_world():
        pass
