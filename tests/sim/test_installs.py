"""A replica that was away for longer than logs reach back is installed, in whole runs."""

from __future__ import annotations

import pytest

from .whole import run


@pytest.mark.parametrize("seed", [1, 2])
def test_away__is_installed_while_writes_go_on(seed: int) -> None:
    found = run("away", seed, buggify=False)
    assert found.problems == []
    assert found.counted["row_cuts"] >= 1 and found.counted["row_installs"] >= 1
