"""What the tests of name rows share; the package says how the world is built."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from .checkers import check, check_name, converged
from .control import ROWS
from .world import World


@pytest.fixture(scope="session")
def sim() -> Any:
    """What the tests here use."""
    return SimpleNamespace(
        World=World, check=check, check_name=check_name, converged=converged, ROWS=ROWS
    )
