"""Bounded memory and messages: nothing outgrows its bound, nothing is left over, nobody storms.

    looked(process, gauges, sent)    once a virtual second: sizes, messages of that second
    left(process, gauges)            after the last operation: what should be empty and is not
    verdict(operations, faults)      messages an operation

A process may send PROCESS_MESSAGES_MAX messages (datagrams and frames) in a second, and the run
IDLE_MESSAGES a process and second (heartbeats, leases, watching), FAULT_MESSAGES a fault (rows
change hands, by Raft and tables) and `factor` an operation.
The figures are measured with headroom; docs/simulation.md has them. Pure: meter.py feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from replicast.sim.checkers import BAD, OK, UNKNOWN
from replicast.sim.gauges import Gauge

PROCESS_MESSAGES_MAX = 5_000
IDLE_MESSAGES = 50
FAULT_MESSAGES = 300
OPERATION_MESSAGES_MAX = 200.0


@dataclass(slots=True)
class Bounds:
    """One per run; `factor` is the test's."""

    factor: float = OPERATION_MESSAGES_MAX
    process_messages_max: int = PROCESS_MESSAGES_MAX
    problems: list[str] = field(default_factory=list)
    messages: int = 0
    process_seconds: int = 0
    busiest: int = 0
    largest: dict[str, int] = field(default_factory=dict)  # by gauge, of any process

    def looked(self, process: str, gauges: Iterable[Gauge], sent: int) -> str | None:
        """One second of one process."""
        self.messages += sent
        self.process_seconds += 1
        self.busiest = max(self.busiest, sent)
        for gauge in gauges:
            if gauge.size > self.largest.get(gauge.name, 0):
                self.largest[gauge.name] = gauge.size
            if gauge.size > gauge.most:
                return self._bad(f"{process}: {gauge.name}: {gauge.size}, at most {gauge.most}")
        if sent > self.process_messages_max:
            return self._bad(f"{process} sends {sent} messages in a second")
        return None

    def left(self, process: str, gauges: Iterable[Gauge]) -> str | None:
        """No operation is under way any more."""
        for gauge in gauges:
            if gauge.empties and gauge.size:
                return f"{process}: {gauge.size} left of {gauge.name}"
        return None

    def per_operation(self, operations: int, faults: int) -> float:
        """Messages beyond those of a cluster that only heals."""
        others = IDLE_MESSAGES * self.process_seconds + FAULT_MESSAGES * faults
        return max(0, self.messages - others) / max(1, operations)

    def verdict(self, operations: int, faults: int) -> tuple[str, list[str]]:
        """Unknown when no process was looked at."""
        share = self.per_operation(operations, faults)
        if share > self.factor:
            self._bad(f"{share:.0f} messages an operation; at most {self.factor:.0f}")
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self.process_seconds else (UNKNOWN, ["no process was looked at"])

    def _bad(self, problem: str) -> str:
        self.problems.append(problem)
        return problem
