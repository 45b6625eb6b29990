"""Leases as they really are: from what Raft leaders granted, never from what a target believes.

A target holds one while both are true: on its own clock, the granted time since it sent the
renewal that was answered has not passed; and on the clock of the voter that granted it, the time
for which that voter counts on it (a drift margin longer) has not passed. A grant counts from its
arrival, in the life that asked for it. Giving the lease back ends it at once.

Fed by watch.py with the frames of the control channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from replicast.flexhash.lease import stretched
from replicast.sim.checkers import BAD, OK, UNKNOWN

ClockNs = Callable[[], int]
RENEWALS_MAX = 256


@dataclass(slots=True)
class _Lease:
    life: int
    sent_ns: dict[int, int] = field(default_factory=dict)  # renewals, on the target's clock
    granted_ns: dict[int, int] = field(default_factory=dict)  # answers, on the voter's clock
    until_ns: int = 0
    counted: ClockNs | None = None
    counted_until_ns: int = 0
    given_back: bool = False


class Leases:
    """One per run; processes by name."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.answers = 0
        self._leases: dict[str, _Lease] = {}

    def asked(self, target: str, life: int, sequence: int, now_ns: int, stopping: bool) -> None:
        """A renewal leaves the target at `now_ns` of its clock."""
        lease = self._leases.get(target)
        if lease is None or lease.life != life:
            lease = self._leases[target] = _Lease(life)
        lease.given_back = lease.given_back or stopping
        lease.sent_ns[sequence] = now_ns
        if len(lease.sent_ns) > RENEWALS_MAX:
            del lease.sent_ns[next(iter(lease.sent_ns))]

    def granted(self, target: str, sequence: int, now_ns: int) -> None:
        """A grant leaves a voter at `now_ns` of the voter's clock."""
        lease = self._leases.get(target)
        if lease is not None and sequence in lease.sent_ns:
            lease.granted_ns[sequence] = now_ns

    def arrived(
        self, target: str, life: int, sequence: int, duration_ns: int, counted: ClockNs
    ) -> None:
        """A grant reaches the target; `counted` is the clock of the voter that gave it."""
        lease = self._leases.get(target)
        if lease is None or lease.life != life:
            return
        sent_ns = lease.sent_ns.pop(sequence, None)
        granted_ns = lease.granted_ns.pop(sequence, None)
        if sent_ns is None or granted_ns is None:
            return
        if sent_ns + duration_ns > lease.until_ns:
            lease.until_ns = sent_ns + duration_ns
            lease.counted = counted
            lease.counted_until_ns = granted_ns + stretched(duration_ns)

    def holds(self, target: str, life: int, now_ns: int) -> bool:
        """Whether the target may act at `now_ns` of its clock."""
        lease = self._leases.get(target)
        if lease is None or lease.life != life or lease.given_back or lease.counted is None:
            return False
        return now_ns < lease.until_ns and lease.counted() < lease.counted_until_ns

    def answered(self, target: str, life: int, now_ns: int, what: str) -> str | None:
        """Something that needs a lease leaves a target."""
        self.answers += 1
        if self.holds(target, life, now_ns):
            return None
        self.problems.append(
            f"{target} says {what} without a lease{self._why(target, life, now_ns)}"
        )
        return self.problems[-1]

    def _why(self, target: str, life: int, now_ns: int) -> str:
        lease = self._leases.get(target)
        if lease is None or lease.life != life or lease.counted is None:
            return ": none was granted since it started"
        if lease.given_back:
            return ": it was given back"
        return f": it ended {(now_ns - lease.until_ns) / 1e9:.6f} s ago"

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when nobody said anything that needs a lease."""
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self.answers else (UNKNOWN, ["no answer that needs a lease was seen"])
