"""Time of day that the cluster goes by: the median of what its voters' clocks show.

One wrong clock, be it the Raft leader's, then misleads nobody: a target whose own clock is off
the median leads no rows (DESIGN 5), and gateways, which need no clock of their own, stamp
operations with it. A majority of wrong clocks would mislead everybody.

Answers that took longer than ROUND_TRIP_NS_MAX say too little; a voter counts as long as it was
heard within KEEP_NS. An even number of clocks has two in the middle: then that one counts which
is nearer to what was believed before.

What was heard of a voter may be old, and its clock set right since, while another's is set
wrong: then most readings are wrong, though most clocks are right. So a step of more than
STEP_NS is believed only when most voters have shown it since it was first seen. Before most
of them agreed for the first time there is nothing to hold on to: each answer counts at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from replicast.units import SECOND

ROUND_TRIP_NS_MAX = 2 * SECOND
KEEP_NS = 10 * SECOND
STEP_NS = SECOND


class ClusterClock:
    """Kept by every follower of the control plane; offsets are to its own monotonic clock."""

    def __init__(self, voter_count: int) -> None:
        self._voter_count = voter_count
        self._firm = False  # most voters agreed with what is believed
        self.offset_ns: int | None = None  # the cluster's time of day minus our monotonic time
        self._heard: dict[int, tuple[int, int]] = {}  # by voter: when, offset
        self._step_ns: int | None = None  # when a step was first seen that is not believed yet

    def heard(self, voter: int, sent_ns: int, now_ns: int, wall_ns: int) -> None:
        """A voter answered at `now_ns` what was asked at `sent_ns`: its clock showed `wall_ns`."""
        if now_ns - sent_ns > ROUND_TRIP_NS_MAX:
            return
        # It read its clock between our send and now; the middle is the best guess.
        self._heard[voter] = now_ns, wall_ns - (sent_ns + now_ns) // 2
        kept = self._offsets(now_ns - KEEP_NS)
        median_ns = self._median_ns(kept)
        if not self._firm or self.offset_ns is None or self._near(median_ns):
            self.offset_ns, self._step_ns = median_ns, None
            agreed = sum(map(self._near, kept))
            self._firm = self._firm or 2 * agreed > self._voter_count
            return
        if self._step_ns is None:
            self._step_ns = now_ns
        since = self._offsets(self._step_ns)
        if 2 * len(since) > len(kept):
            median_ns = self._median_ns(since)
            if not self._near(median_ns):
                self.offset_ns, self._step_ns = median_ns, None

    def renumber(self, numbers: Sequence[int | None]) -> None:
        """The voters are others now; `numbers` are those that they had before (None: none)."""
        self._voter_count = len(numbers)
        heard, self._heard = self._heard, {}
        for number, before in enumerate(numbers):
            if before is not None and before in heard:
                self._heard[number] = heard[before]

    def _near(self, offset_ns: int) -> bool:
        return self.offset_ns is not None and abs(offset_ns - self.offset_ns) <= STEP_NS

    def _offsets(self, since_ns: int) -> list[int]:
        return sorted(offset for at_ns, offset in self._heard.values() if at_ns >= since_ns)

    def _median_ns(self, offsets: list[int]) -> int:
        middle = offsets[(len(offsets) - 1) // 2], offsets[len(offsets) // 2]
        before_ns = self.offset_ns
        if before_ns is None:
            return middle[0]
        return min(middle, key=lambda offset_ns: abs(offset_ns - before_ns))
