"""Which counters of a session are new: the definition (native/_window.pyx: the twin)."""

from __future__ import annotations

WINDOW = 4096  # 0.1 s of a busy sender, so that a lost fragment can come late
_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """The last WINDOW counters; bit n says that highest - n was seen."""

    __slots__ = ("_highest", "_seen")

    def __init__(self, floor: int) -> None:
        self._highest = floor
        self._seen = _MASK  # all up to the floor count as seen

    def accept(self, counter: int) -> bool:
        """True once for each counter that is not too old."""
        ahead = counter - self._highest
        if ahead > 0:
            shifted = self._seen << ahead & _MASK if ahead < WINDOW else 0
            self._seen = shifted | 1
            self._highest = counter
            return True
        if ahead <= -WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True
