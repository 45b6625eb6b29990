"""What all simulations of a session leave behind."""

from __future__ import annotations

import warnings

import pytest


def pytest_unconfigure() -> None:
    """Worlds that tests held on to end now: `finally` blocks of processes whose machine is gone fail,
    and would do so aloud, a traceback each."""
    warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that never began
