"""settle() waits for what a cluster does once, and says so when that does not end."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from at_rest import settle
from s3_endpoints import Endpoint

BUSY_SECONDS = 1e6  # between two looks: far more than a core could give
SETTLED_SECONDS = 3 * BUSY_SECONDS


class Scripted(Endpoint):
    """Whose daemons have taken so much CPU, one look after the other."""

    def __init__(self, taken: Iterable[float]) -> None:
        super().__init__("it", "", "", "", list)
        self.__dict__["taken"] = iter(taken)

    def cpu_seconds(self) -> float:
        return next(self.__dict__["taken"])


def test_settle() -> None:
    looks = iter(
        [0.0, BUSY_SECONDS, BUSY_SECONDS, SETTLED_SECONDS, SETTLED_SECONDS, SETTLED_SECONDS]
    )
    settle(Scripted(looks))
    assert not list(looks)


def test_settle__never() -> None:
    looks = (number * BUSY_SECONDS for number in range(1000))
    with pytest.raises(SystemExit, match="it: not at rest"):
        settle(Scripted(looks), seconds_max=0.1)
