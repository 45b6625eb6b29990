"""What the loads of tests write: bytes made from a number, distinct and incompressible."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one put; `number` is never used twice in a load."""

    number: int
    size: int

    def data(self) -> bytes:
        """All of them; made anew each time, never kept."""
        return random.Random(self.number).randbytes(self.size)
