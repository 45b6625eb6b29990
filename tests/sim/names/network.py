"""Virtual time, and a network that loses, duplicates, delays and reorders."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from replicast.units import MS, SECOND


class Network:
    """One heap of actions; its rng draws all that is random in a world."""

    def __init__(self, seed: int, loss: float) -> None:
        self.rng = random.Random(seed)
        self.now_ns = SECOND
        self.loss = loss
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.sequence = 0
        self.trace: list[tuple[int, str]] = []

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.sequence += 1
        heapq.heappush(self.heap, (self.now_ns + delay_ns, self.sequence, action))

    def run(self, until_ns: int) -> None:
        while self.heap and self.heap[0][0] <= until_ns:
            self.now_ns, _, action = heapq.heappop(self.heap)
            action()
        self.now_ns = until_ns

    def run_for(self, span_ns: int) -> None:
        self.run(self.now_ns + span_ns)

    def until(self, condition: Callable[[], bool], span_ns: int = 20 * SECOND) -> None:
        end_ns = self.now_ns + span_ns
        while not condition():
            assert self.now_ns < end_ns, "never happened"
            self.run_for(5 * MS)

    def send(self, action: Callable[[], None], loss: float | None = None) -> None:
        """Over the network: lost, late, out of order, sometimes twice."""
        loss = self.loss if loss is None else loss
        if self.rng.random() < loss:
            return
        self.at(self.rng.randrange(100_000, 4 * MS), action)
        if self.rng.random() < loss / 2:
            self.at(self.rng.randrange(MS, 60 * MS), action)
