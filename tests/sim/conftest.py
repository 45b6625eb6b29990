"""What all simulations of a session leave behind."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Worlds of tests before may end while one runs: see pytest_unconfigure."""
    quiet = pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning"
    )
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(quiet)


def pytest_unconfigure() -> None:
    """Worlds that tests held on to end now: `finally` blocks of processes whose machine is gone fail,
    and would do so aloud, a traceback each."""
    warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that never began
